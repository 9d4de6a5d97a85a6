"""Filter patterns of CloudWatch Logs, each against lines that it must tell apart."""

from __future__ import annotations

import json

import pytest

from studio_sandbox.control_plane.logs_filter import BadPattern, compile_pattern

JSON_LINES = [
    {"level": "ERROR" if n % 10 == 0 else "INFO", "trace_id": f"t{n}", "latency_ms": n * 10,
     "path": "/orders" if n % 2 else "/login", "status": 500 if n % 10 == 0 else 200,
     "user": {"id": n, "name": None}, "tags": ["a", f"b{n}"], "ok": n % 2 == 0}
    for n in range(60)
]  # fmt: skip
LINES = [json.dumps(line) for line in JSON_LINES] + [
    "ERROR db timeout",
    "WARN slow",
    "plain ok",
    "ERROR -x retry",
    "error lower",
    '[ERROR] foo "bar baz"',
]
ACCESS = [
    '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534',
    '10.0.0.7 - mona [10/Oct/2000:13:25:16 -0700] "POST /login HTTP/1.0" 500 20',
    '10.0.0.8 - omar [10/Oct/2000:13:25:17 -0700] "GET /a HTTP/1.0" 200 9000',
    "too short",
]


def matching(pattern: str, lines: list[str]) -> int:
    return sum(map(compile_pattern(pattern), lines))


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("", 66),
        ("ERROR", 9),
        ("error", 1),
        ("ERROR timeout", 1),
        ("?WARN ?slow", 1),
        ("?WARN ?ERROR", 10),
        ("ERROR ?nothing", 9),
        ("ERROR -db", 8),
        ("-INFO", 12),
        ('"bar baz"', 1),
        ('-"bar baz" -INFO', 11),
        ("%ERR[A-Z]+%", 9),
    ],
)
def test_terms(pattern: str, count: int) -> None:
    assert matching(pattern, LINES) == count


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ('{ $.trace_id = "t7" }', 1),
        ("{ $.trace_id = t7 }", 1),
        ('{ $.path = "/lo*" }', 30),
        ("{ $.level = %ERR.*% }", 6),
        ("{ $.latency_ms > 500 }", 9),
        ("{ $.latency_ms >= 500 }", 10),
        ("{ $.status != 200 }", 6),
        ("{ $.status = 5* }", 6),
        ("{ $.user.id = 5 }", 1),
        ("{ $.tags[1] = b5 }", 1),
        ("{ $.tags[*] = b5 }", 1),
        ("{ $.user.name IS NULL }", 60),
        ("{ $.ok IS TRUE }", 30),
        ("{ $.missing NOT EXISTS }", 60),
        ('{ $.level = "ERROR" || $.path = "/login" }', 30),
        ("{ ($.status = 500) && ($.latency_ms >= 100) }", 5),
        ('{ $.level = "INFO" && $.latency_ms < 50 || $.latency_ms > 580 }', 5),
        ('{ $.level = "INFO" && ($.latency_ms < 50 || $.latency_ms > 580) }', 5),
        ('{ $.latency_ms = "500" }', 0),
    ],
)
def test_json_selectors(pattern: str, count: int) -> None:
    assert matching(pattern, LINES) == count


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("[ip, id, user, time, request, status, bytes]", 3),
        ("[ip, id, user, time, request, status = 4*, bytes]", 1),
        ("[ip, id, user, time, request, status >= 400, bytes]", 2),
        ("[ip = %10\\.0%, ..., bytes > 1000]", 1),
        ("[..., status = 500 || status = 404, bytes]", 2),
        ("[ip, ...]", 4),
        ("[ip, id]", 1),
    ],
)
def test_space_delimited_fields(pattern: str, count: int) -> None:
    assert matching(pattern, ACCESS) == count


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.level = }",
        "{ $.level",
        "{ level = 1 }",
        "{ $.a = 1 && }",
        "{ ($.a = 1 }",
        "{ $.a > high }",
        "{ $.a IS MAYBE }",
        "[a, b",
        "[..., a, ...]",
        "user-id",
        "%(group)%",
        "%a% %b% %c%",
    ],
)
def test_pattern_that_aws_would_refuse_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern)


def test_a_line_that_only_begins_like_json_matches_no_selector() -> None:
    assert not compile_pattern("{ $.a NOT EXISTS }")('{"a": ')
