"""Answers of Logs Insights as DataFrames, and malformed queries in words."""

from __future__ import annotations

import pandas as pd
import pytest

from runbook.studio.logs.query import Answer, explain, frame_of


def cells(**values: str) -> list[dict[str, str]]:
    return [{"field": name.replace("at_", "@"), "value": value} for name, value in values.items()]


def test_numbers_become_numbers_times_times_and_the_rest_stays_text() -> None:
    frame = frame_of(
        [
            cells(
                at_timestamp="2026-11-24 12:00:00.000", n="3", code="007", who="ليلى", at_ptr="x"
            ),
            cells(at_timestamp="2026-11-24 12:00:01.500", n="4.5", code="a"),
        ]
    )
    assert list(frame) == ["@timestamp", "n", "code", "who"]
    assert frame["@timestamp"][1] == pd.Timestamp("2026-11-24 12:00:01.5")
    assert list(frame.n) == [3, 4.5]
    assert list(frame.code) == ["007", "a"]
    assert frame.who.isna()[1]


def test_no_row_is_an_empty_frame() -> None:
    assert frame_of([]).empty
    answer = Answer(frame_of([]), 0, 0, 0, 0.0063)
    assert repr(answer.table()) == "No line matches."
    assert answer.plot()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"model": ["a", None], "p95_ms": [1.5, 2.5]}, "p95_ms of each row"),
        ({"bin(5m)": pd.to_datetime(["2026-01-01", "2026-01-02"]), "n": [1, 2]}, "n of each row"),
        ({"n": [7]}, "n of each row"),
        ({"message": ["no number"]}, "nothing of each row"),
    ],
)
def test_every_kind_of_answer_can_be_drawn(columns: dict[str, object], says: str) -> None:
    picture = Answer(pd.DataFrame(columns), 1, 1, 1, 0).plot()
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert says in repr(picture)


def test_what_was_scanned_has_its_price() -> None:
    answer = Answer(pd.DataFrame({"n": [1]}), 250e9, 10, 5, 0.0063, ("worker",))
    assert answer.cost_usd == pytest.approx(1.575)
    assert answer.says == (
        "1 row, from 5 of 10 lines; 250.0 GB scanned, 1.575000 USD. No log group for worker."
    )
    assert answer.findings()["status"] == "warning"


def test_a_malformed_query_has_a_mark_below_what_is_wrong() -> None:
    text = "fields @message\n| stats p95(latency_ms)"
    told = explain(
        text,
        {
            "location": {"startCharOffset": 24, "endCharOffset": 27},
            "message": "expected a function",
        },
        "unused",
    )
    assert told.splitlines() == [
        "AWS cannot read the query: expected a function",
        "  | stats p95(latency_ms)",
        "          ^^^",
    ]
    assert explain(text, {}, "no idea") == "AWS cannot read the query: no idea"
    at_the_end = explain("filter", {"location": {"startCharOffset": 6, "endCharOffset": 6}}, "end")
    assert at_the_end.endswith("  filter\n        ^")
