"""The ways in, judged without DNS, TLS or a load balancer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from runbook import settings
from runbook.studio import front, route53
from runbook.studio.alb import Certificate
from runbook.studio.endpoints import Answer, Question
from runbook.studio.route53 import Record

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SETTINGS = settings.Endpoints(
    services={"api": settings.Endpoint(host="api.x.example", tells_health=False)},
    tls_days_left=settings.Limits(warning=30, critical=7),
)
QUESTION = Question("api", "host", "health", "api.x.example", "api.x.example", "/health")
DOCS = Question("api", "host", "docs", "api.x.example", "api.x.example", "/docs")
TO_ALB = Record("api.x.example", "A", ("alb.example",), alias=True)


def there(
    days: float = 300, *answers: Answer, records: tuple[Record, ...] = (TO_ALB,)
) -> front.Front:
    certificate = Certificate("arn", ("*.x.example",), NOW + timedelta(days=days))
    asked = answers or (Answer(QUESTION, NOW, 200, 9),)
    return front.Front(
        SETTINGS, asked, {"api.x.example": records}, (certificate,), "ALB.example", NOW
    )


@pytest.mark.parametrize(
    ("found", "status", "says"),
    [
        (there(), "ok", "certificates hold for 300 days"),
        (there(30.5), "ok", "certificates hold"),
        (there(29.9), "warning", "ends in 30 days, and was not renewed"),
        (there(6.9), "critical", "ends in 6.9 days"),
        (there(0), "critical", "has expired"),
        (there(records=()), "critical", "no record leads anywhere"),
        (there(records=(Record("h", "A", ("10.0.0.1",)),)), "warning", "leads to 10.0.0.1, not"),
        (there(300, Answer(QUESTION, NOW, 502)), "critical", "answers 502"),
        # nobody is without service where only the docs are
        (there(300, Answer(DOCS, NOW, 404)), "warning", "answers 404"),
        (there(300, Answer(DOCS, NOW, error="refuses connections")), "warning", "refuses"),
    ],
)
def test_a_way_in_is_judged(found: front.Front, status: str, says: str) -> None:
    told = found.findings()
    assert told["status"] == status
    assert says in told["says"]


def test_the_certificate_that_was_spoken_with_counts_before_the_listeners() -> None:
    soon = Answer(QUESTION, NOW, 200, 9, certificate_until=NOW + timedelta(days=3))
    row = there(300, soon).tls().iloc[0]
    assert (row.status, row.seen) == ("critical", "in the handshake")


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (["*.x.example"], "api.x.example", True),
        (["api.x.example"], "api.x.example", True),
        (["*.x.example"], "a.b.x.example", False),
        (["*.x.example"], "x.example", False),
        (["*.y.example", "x.example"], "x.example", True),
        ([], "x.example", False),
    ],
)
def test_a_star_is_one_label(names: list[str], host: str, covered: bool) -> None:
    assert front.covers(names, host) is covered


def test_names_are_compared_without_what_dns_and_aws_put_around_them() -> None:
    assert route53.plain("dualstack.ALB-1.eu.elb.amazonaws.com.") == "alb-1.eu.elb.amazonaws.com"
    assert front.judge_records([Record("h", "A", ("alb.example",))], "ALB.example")[0] == "ok"
