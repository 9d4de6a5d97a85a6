"""Who waits for whom as a tree, and what is worth a look, from rows alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from runbook.settings import DatabaseLimits
from runbook.studio.aurora import Activity, Lag, chains

LIMITS = DatabaseLimits()
TABLES = pd.DataFrame({"table": ["jobs"], "dead_rows": [0], "dead_percent": [0.0]})


def sessions(*waits: tuple[int, list[int]], **every: Any) -> pd.DataFrame:
    """Sessions by pid, each with those that it waits for."""
    about = {
        "user": "u", "application": "app", "client": "", "state": "active", "transaction_s": 10.0,
        "state_s": 5.0, "query": "UPDATE x", **every,
    }  # fmt: skip
    rows = [{"pid": pid, "blocked_by": by, "waits": bool(by), **about} for pid, by in waits]
    return pd.DataFrame(rows, columns=["pid", "blocked_by", "waits", *about])


def activity(found: pd.DataFrame, **other: Any) -> Activity:
    about = {
        "connections": 3,
        "max_connections": 60,
        "tables": TABLES,
        "lag": Lag(20, "x"),
        **other,
    }
    return Activity("16", "db", False, sessions=found, limits=LIMITS, chain=tuple(chains(found)),
                    **{**about, **other})  # fmt: skip


def tree(*waits: tuple[int, list[int]]) -> list[tuple[int, int, int]]:
    return [(one.pid, one.depth, one.behind) for one in chains(sessions(*waits))]


@pytest.mark.parametrize(
    ("waits", "wanted"),
    [
        ([(1, []), (2, [])], []),
        ([(1, []), (2, [1]), (3, [2]), (4, [1])], [(1, 0, 3), (2, 1, 1), (3, 2, 0), (4, 1, 0)]),
        ([(1, []), (2, []), (3, [1, 2])], [(1, 0, 1), (3, 1, 0)]),
        ([(2, [99])], [(99, 0, 1), (2, 1, 0)]),
        ([(1, [2]), (2, [1])], [(1, 0, 1), (2, 1, 0)]),
    ],
)
def test_sessions_stand_below_those_that_they_wait_for(
    waits: list[tuple[int, list[int]]], wanted: list[tuple[int, int, int]]
) -> None:
    assert tree(*waits) == wanted


def test_a_tree_is_drawn_with_the_root_first() -> None:
    shown = repr(activity(sessions((1, []), (2, [1]), (3, [2]))).chains()).splitlines()
    assert [line.split("  ")[0] for line in shown[1:3]] == ["1", "└─ 2"]
    assert shown[3].startswith("   └─ 3")


def test_a_calm_database_is_ok_and_says_so() -> None:
    calm = activity(sessions((1, [])))
    assert calm.status == "ok"
    assert calm.findings()["says"].startswith("Nobody waits for a lock")
    assert "lag 20 ms" in calm.findings()["says"]


@pytest.mark.parametrize(
    ("found", "other", "status", "says"),
    [
        (sessions((1, []), (2, [1]), state_s=29.9), {}, "warning", "behind pid 1"),
        (sessions((1, []), (2, [1]), state_s=30.0), {}, "critical", "the longest for 30 s"),
        (sessions((7, []), transaction_s=299.0), {}, "ok", ""),
        (sessions((7, []), transaction_s=300.0), {}, "warning", "pid 7 for 300 s"),
        (sessions(), {"connections": 47}, "ok", ""),
        (sessions(), {"connections": 48}, "critical", "48 of 60 connections"),
        (sessions(), {"lag": Lag(999, "x")}, "ok", ""),
        (sessions(), {"lag": Lag(1000, "x")}, "warning", "1,000 ms behind"),
        (sessions(), {"lag": Lag(None, "")}, "ok", "not measured"),
        (sessions(), {"tables": TABLES.assign(dead_rows=9_999, dead_percent=90.0)}, "ok", ""),
        (sessions(), {"tables": TABLES.assign(dead_rows=10_000, dead_percent=19.9)}, "ok", ""),
        (sessions(), {"tables": TABLES.assign(dead_rows=10_000, dead_percent=20.0)}, "warning",
         "Many dead rows in jobs"),
    ],
)  # fmt: skip
def test_each_limit_is_just_under_and_just_over(
    found: pd.DataFrame, other: dict[str, Any], status: str, says: str
) -> None:
    now = activity(found, **other)
    assert now.status == status
    assert says in now.findings()["says"]
