"""Logs Insights: what queries answer, and which are refused, where."""

from __future__ import annotations

import json

import pytest

from studio_sandbox.control_plane.aws_error import NotInSandbox
from studio_sandbox.control_plane.insights import Event, MalformedQuery, compile_query

START_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC


def line(number: int, **fields: object) -> Event:
    message = json.dumps(fields) if fields else f"plain ERROR took {number} ms"
    time_ms = START_MS + number * 60_000
    return Event(time_ms, time_ms + 9, message, "s", "1:/ecs/x", f"p{number}")


EVENTS = [
    line(0, level="INFO", status=200, latency_ms=10, user={"id": "u1"}, tags=["a", "b"]),
    line(1, level="ERROR", status=500, latency_ms=30, user={"id": "u2"}, path="/v1/chat"),
    line(2, level="ERROR", status=502, latency_ms=50.5, user={"id": "u1"}, path="/v1/images"),
    line(3, level="INFO", status=200, latency_ms=20, user={"id": "u3"}),
    line(4),
    line(6, level="WARN", latency_ms="slow"),
]


def answer(query: str) -> list[dict[str, str]]:
    rows = compile_query(query).run(EVENTS).rows
    found = [{one["field"]: one["value"] for one in row} for row in rows]
    return [{name: value for name, value in row.items() if name != "@ptr"} for row in found]


def values(query: str) -> list[list[str]]:
    return [list(row.values()) for row in answer(query)]


@pytest.mark.parametrize(
    ("condition", "latencies"),
    [
        ('level = "ERROR"', ["50.5", "30"]),
        ("level != 'INFO' and ispresent(status)", ["50.5", "30"]),
        ("latency_ms > 15 and latency_ms <= 30", ["20", "30"]),
        ("status >= 500 or latency_ms < 15", ["50.5", "30", "10"]),
        ("not (status = 200)", ["50.5", "30"]),
        ("status in [500, 502]", ["50.5", "30"]),
        ('level not in ["INFO", "WARN"]', ["50.5", "30"]),
        ("@message like /v1.(chat|nothing)/", ["30"]),
        ("path =~ /IMAGES/", []),
        ("path like /(?i)IMAGES/", ["50.5"]),
        ('path like "/v1/"', ["50.5", "30"]),
        ('ispresent(path) and path not like "chat"', ["50.5"]),
        ("user.id = 'u1'", ["50.5", "10"]),
        ('tags.1 = "b"', ["10"]),
        ("missing = 1", []),
        ("latency_ms * 2 + 1 = 61", ["30"]),
        ("status - 2 ^ 3 = 492 # a comment", ["30"]),
        ("latency_ms % 4 = 2 and status / 2 > 99", ["30", "10"]),
        ('isempty(path) and latency_ms = "slow"', ["slow"]),
    ],
)
def test_filter_finds_what_a_reader_would(condition: str, latencies: list[str]) -> None:
    assert values(f"fields latency_ms | filter {condition}") == [[one] for one in latencies]


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("stats count(*)", [["6"]]),
        ("stats count(status), count_distinct(status) as kinds", [["4", "3"]]),
        ("stats avg(latency_ms), sum(latency_ms) as s", [["27.625", "110.5"]]),
        ("stats min(latency_ms), max(latency_ms), pct(latency_ms, 50)", [["10", "50.5", "25"]]),
        ("stats earliest(status), latest(status)", [["200", "200"]]),
        ("filter ispresent(level) | stats count(*) as n by level | sort n desc, level",
         [["ERROR", "2"], ["INFO", "2"], ["WARN", "1"]]),
        ("stats count(*) by bin(5m)", [["2026-01-01 00:05:00.000", "1"],
                                       ["2026-01-01 00:00:00.000", "5"]]),
        ("stats count(*) by bin(5m) | sort bin(5m) asc | limit 1",
         [["2026-01-01 00:00:00.000", "5"]]),
        ("stats max(status) as worst, min(status) as best, worst - best as spread",
         [["502", "200", "302"]]),
        ("stats count(*) as n by level | stats max(n)", [["2"]]),
        ("filter ispresent(status) | stats sum(latency_ms) * 3 as n by user.id | sort n desc",
         [["u1", "181.5"], ["u2", "90"], ["u3", "60"]]),
        ("stats stddev(status) by user.id | filter user.id = 'u1'", [["u1", "213.5462"]]),
    ],
)  # fmt: skip
def test_stats_add_up(query: str, rows: list[list[str]]) -> None:
    assert values(query) == rows


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("strlen(level)", "5"),
        ("concat(tolower(level), '-', toupper(path))", "error-/V1/CHAT"),
        ("abs(0 - latency_ms)", "30"),
        ("floor(latency_ms / 7)", "4"),
        ("ceil(latency_ms / 7)", "5"),
        ("greatest(latency_ms, 99)", "99"),
        ("coalesce(missing, level)", "ERROR"),
        ("datefloor(@timestamp, 1h)", "2026-01-01 00:00:00.000"),
        ("toMillis(@timestamp)", str(START_MS + 60_000)),
        ("fromMillis(1767225600000)", "2026-01-01 00:00:00.000"),
        ("substr(path, 4)", "chat"),
        ("replace(path, 'v1', 'v2')", "/v2/chat"),
        ("trim(' x ')", "x"),
        ("strcontains(path, 'chat')", "1"),
        ("isblank(missing)", "1"),
    ],
)
def test_function_gives_what_aws_documents(expression: str, value: str) -> None:
    assert values(f"filter status = 500 | fields {expression} as x") == [[value]]


