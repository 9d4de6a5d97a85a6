"""Rules of assess: what was seen becomes suspects, and what was not seen says nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from runbook import settings
from runbook.procedure import assess
from runbook.procedure.assess.rules import RULES
from runbook.procedure.assess.seen import (
    Calls,
    Database,
    Errors,
    Load,
    NotSeen,
    Rows,
    Secret,
    Seen,
    Share,
    Stuck,
)
from runbook.procedure.assess.suspect import Evidence, Step, Suspect, rank
from runbook.procedure.mitigate import Mitigation
from runbook.settings import DatabaseLimits, Environment, Models, Provider, Providers
from runbook.studio.aurora import Activity, Cluster, Session
from runbook.studio.changes import TRAIL, Changed
from runbook.studio.ecs import Deployment, Service
from runbook.studio.latency import OfProvider
from runbook.studio.logs.lines import Event, Line
from runbook.studio.outside import Said
from runbook.studio.payments import Unactivated
from runbook.studio.redis_health import Group, RedisHealth
from runbook.studio.s3 import Copied
from runbook.studio.ses import Account
from runbook.studio.usage import Apart
from runbook.studio.wont_start import Failure, WontStart

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KNOWN = {
    name: Provider(secret=f"{name.upper()}_KEY", try_url=f"/{name}") for name in ("one", "two")
}
ENVIRONMENT: Environment = settings.load("sandbox").model_copy(
    update={"models": Models(), "providers": Providers(known=KNOWN)}
)
PRIMARY, BACKUP = ENVIRONMENT.regions.primary, ENVIRONMENT.regions.backup
DSN = ENVIRONMENT.database.secret
FINE = {PRIMARY: "", BACKUP: ""}


def seen(**facts: Any) -> Seen:
    return replace(Seen(ENVIRONMENT, NOW, regions=FINE), **facts)


def service(name: str = "web", *, running: int = 3, minutes: float = 5, rev: int = 7) -> Service:
    begun = NOW - timedelta(minutes=minutes)
    deployment = Deployment("d", "PRIMARY", f"{name}:{rev}", "COMPLETED", "", 3, running, 0, begun)
    return Service("c", name, f"{name}:{rev}", 3, running, 0, (deployment,))


def points(value: float, *, minutes: int = 60) -> list[tuple[datetime, float]]:
    return [(NOW - timedelta(minutes=n), value) for n in range(minutes, 0, -1)]


def activity(*chain: Session, connections: int = 10) -> Activity:
    empty = pd.DataFrame()
    return Activity(
        "16", "studio", False, connections, 100, empty, empty, DatabaseLimits(), chain=chain
    )


def session(pid: int, depth: int, *, state_s: float, behind: int = 0) -> Session:
    return Session(pid, depth, "u", "report", "active", 900.0, state_s, "SELECT", behind)


def first(found: Seen) -> Suspect:
    return assess.judge(found).suspects[0]


def unactivated() -> Unactivated:
    return Unactivated("p", "HY-1", "the-subscription", "u", 5.0, NOW, 90.0)


STARTLESS = WontStart(
    (service(running=0),),
    (Failure("web", "web:7", "secret denied", 4, NOW, NOW, "reason", (), "role may not read it"),),
)
APART = tuple(Apart(f"user-{n}", "tokens", 500, 100) for n in range(30))
REDIS = RedisHealth(ping_ms=1, role="master")
CASES: list[tuple[Seen, str, dict[str, Any]]] = [
    (seen(wont_start=STARTLESS), "roll-back", {"services": "web"}),
    (
        seen(services=(service("a"), service("b", minutes=900)), commits={"a": "new", "b": "old"}),
        "roll-back",
        {"services": "a"},
    ),
    (
        seen(
            services=(service(),),
            loads=(Load("web", requests=points(60), failed=points(0)[:-5] + points(30)[-5:]),),
        ),
        "roll-back",
        {"services": "web"},
    ),
    (
        seen(
            database=Database(why="refused"),
            secrets=(Secret(DSN, NOW - timedelta(minutes=4)),),
        ),
        "restore-secret",
        {"secret": DSN},
    ),
    (
        seen(
            database=Database(why="refused"),
            cluster=Cluster("db", "", "", "", "stopped", "", ()),
        ),
        "recover-database",
        {},
    ),
    (
        seen(
            database=Database(
                activity(session(7, 0, state_s=1, behind=3), session(9, 1, state_s=40))
            )
        ),
        "end-query",
        {"pid": 7},
    ),
    (seen(database=Database(activity(connections=95))), "resize-data-stores", {}),
    (seen(redis=RedisHealth(why="TimeoutError")), "resize-data-stores", {}),
    (
        seen(redis=replace(REDIS, group=Group("g", "modifying", "disabled", (("n2", "replica"),)))),
        "resize-data-stores",
        {"primary": "n2"},
    ),
    (
        seen(loads=(Load("web", cpu=points(99), most=3),), services=(service(),)),
        "scale-service",
        {"service": "web", "desired_count": 6, "move_range": True},
    ),
    (
        seen(shares=(Share("loud", "web", 60, 100), Share("other", "web", 2, 100))),
        "throttle-user",
        {"user": "loud"},
    ),
    (
        seen(errors=(Errors("web", "provider two answered 401: invalid API key", "two", 30, 0),)),
        "rotate-api-key",
        {"secret": "TWO_KEY"},
    ),
    (
        seen(providers=(OfProvider("one", 20.0, 1.0, Said("one", "minor", "Elevated")),)),
        "switch-provider",
        {"away_from": "one"},
    ),
    (
        seen(
            errors=(Errors("web", "provider one answered 503", "one", 30, 0),),
            calls=(Calls("one", 100, 30, 1000, 2),),
        ),
        "switch-provider",
        {"away_from": "one"},
    ),
    (
        seen(stuck=Stuck({"video": 12}, 90.0)),
        "clear-stuck-jobs",
        {"older_than_minutes": 60, "outcome": "pending", "at_most": 12},
    ),
    (
        seen(unactivated=(unactivated(),)),
        "activate-subscription",
        {"subscription": "the-subscription"},
    ),
    (seen(apart=APART, counters=5000), "sync-usage", {}),
    (
        seen(rows=Rows(4, 0, {}), strangers=(Line(Event(1_795_867_200_000, "w", "backfill")),)),
        "recover-database",
        {"moment": "2026-11-28T11:59:55"},
    ),
    (seen(apart=APART, counters=100, rows=Rows(0, 0, {})), "recover-database", {}),
    (seen(mail=Account(False, True, True, True)), "restore-mail", {}),
    (seen(files=Copied("b", "c", 200, 60, versioned=True)), "recover-bucket", {"bucket": "b"}),
    (
        seen(files=Copied("b", "c", 0, 300, versioned=False, gone=True)),
        "recover-bucket",
        {"bucket": "b"},
    ),
    (seen(regions={PRIMARY: "gone", BACKUP: ""}), "fail-over-region", {}),
]


@pytest.mark.parametrize(("found", "section", "parameters"), CASES)
def test_each_cause_is_suspected_first_with_its_remedy_filled_in(
    found: Seen, section: str, parameters: dict[str, Any]
) -> None:
    suspect = first(found)
    assert (suspect.mend.section, dict(suspect.mend.parameters)) == (section, parameters)
    assert suspect.confidence in ("possible", "likely", "almost certain")
    assert suspect.confirm.section
    assert all(one.says for one in suspect.evidence)


def test_what_was_not_seen_says_nothing() -> None:
    assert assess.judge(seen()).suspects == ()
    blind = seen(not_seen=(NotSeen("the database", "refused"),))
    found = assess.judge(blind).findings()
    assert (found["status"], found["suspects"]) == ("warning", [])
    assert found["not_seen"] == [{"what": "the database", "why": "refused"}]
    assert "Not seen: the database" in found["says"]


def test_a_healthy_studio_has_no_suspect() -> None:
    calm = seen(
        services=(service("a"), service("b")),
        commits={"a": "same", "b": "same"},
        wont_start=WontStart((service("a"), service("b")), ()),
        loads=(Load("a", points(40), points(60), points(0), 2, 10),),
        shares=tuple(Share(f"u{n}", "a", 5, 100) for n in range(20)),
        errors=(Errors("a", "provider one answered 503", "one", 1, 9),),
        calls=(Calls("one", 100, 1, 1000, 9),),
        providers=(OfProvider("one", 1.1, 1.0, Said("one", "none", "All Systems Operational")),),
        database=Database(activity()),
        redis=REDIS,
        secrets=(Secret(DSN, NOW - timedelta(days=30)),),
        stuck=Stuck({}, 0),
        rows=Rows(0, 0, {"usage_logs": 40.0}),
        unactivated=(),
        apart=(),
        counters=5000,
        mail=Account(True, True, True, True),
        files=Copied("b", "c", 300, 0, versioned=True),
        trail=(Changed(NOW, "UpdateService", "somebody", ("a",), TRAIL),),
        activity=(),
    )
    found = assess.judge(calm)
    assert found.suspects == ()
    assert found.findings()["status"] == "ok"


@pytest.mark.parametrize(("failed", "suspects"), [(1, 0), (2, 0), (3, 1)])
def test_one_failure_of_few_calls_is_no_failing_provider(failed: int, suspects: int) -> None:
    found = seen(
        errors=(Errors("web", "provider one answered 503", "one", failed, 0),),
        calls=(Calls("one", 15, failed, 1000, 2),),
    )
    assert len(assess.judge(found).suspects) == suspects


def test_usage_that_waits_for_a_service_that_is_down_comes_after_that_service() -> None:
    down = seen(services=(service(running=0),), wont_start=STARTLESS, apart=APART, counters=5000)
    assert [one.mend.section for one in assess.judge(down).suspects] == ["roll-back", "sync-usage"]
    assert assess.judge(down).suspects[1].confidence == "possible"


def test_commits_that_have_differed_for_days_are_a_mere_hint() -> None:
    old = (service("a", minutes=3000), service("b", minutes=9000))
    found = seen(services=old, commits={"a": "new", "b": "old"})
    assert first(found).confidence == "a mere hint"


def test_two_causes_at_once_are_both_suspected() -> None:
    both = seen(stuck=Stuck({"video": 12}, 90.0), mail=Account(False, False, True, True))
    sections = {one.mend.section for one in assess.judge(both).suspects}
    assert sections == {"clear-stuck-jobs", "restore-mail"}


def test_evidence_adds_up_and_never_to_certainty() -> None:
    step = Step("check-health")
    one = Suspect("c", "t", (Evidence("a", 0.6),), step, step)
    two = replace(one, evidence=(Evidence("a", 0.6), Evidence("b", 0.6)))
    assert one.weight == pytest.approx(0.6)
    assert two.weight == pytest.approx(0.84)
    assert (one.confidence, two.confidence) == ("possible", "likely")


def test_suspects_of_one_thing_with_one_remedy_are_one_with_all_the_evidence() -> None:
    step = Step("roll-back")
    weak = Suspect("weaker", "web", (Evidence("a", 0.4), Evidence("b", 0.2)), step, step)
    strong = Suspect("stronger", "web", (Evidence("a", 0.4), Evidence("c", 0.9)), step, step)
    (found,) = rank([weak, strong])
    assert found.cause == "stronger"
    assert [one.says for one in found.evidence] == ["c", "a", "b"]


def test_a_command_is_what_a_shell_takes() -> None:
    step = Step("scale-service", {"service": "web", "desired_count": 6, "move_range": True})
    wanted = "./runbook run scale-service -p service web -p desired_count 6 -p move_range true"
    assert step.command == wanted


def test_no_rule_knows_a_drill_by_name() -> None:
    from studio_sandbox.drills.drill import drills

    for path in sorted((settings.checkout() / "lib/runbook/procedure/assess").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert [name for name in drills() if f'"{name}"' in text] == [], path
    assert len(RULES) > 10


@pytest.mark.parametrize(
    ("found", "measure"),
    [
        (seen(wont_start=STARTLESS), "roll back"),
        (seen(loads=(Load("web", cpu=points(99), most=3),), services=(service(),)), "scale up"),
        (seen(regions={PRIMARY: "gone", BACKUP: ""}), "fail over"),
        (seen(stuck=Stuck({"video": 12}, 90.0)), "repair the cause"),
    ],
)
def test_the_measure_that_is_called_for_comes_first(found: Seen, measure: str) -> None:
    choices = Mitigation(assess.judge(found)).choices()
    assert choices[0].measure.name == measure
    assert choices[-1].fits == "nothing calls for it"


def test_damage_that_grows_calls_for_maintenance_too() -> None:
    found = Mitigation(assess.judge(seen(rows=Rows(4, 0, {})))).findings()
    assert [one["measure"] for one in found["measures"]] == ["repair the cause", "maintenance mode"]
