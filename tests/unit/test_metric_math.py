"""Metric math over small series whose answers can be worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from studio_sandbox.control_plane.aws_error import NotInSandbox
from studio_sandbox.control_plane.metric_math import (
    BadExpression,
    Series,
    Value,
    evaluate,
    names_in,
)

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
TIMES = [START + timedelta(minutes=n) for n in range(4)]


def series(*values: float | None) -> Series:
    return {t: float(v) for t, v in zip(TIMES, values, strict=False) if v is not None}


GIVEN = {"a": series(1, 2, 3, 4), "b": series(2, 0, 6), "gap": series(1, None, None, 4)}


def work_out(expression: str) -> Value:
    return evaluate(expression, GIVEN, period_s=60)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + 1", series(2, 3, 4, 5)),
        ("a + b", series(3, 2, 9)),
        ("100*a/b", series(50, None, 50)),
        ("-a^2", series(-1, -4, -9, -16)),
        ("(a + 1) * 2 - 3", series(1, 3, 5, 7)),
        ("a > 2", series(0, 0, 1, 1)),
        ("a > 1 AND a < 4", series(0, 1, 1, 0)),
        ("SUM([a, b])", series(3, 2, 9, 4)),
        ("MAX([a, b])", series(2, 2, 6, 4)),
        ("AVG(METRICS())", series(4 / 3, 1, 4.5, 4)),
        ("a / MAX(a)", series(0.25, 0.5, 0.75, 1)),
        ("SUM([a, a] * 2)", series(4, 8, 12, 16)),
        ("FILL(gap, 0)", series(1, 0, 0, 4)),
        ("FILL(gap, REPEAT)", series(1, 1, 1, 4)),
        ("IF(a > 2, a, 0)", series(0, 0, 3, 4)),
        ("IF(a > 2, a)", series(None, None, 3, 4)),
        ("RATE(a)", dict.fromkeys(TIMES[1:], 1 / 60)),
        ("DIFF(a)", dict.fromkeys(TIMES[1:], 1.0)),
        ("RUNNING_SUM(a)", series(1, 3, 6, 10)),
        ("a / PERIOD(a) * 60", series(1, 2, 3, 4)),
        ("CEIL(a / 2)", series(1, 1, 2, 2)),
    ],
)
def test_series_come_out_point_by_point(expression: str, expected: Series) -> None:
    assert work_out(expression) == pytest.approx(expected)


@pytest.mark.parametrize(("expression", "number"), [("MAX(a)", 4), ("AVG(a)", 2.5), ("1 + 2*3", 7)])
def test_one_series_aggregated_is_a_number(expression: str, number: float) -> None:
    assert work_out(expression) == number


@pytest.mark.parametrize("expression", ["", "a +", "(a", "c", "a b", "SUM()", "a ? b", "MAX(a, b)"])
def test_bad_expression_is_refused(expression: str) -> None:
    with pytest.raises(BadExpression):
        work_out(expression)


@pytest.mark.parametrize("expression", ["SEARCH('x')", "SLICE(a)", "FILL(gap, LINEAR)"])
def test_function_that_is_not_here_says_so(expression: str) -> None:
    with pytest.raises(NotInSandbox):
        work_out(expression)


def test_names_are_the_other_queries() -> None:
    assert names_in("100*errors/SUM([m1, m2])") == {"errors", "m1", "m2"}
