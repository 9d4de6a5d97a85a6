"""Log lines: what they say is found, what they hold is shown, and nothing in them acts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from tests.support import SetClock

from runbook.errors import BadInput
from runbook.headline import Headline, worst
from runbook.settings import ErrorShare, Logs
from runbook.studio import logs
from runbook.studio.logs import found as founds
from runbook.studio.logs.lines import Event, Line, Lines, shape
from runbook.studio.logs.trace import Trace
from runbook.table import Table
from runbook.wait import Pace

NOON_MS = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
ANSI = '\x1b[32mINFO\x1b[0m:     10.20.10.7:0 - "GET /v1/health"'
ARABIC = "فشل الدفع للمستخدم 42"
SETTINGS = Logs(groups={"web": "/ecs/web", "worker": "/ecs/worker"})


def event(text: str | dict[str, Any], *, at_s: float = 0, service: str = "web") -> Event:
    written = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return Event(NOON_MS + int(at_s * 1000), service, written)


def asked(user: str, *, at_s: float = 3500) -> Event:
    """A line of a user's request; by default in the last minutes of the hour."""
    return event({"message": "asked", "user_id": user}, at_s=at_s)


def gathered(*events: Event, pattern: str = "", newest: int = 3) -> logs.Found:
    when = logs.window(minutes=60, until="2026-11-24T13:00")
    found = founds.empty(SETTINGS, SETTINGS.groups, window=when, pattern=pattern, newest=newest)
    founds.gather(found, events)
    return found


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ({"level": "warning"}, "WARN"),
        ({"level": "FATAL"}, "CRITICAL"),
        ({"level": 3, "message": "ERROR"}, ""),
        ({"message": "an ERROR is only spoken of"}, ""),
        (ANSI, "INFO"),
        ("\x1b[31mERROR\x1b[0m: no", "ERROR"),
        ("Traceback (most recent call last):\n  …\nKeyError: 'x'", "ERROR"),
        ("psycopg2.OperationalError: gone", ""),
        ("OperationalError: gone", "ERROR"),
        ("[2025] worker heartbeat ok", ""),
        ("{broken json ERROR", "ERROR"),
        ("[1, 2]", ""),
    ],
)
def test_level_is_found_in_json_and_in_plain_lines(text: Any, level: str) -> None:
    assert Line(event(text)).level == level


@pytest.mark.parametrize(
    ("message", "folded"),
    [
        ("provider x answered 503", "provider x answered ‹n›"),
        ("GET /v1/users/42 500", "GET /v1/users/‹n› ‹n›"),
        ("job 0b9f5c1e-9c1a-4c1e-a111-0123456789ab failed", "job ‹id› failed"),
        ("trace 1-6b06ee85-92cba5eeec0165234b05c294", "trace ‹trace›"),
        ("10.2.3.4 refused, sha 0123456789abcdef", "‹ip› refused, sha ‹id›"),
        ("took 12.5 s, 1,200 rows", "took ‹n› s, ‹n› rows"),
        ("Traceback (most recent call last):\n  File\nKeyError: 7", "KeyError: ‹n›"),
        (ARABIC, "فشل الدفع للمستخدم ‹n›"),
        ("المستخدم ٤٢", "المستخدم ‹n›"),
    ],
)
def test_shape_folds_numbers_and_ids_and_keeps_the_rest(message: str, folded: str) -> None:
    assert shape(message) == folded


def test_lines_show_what_they_hold_and_none_of_it_acts() -> None:
    evil = event({"level": "INFO", "message": "<script>alert(1)</script>\u202egnp.exe", "n": 1})
    lines = Lines((Line(event(ANSI)), Line(event(ARABIC)), Line(evil)), before=7)
    html, text = lines._repr_html_(), repr(lines)
    for shown in (html, text):
        assert "␛[32mINFO␛[0m" in shown
        assert ARABIC in shown
        assert "⟨U+202E⟩" in shown
        assert "7 older lines are not shown" in shown
        assert "\x1b" not in shown
        assert "n=1" in shown
    assert f'<span dir="auto">{ARABIC}</span>' in html
    assert "<script>" not in html


def test_errors_are_grouped_with_counts_and_times_and_judged_by_the_share_of_a_service() -> None:
    fine = [event({"level": "INFO", "message": "ok"}, at_s=n) for n in range(97)]
    bad = [
        event({"level": "ERROR", "message": f"job {n} failed", "trace_id": f"t-{n}"}, at_s=100 + n)
        for n in range(3)
    ]
    found = gathered(*fine, *bad)
    assert (found.lines, found.errors, found.status, found.suspect) == (100, 3, "warning", "t-2")
    (group,) = found.error_groups().to_dict("records")
    assert (group["lines"], group["shape"]) == (3, "job ‹n› failed")
    assert group["first_seen"] == pd.Timestamp("2026-11-24 12:01:40")
    assert group["last_seen"] == pd.Timestamp("2026-11-24 12:01:42")
    assert sum(found.groups["job ‹n› failed"].by_bar.values()) == 3
    assert "97 older lines are not shown" in repr(found.newest())
    assert "3.0 % of a service's (web)" in found.says
    assert found.findings()["errors"] == 3
    assert found.plot_errors()._repr_png_().startswith(b"\x89PNG")


