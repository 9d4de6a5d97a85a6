"""What the looking sections make of what they read: sentences and statuses, without a Studio."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from runbook import settings
from runbook.clients import Clients
from runbook.errors import NotReachable
from runbook.procedure.assess import gather
from runbook.procedure.assess.gather import in_words
from runbook.settings import MailLimits, PaymentProvider
from runbook.studio import metrics
from runbook.studio.changes import TRAIL, Changed
from runbook.studio.mail import Identity, Mail, Sent
from runbook.studio.redis_health import Group, RedisHealth
from runbook.studio.ses import Account
from runbook.studio.webhooks import Registered, Webhooks
from studio_sandbox.drills.drill import drills
from studio_sandbox.proofs.assessing import TRUTHS, Assessed, Page

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
WANTED = PaymentProvider(api="/pay", secret="KEY", webhook="https://api.example/hook")
FINE = Account(True, True, True, True)
NOTHING = pd.DataFrame(columns=["level", "message", "lines"])


def lines(*rows: tuple[str, str, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["level", "message", "lines"])


FEW = Sent(1000, 1, 0)


def mail(*, sent: Sent = FEW, used: float = 10, found: Any = NOTHING) -> Mail:
    domain = (Identity("d", "DOMAIN", True, "SUCCESS"),)
    return Mail("d", FINE, "HEALTHY", (100.0, used), domain, sent, {}, found, MailLimits())


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (mail(), "ok"),
        (mail(sent=Sent(1000, 49, 0)), "ok"),
        (mail(sent=Sent(1000, 50, 0)), "warning"),
        (mail(sent=Sent(1000, 100, 0)), "critical"),
        (mail(sent=Sent(1000, 0, 5)), "critical"),
        (mail(used=80), "warning"),
        (mail(found=lines(("ERROR", "SES refused", 3))), "warning"),
        (mail(found=lines(("INFO", "SES accepted", 3))), "ok"),
    ],
)
def test_mail_is_judged_by_what_aws_would_do(found: Mail, status: str) -> None:
    assert found.findings()["status"] == status


def test_an_address_needs_no_signature_and_a_domain_does() -> None:
    assert Identity("a@b", "EMAIL_ADDRESS", True, "NOT_STARTED").sender
    assert not Identity("b", "DOMAIN", True, "PENDING").sender


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (RedisHealth(why="TimeoutError"), "Redis does not answer"),
        (RedisHealth(role="slave"), "takes no writes"),
        (RedisHealth(role="master", ping_ms=150), "PING takes 150 ms"),
        (RedisHealth(role="master", used_mib=90, most_mib=100), "90 % of its memory"),
        (RedisHealth(role="master", evicted=3), "3 keys were evicted"),
        (
            RedisHealth(role="master", group=Group("g", "available", "enabled", ())),
            "no node of it leads",
        ),
    ],
)
def test_each_way_in_which_redis_fails_is_told(found: RedisHealth, says: str) -> None:
    assert says in "; ".join(found.problems(memory_percent=80, slow_ms=100))


def test_a_redis_without_a_limit_is_never_full() -> None:
    fine = RedisHealth(role="master", ping_ms=1, used_mib=900, most_mib=None)
    assert fine.problems(memory_percent=80, slow_ms=100) == []


def test_webhooks_that_go_elsewhere_or_fail_are_told() -> None:
    theirs = Registered("https://old.example/hook", sent={"delivered": 9, "lost": 2})
    refused = lines(("ERROR", "payment webhook refused: signature does not match", 4))
    told = "; ".join(Webhooks(WANTED, theirs, refused, (), 30).problems())
    assert "https://old.example/hook" in told
    assert "2 lost" in told
    assert "4 signatures did not match" in told
    fine = Webhooks(WANTED, Registered(WANTED.webhook), NOTHING, (), 30)
    assert fine.findings()["status"] == "ok"


def test_a_change_concerns_what_it_names_and_nothing_that_only_begins_so() -> None:
    change = Changed(NOW, "UpdateService", "x", ("cluster", "service/c/web", "web:7"), TRAIL)
    assert change.concerns("web")
    assert not change.concerns("we")


def test_points_are_cut_at_a_moment() -> None:
    points = [(NOW + timedelta(minutes=n), float(n)) for n in range(4)]
    assert metrics.mean(metrics.since(points, NOW + timedelta(minutes=2))) == 2.5
    assert metrics.total(metrics.until(points, NOW + timedelta(minutes=2))) == 1
    assert metrics.mean([]) is None


def test_what_hangs_is_named_in_time_and_the_rest_is_there(monkeypatch: Any) -> None:
    environment = settings.load("sandbox")
    quick = environment.assess.model_copy(update={"within_s": 5})
    clients = Clients(environment.model_copy(update={"assess": quick}))

    def refuse(ask: Any) -> Any:
        raise NotReachable("It does not answer.")

    def hang(ask: Any) -> Any:
        threading.Event().wait()

    jobs = (
        gather._Job("what hangs", hang),
        gather._Job("what fails", refuse),
        gather._Job("what answers", lambda ask: {"commits": {"web": "abc"}}),
    )
    monkeypatch.setattr(gather, "JOBS", jobs)
    monkeypatch.setattr(gather, "_make_clients", lambda clients: None)

    seen = gather.gather(clients)

    assert seen.commits == {"web": "abc"}
    assert {one.what: one.why for one in seen.not_seen} == {
        "what hangs": "no answer within 5 s",
        "what fails": "It does not answer.",
    }


def test_why_something_was_not_seen_names_no_address() -> None:
    import redis
    import sqlalchemy.exc

    refused = redis.exceptions.ConnectionError("Error 111 connecting to 10.0.0.9:6379. refused")
    assert in_words(refused) == "Redis: ConnectionError, refused"
    gone = sqlalchemy.exc.OperationalError("", {}, Exception('server at "10.0.0.9" refused'))
    assert in_words(gone) == "the database: refused"


def test_the_proof_knows_the_true_cause_of_every_drill() -> None:
    assert set(TRUTHS) == set(drills())


@pytest.mark.parametrize(
    ("places", "healthy", "holds"),
    [
        ([(1,)] * 5 + [(3,)], True, True),
        ([(1,)] * 4 + [(3,)] * 2, True, False),
        ([(1,)] * 5 + [(4,)], True, False),
        ([(1,)] * 5 + [(0,)], True, False),
        ([(1,)] * 5, False, False),
        ([(1,), (2, 1)], True, True),
        ([(1,), (0, 1)], True, False),
    ],
)
def test_the_proof_holds_with_five_of_six_first_and_all_found(
    places: list[tuple[int, ...]], healthy: bool, holds: bool
) -> None:
    pages = [Page("d", 1, place, "cause", "likely", 10, 20) for place in places]
    assert Assessed(healthy, pages).holds is holds