def test_without_fields_the_time_and_the_message_are_shown() -> None:
    (row,) = answer("filter status = 500")
    assert row == {"@timestamp": "2026-01-01 00:01:00.000", "@message": EVENTS[1].message}


def test_newest_first_unless_sorted_and_missing_values_last() -> None:
    assert values("fields status") == [[], [], ["200"], ["502"], ["500"], ["200"]]
    ordered = [["10"], ["20"], ["30"], ["50.5"]]
    assert values("fields latency_ms | sort latency_ms asc") == [["slow"], *ordered, []]


def test_parse_takes_values_out_of_texts() -> None:
    glob = 'parse @message "plain * took * ms" as level, ms | filter ispresent(ms) | display ms'
    regex = r"parse /took (?<ms>\d+)/ | filter ispresent(ms) | display ms, level"
    assert answer(glob) == [{"ms": "4"}]
    assert answer(regex) == [{"ms": "4"}]


def test_dedup_keeps_the_first_of_each_and_all_without_a_value() -> None:
    found = values("fields level, latency_ms | sort @timestamp asc | dedup level")
    assert found == [["INFO", "10"], ["ERROR", "30"], [], ["WARN", "slow"]]


def test_matched_counts_what_the_filters_let_through() -> None:
    query = compile_query('filter level = "ERROR" | stats count(*) by status | limit 1')
    assert query.run(EVENTS).matched == 2


@pytest.mark.parametrize(
    ("query", "message", "start"),
    [
        ("stats p95(latency_ms)", "unexpected symbol found p95 at line 1 and position 6", 6),
        ("this is no query", "unexpected symbol found this at line 1 and position 0", 0),
        ("", "unexpected symbol found <EOF> at line 1 and position 0", 0),
        ("fields @message |", "unexpected symbol found <EOF> at line 1 and position 17", 17),
        ("fields @message\n| filter a ! 3", "found ! at line 2 and position 11", 27),
        ("filter level = ", "unexpected symbol found <EOF> at line 1 and position 15", 15),
        ("fields lower(level)", "unexpected symbol found lower at line 1 and position 7", 7),
        ("fields level | dedup level | sort level", "unexpected symbol found sort", 29),
        ("fields a as x, b as x", "x is defined already", 20),
        ("filter count(*) > 1", "filter needs a condition", 7),
        ("stats level", "stats needs aggregates", 6),
        ("parse @message '* *' as one", "as many names", 15),
        ("parse @message /no names/", "groups with names", 15),
        ("limit 10001", "limit is from 1 to 10000", 6),
        ("fields strlen()", "wrong number of arguments", 7),
    ],
)  # fmt: skip
def test_malformed_query_is_refused_where_it_is_wrong(query: str, message: str, start: int) -> None:
    with pytest.raises(MalformedQuery, match=message) as refused:
        compile_query(query)
    assert refused.value.start == start


@pytest.mark.parametrize(
    "query",
    [
        "pattern @message",
        "fields @message | anomaly",
        "fields jsonParse(@message) as j",
        "stats count(*) by bin(1w)",
        "filter @message like /(?=ahead)/",
        "unnest tags into tag",
    ],
)
def test_what_is_not_imitated_says_so(query: str) -> None:
    with pytest.raises(NotInSandbox):
        compile_query(query)