def test_what_a_pattern_finds_is_no_verdict_and_silence_is_one() -> None:
    bad = event({"level": "ERROR", "message": "no"})
    assert gathered(bad).status == "critical"
    assert gathered(bad, pattern="?ERROR").status == "ok"
    assert gathered().status == "warning"
    assert gathered(pattern="?ERROR").status == "ok"
    found = gathered(event("fine"))
    found.missing = ("worker",)
    assert found.status == "warning"
    assert "No log group for worker" in found.says


def test_messages_that_are_never_alike_do_not_fill_the_memory() -> None:
    words = (f"{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{'z' * (n // 676)}" for n in range(2000))
    found = gathered(*(event({"level": "ERROR", "message": word}) for word in words))
    assert len(found.groups) == 501
    assert found.groups[founds.OTHER].lines == 1500


def test_a_limit_of_the_environment_is_just_under_and_just_over() -> None:
    errors = [event({"level": "ERROR", "message": "no"})]
    fine = [event("fine")] * 99
    assert gathered(*errors, *fine).status == "warning"  # 1 %, and the limit is 1
    assert gathered(*errors, *fine, event("fine")).status == "ok"
    with pytest.raises(ValueError, match="greater than 0"):
        ErrorShare(warning=0)


@pytest.mark.parametrize(("theirs", "of_others", "loud"), [(25, 75, True), (24, 76, False)])
def test_a_user_who_causes_a_quarter_of_the_latest_lines_is_a_warning(
    theirs: int, of_others: int, loud: bool
) -> None:
    early = [asked("u-3", at_s=0)] * 1000
    lines = [asked("u-1")] * theirs + [asked(f"u-{n + 2}") for n in range(of_others)]

    found = gathered(*early, *lines)

    assert found.status == ("warning" if loud else "ok")
    assert [one.user for one in found.loud()] == (["u-1"] if loud else [])
    assert ("User u-1 causes 25 % of the web's lines" in found.says) is loud


def test_of_a_few_lines_nobody_is_blamed() -> None:
    assert gathered(*[asked("u-1")] * 99).loud() == []


def test_hops_begin_so_long_before_their_line_as_they_took() -> None:
    lines = [
        event({"message": "page", "latency_ms": 40}, at_s=0.1),
        event({"message": "call", "latency_ms": 900, "level": "ERROR"}, at_s=1.2, service="worker"),
        event("plain t-1", at_s=1.3, service="worker"),
    ]
    trace = Trace("t-1", tuple(map(Line, lines)))
    hops = trace.hops()
    assert list(hops.began_ms) == [0, 240, 1240]
    assert list(hops.took_ms.fillna(-1)) == [40, 900, -1]
    assert trace.plot()._repr_png_().startswith(b"\x89PNG")
    assert Trace("", ()).plot()._repr_png_().startswith(b"\x89PNG")
    assert repr(Trace("", ()).table()) == "No line of any service has it."


def test_window_and_services_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadInput, match="1 or more"):
        logs.window(minutes=0)
    with pytest.raises(BadInput, match="yesterday"):
        logs.window(minutes=5, until="yesterday")
    with pytest.raises(BadInput, match="there are: web, worker"):
        logs.groups_of(SETTINGS, "web, wokrer")
    assert list(logs.groups_of(SETTINGS, "worker")) == ["worker"]
    assert logs.window(minutes=5, until="2026-11-24T12:00+02:00").end.hour == 10 + 2


def test_pace_gives_no_more_turns_than_agreed_in_any_second() -> None:
    clock = SetClock()
    pace, began, times = Pace(5, clock=clock), clock.monotonic(), []
    for _ in range(20):
        pace.turn()
        times.append(clock.monotonic() - began)
    assert times[0] == 0
    assert all(sixth - first >= 1 for first, sixth in zip(times, times[5:], strict=False))
    assert times[-1] < 19 / 5 * 1.2
    pace.pause(10)
    pace.turn()
    assert clock.monotonic() - began - times[-1] >= 10


def test_headline_and_table_escape_and_turn_nothing_around() -> None:
    line = Headline("critical", f"<b>{ARABIC}")
    assert "&lt;b&gt;" in line._repr_html_()
    assert 'dir="auto"' in line._repr_html_()
    assert repr(line).startswith("[critical] ")
    assert (worst(), worst("ok", "critical", "warning")) == ("ok", "critical")
    table = Table(pd.DataFrame({"n": [1200, None], "said": ["<i>" + "long " * 30, ARABIC]}))
    assert "long " * 30 in table._repr_html_()
    assert "<i>" not in table._repr_html_()
    assert repr(table).splitlines()[1].startswith("1,200  <i>long")
