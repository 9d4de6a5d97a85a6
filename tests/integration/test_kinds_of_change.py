"""Every kind of change keeps one contract, through the door and on the sandbox's real servers.

Services are in memory only where an answer has to be lost after the change was made.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from tests.services_in_memory import ServicesInMemory

from runbook import settings
from runbook.change.door import Door, Outcome
from runbook.change.kinds import kind_of
from runbook.change.plan import Origin, Plan
from runbook.change.saved import SavedPlan, rows_of
from runbook.change.undo import plan_undo
from runbook.clients import Clients
from runbook.errors import PlanStale
from runbook.record.journal import Intent, Journal
from runbook.record.runs import Run
from runbook.studio import (
    alb,
    autoscaling,
    cloudwatch,
    ecs,
    jobs,
    redis_cache,
    s3_bucket,
    secretsmanager,
)
from runbook.wait import SYSTEM_CLOCK
from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

CLUSTER, SERVICE = "ai-studio-cluster", "ai-studio-gateway"
SECRET, LISTENER, PRIORITY = "OPENAI_API_KEY", "ai-studio-alb/443", 7
PATTERN, ALARM, TEMPORARY = "ratelimit:contract:*", "contract-alarm", "contract-temporary"


class Studio(Clients):
    """Clients whose ECS a test may put in memory, to lose an answer of it."""

    services: ServicesInMemory | None = None

    def aws(self, service: str, *, region: str = "", once: bool = False) -> Any:
        if service == "ecs" and self.services:
            return self.services
        return super().aws(service, region=region, once=once)

    def update_service(self, **wanted: Any) -> None:
        self.aws("ecs").update_service(cluster=CLUSTER, service=SERVICE, **wanted)


@dataclass(frozen=True)
class Kind:
    """One kind under test: how it is planned, and how the world is read and moved behind it.

    `world` reads past the kind itself. `moved` is a word of what PlanStale has to name.
    """

    prepare: Callable[[Studio], None]
    plan: Callable[[Studio], Plan]
    world: Callable[[Studio], Any]
    move: Callable[[Studio], None]
    moved: str
    undoes: bool = True


def _service(studio: Studio) -> ecs.Service:
    return ecs.read_service(studio.aws("ecs"), cluster=CLUSTER, service=SERVICE)


def _service_world(studio: Studio) -> Any:
    answer = studio.aws("ecs").describe_services(cluster=CLUSTER, services=[SERVICE])
    found = answer["services"][0]
    return found["taskDefinition"], found["desiredCount"]


def _count(service: ecs.Service, step: int) -> int:
    """Another number of tasks, 1 to 4; four steps on it is the same again."""
    return (service.desired_count - 1 + step) % 4 + 1


def _revision(service: ecs.Service, step: int) -> str:
    """Another one of four revisions that the sandbox has."""
    family, _, number = service.task_definition.rpartition(":")
    return f"{family}:{43 + (int(number) - 43 + step) % 4}"


def _deployment(studio: Studio) -> Any:
    found = _service(studio).deployment
    return found.id if found else ""


def _versions(studio: Studio) -> secretsmanager.Versions:
    return secretsmanager.read_versions(studio.aws("secretsmanager"), SECRET)


def _plan_secret(studio: Studio) -> Plan:
    versions = _versions(studio)
    return secretsmanager.plan_restore(versions, to=str(versions.stages["AWSPREVIOUS"]))


def _stages(studio: Studio) -> Any:
    answer = studio.aws("secretsmanager").describe_secret(SecretId=SECRET)
    return {key: sorted(stages) for key, stages in answer["VersionIdsToStages"].items()}


def _new_value(studio: Studio) -> None:
    studio.aws("secretsmanager").put_secret_value(SecretId=SECRET, SecretString="another-value")


def _put_keys(studio: Studio, value: int = 1) -> None:
    for n in range(5):
        studio.redis.set(f"ratelimit:contract:{n}", value + n, ex=3600 if n % 2 else None)


def _keys(studio: Studio) -> Any:
    names = sorted(studio.redis.scan_iter(match=PATTERN))
    return [(name, studio.redis.get(name), studio.redis.pexpiretime(name)) for name in names]


def _rule(studio: Studio, seconds: str) -> alb.Rule:
    page = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": seconds}
    condition = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/b/*", "/a"]}}
    action = {"Type": "fixed-response", "FixedResponseConfig": page}
    return alb.Rule(LISTENER, PRIORITY, (condition,), (action,))


def _rules(studio: Studio) -> tuple[alb.Rule, ...]:
    return alb.read_rules(studio.aws("elbv2"), LISTENER)


def _rules_world(studio: Studio) -> Any:
    elb = studio.aws("elbv2")
    balancer = elb.describe_load_balancers(Names=["ai-studio-alb"])["LoadBalancers"][0]
    listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    arn = next(one["ListenerArn"] for one in listeners if one["Port"] == 443)
    found = elb.describe_rules(ListenerArn=arn)["Rules"]
    return sorted(
        (one["Priority"], json.dumps([one["Conditions"], one["Actions"]])) for one in found
    )


def _drop_rule(studio: Studio) -> None:
    found = alb.find_rule(_rules(studio), PRIORITY)
    if found:
        studio.aws("elbv2").delete_rule(RuleArn=found.arn)


def _make_rule(studio: Studio, seconds: str) -> None:
    _drop_rule(studio)
    arn = alb._arn(studio.aws("elbv2"), LISTENER)
    content = _rule(studio, seconds).content()
    studio.aws("elbv2").create_rule(
        ListenerArn=arn,
        Priority=PRIORITY,
        Conditions=content["conditions"],
        Actions=content["actions"],
    )


def _plan_rule(studio: Studio) -> Plan:
    wanted = _rule(studio, "back soon")
    return alb.plan_put(alb.find_rule(_rules(studio), PRIORITY), wanted)


def _plan_no_rule(studio: Studio) -> Plan:
    found = alb.find_rule(_rules(studio), PRIORITY)
    assert found
    return alb.plan_delete(found)


def _alarm(name: str, threshold: float) -> cloudwatch.Alarm:
    settings = {
        "Namespace": "AWS/RDS", "MetricName": "CPUUtilization", "Statistic": "Average",
        "Dimensions": [{"Name": "DBClusterIdentifier", "Value": "ai-studio-db"}], "Period": 300,
        "EvaluationPeriods": 1, "Threshold": threshold,
        "ComparisonOperator": "GreaterThanThreshold",
    }  # fmt: skip
    return cloudwatch.wanted_alarm(name, settings)


def _put_alarm(studio: Studio, name: str, threshold: float) -> None:
    settings = {k: v for k, v in _alarm(name, threshold).settings.items() if v not in (None, [])}
    studio.aws("cloudwatch").put_metric_alarm(AlarmName=name, **settings)


def _two_alarms(studio: Studio) -> None:
    """One that drifted, and one that is missing."""
    _put_alarm(studio, ALARM, 70)
    studio.aws("cloudwatch").delete_alarms(AlarmNames=[TEMPORARY])


def _plan_alarms(studio: Studio) -> Plan:
    wanted = [_alarm(ALARM, 80), _alarm(TEMPORARY, 90)]
    current = cloudwatch.read_alarms(studio.aws("cloudwatch"), prefix="contract-")
    return cloudwatch.plan_alarms(current, wanted)


def _plan_no_alarm(studio: Studio) -> Plan:
    (found,) = cloudwatch.read_alarms(studio.aws("cloudwatch"), names=[ALARM])
    return cloudwatch.plan_delete(found)


def _alarms_world(studio: Studio) -> Any:
    answer = studio.aws("cloudwatch").describe_alarms(AlarmNamePrefix="contract-")
    keys = ("AlarmName", "Threshold", "MetricName", "Dimensions", "Period", "TreatMissingData")
    return [[one.get(key) for key in keys] for one in answer["MetricAlarms"]]


def _scaling(studio: Studio) -> autoscaling.Scaling:
    client = studio.aws("application-autoscaling")
    return autoscaling.read_scaling(client, cluster=CLUSTER, service=SERVICE)


def _range(studio: Studio) -> Any:
    found = _scaling(studio)
    return found.min_capacity, found.max_capacity


def _plan_range(studio: Studio) -> Plan:
    minimum, maximum = _range(studio)
    return autoscaling.plan_range(_scaling(studio), min_capacity=minimum, max_capacity=maximum + 2)


def _move_range(studio: Studio) -> None:
    studio.aws("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ScalableDimension="ecs:service:DesiredCount",
        ResourceId=f"service/{CLUSTER}/{SERVICE}",
        MaxCapacity=_range(studio)[1] + 5,
    )


def _plan_target_value(studio: Studio) -> Plan:
    (policy,) = _scaling(studio).policies
    return autoscaling.plan_target_value(
        _scaling(studio), policy=policy.name, target_value=policy.target_value - 5
    )


def _move_target_value(studio: Studio) -> None:
    (policy,) = _scaling(studio).policies
    studio.aws("application-autoscaling").put_scaling_policy(
        PolicyName=policy.name,
        PolicyType="TargetTrackingScaling",
        ServiceNamespace="ecs",
        ScalableDimension="ecs:service:DesiredCount",
        ResourceId=f"service/{CLUSTER}/{SERVICE}",
        TargetTrackingScalingPolicyConfiguration={
            **policy.configuration,
            "TargetValue": policy.target_value + 11,
        },
    )


def _sql(studio: Studio, query: str) -> Any:
    from sqlalchemy import text

    with studio.database_writer.begin() as connection:
        result = connection.execute(text(query))
        return [tuple(row) for row in result] if result.returns_rows else None


_STUCK = """
    UPDATE jobs SET status = 'processing',
                    updated_at = (now() AT TIME ZONE 'UTC') - interval '30 hours'
    WHERE id IN (SELECT id FROM jobs WHERE status <> 'pending' ORDER BY id LIMIT 4)
"""


def _plan_jobs(studio: Studio) -> Plan:
    stuck = jobs.find_stuck(studio.database, older_than_minutes=24 * 60)
    return jobs.plan_requeue(stuck, outcome="failed", at_most=4)


def _jobs_world(studio: Studio) -> Any:
    return _sql(studio, "SELECT id::text, status, updated_at FROM jobs ORDER BY id")


def _nothing(studio: Studio) -> None:
    """The world is fine as it is."""


KINDS = {
    "scale a service": Kind(
        _nothing,
        lambda studio: ecs.plan_scale(
            _service(studio), desired_count=_count(_service(studio), 1)
        ),
        _service_world,
        lambda studio: studio.update_service(desiredCount=_count(_service(studio), 2)),
        "desired_count",
    ),
    "deploy a revision": Kind(
        _nothing,
        lambda studio: ecs.plan_revision(
            _service(studio), task_definition=_revision(_service(studio), 1)
        ),
        _service_world,
        lambda studio: studio.update_service(taskDefinition=_revision(_service(studio), 2)),
        "task_definition",
    ),
    "restart a service": Kind(
        _nothing,
        lambda studio: ecs.plan_restart(_service(studio)),
        _deployment,
        lambda studio: studio.update_service(forceNewDeployment=True),
        "deployment",
        undoes=False,
    ),
    "restore a secret": Kind(_nothing, _plan_secret, _stages, _new_value, "AWSCURRENT"),
    "clear keys": Kind(
        _put_keys,
        lambda studio: redis_cache.plan_clear(redis_cache.read_keys(studio.redis, PATTERN)),
        _keys,
        lambda studio: _put_keys(studio, 100),
        "ratelimit:contract:0",
    ),
    "make a rule": Kind(
        _drop_rule, _plan_rule, _rules_world, lambda s: _make_rule(s, "another"), "another"
    ),
    "change a rule": Kind(
        lambda s: _make_rule(s, "first"),
        _plan_rule,
        _rules_world,
        lambda s: _make_rule(s, "another"),
        "another",
    ),
    "remove a rule": Kind(
        lambda s: _make_rule(s, "first"),
        _plan_no_rule,
        _rules_world,
        lambda s: _make_rule(s, "another"),
        "another",
    ),
    "mend alarms": Kind(
        _two_alarms, _plan_alarms, _alarms_world, lambda s: _put_alarm(s, ALARM, 55), "Threshold"
    ),
    "remove an alarm": Kind(
        _two_alarms, _plan_no_alarm, _alarms_world, lambda s: _put_alarm(s, ALARM, 55), "Threshold"
    ),
    "move a range": Kind(_nothing, _plan_range, _range, _move_range, "max_capacity"),
    "move a target value": Kind(
        _nothing,
        _plan_target_value,
        lambda studio: _scaling(studio).policies[0].target_value,
        _move_target_value,
        "expected",
    ),
    "set rows": Kind(
        lambda studio: _sql(studio, _STUCK),
        _plan_jobs,
        _jobs_world,
        lambda studio: _sql(studio, _STUCK),
        "postgresql:jobs",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    """The session's sandbox, put back once all of these tests are over."""
    one = Studio(settings.load("sandbox"), run_id="contract")
    yield one
    one.close()
    sandbox.reset()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, studio: Studio) -> Kind:
    found = KINDS[request.param]
    found.prepare(studio)
    return found


class Session:
    """One run at the door, as a section has it."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.run = Run.begin(
            studio.environment, section="contract", notebook_sha256="0", parameters={},
            mode="headless",
        )  # fmt: skip
        self.door = Door(studio, self.run)

    def save(self, plan: Plan) -> SavedPlan:
        where = self.studio.environment
        origin = Origin(where.name, where.account, "contract", "0", {"run": self.run.id})
        saved = self.door.save(replace(plan, origin=origin))
        approver = Clients(where, profile="approver").identity
        saved.approve(approver, now=SYSTEM_CLOCK.now(), holds_for=timedelta(minutes=5))
        return saved

    def apply(self, saved: SavedPlan) -> Outcome:
        outcome = self.door.apply(saved)
        self.run.update(verdict="succeeded")
        return outcome


def undo(studio: Studio, applied: Session) -> Outcome:
    session = Session(studio)
    return session.apply(session.save(plan_undo(applied.run)))


class Mutations:
    """How often anything was changed: by AWS's call log, Redis's statistics, each job's version."""

    def __init__(self, studio: Studio, box: Box) -> None:
        self._studio, self._url = studio, box.aws_endpoint_url
        self._writes = set(studio.redis.acl_cat("write"))
        self._last = self._calls(0)["last"]
        self._start = self._counts()

    def made(self) -> dict[str, Any]:
        """What was changed since, where anything was."""
        now = self._counts()
        return {key: now[key] for key in now if now[key] != self._start[key]}

    def _counts(self) -> dict[str, Any]:
        rows = _sql(
            self._studio,
            "SELECT md5(string_agg(concat(id, xmin, ctid, status), '' ORDER BY id)) FROM jobs",
        )
        statistics = self._studio.redis.info("commandstats")
        redis = {
            command: counted["calls"]
            for command, counted in statistics.items()
            if command.removeprefix("cmdstat_").split("|")[0] in self._writes
        }
        return {
            "aws": [c["action"] for c in self._calls(self._last)["calls"] if not c["read_only"]],
            "redis": redis,
            "sql": rows,
        }

    def _calls(self, since: int) -> Any:
        with urllib.request.urlopen(f"{self._url}/sandbox/calls?since={since}") as answer:  # noqa: S310
            return json.load(answer)


@pytest.fixture
def mutations(studio: Studio, box: Box, kind: Kind) -> Mutations:
    """Counted from here on: the kind is prepared already."""
    return Mutations(studio, box)


def _as_planned(studio: Studio, saved: SavedPlan) -> bool:
    """Whether each change, asked by itself, says that it is in place."""
    return all(
        kind_of(change).judge(studio, change, rows_of(saved, change)).state == "holds"
        for change in saved.plan.changes
        if change.kind != ecs.RESTART
    )


def test_reading_and_planning_change_nothing(
    studio: Studio, kind: Kind, mutations: Mutations
) -> None:
    before = kind.world(studio)
    saved = Session(studio).save(kind.plan(studio))
    assert saved.plan.changes
    assert kind.world(studio) == before
    assert mutations.made() == {}


def test_what_is_applied_is_as_planned_and_on_record(studio: Studio, kind: Kind) -> None:
    before, session = kind.world(studio), Session(studio)
    saved = session.save(kind.plan(studio))
    outcome = session.apply(saved)
    entries = [entry["entry"] for entry in session.run.journal.entries()]
    steps = [entry for entry in entries if entry in ("intent", "result")]
    assert (outcome.state, outcome.changes_applied) == ("applied", len(saved.plan.changes))
    assert kind.world(studio) != before
    assert saved.plan.changes[0].rows or _as_planned(studio, saved)
    assert steps == ["intent", "result"] * (len(steps) // 2)
    assert len(steps) >= 2 * len(saved.plan.changes)
    assert entries[-1] == "applied"


def test_nothing_is_applied_twice(studio: Studio, box: Box, kind: Kind) -> None:
    session = Session(studio)
    saved = session.save(kind.plan(studio))
    session.apply(saved)
    after, mutations = kind.world(studio), Mutations(studio, box)
    try:
        again = Session(studio).apply(saved).state
    except PlanStale:
        again = "no_change"
    assert again == "no_change"
    assert kind.world(studio) == after
    assert mutations.made() == {}


def test_a_world_that_moved_is_named_and_left_alone(studio: Studio, box: Box, kind: Kind) -> None:
    session = Session(studio)
    saved = session.save(kind.plan(studio))
    kind.move(studio)
    moved, mutations = kind.world(studio), Mutations(studio, box)
    with pytest.raises(PlanStale, match=kind.moved):
        session.apply(saved)
    assert kind.world(studio) == moved
    assert mutations.made() == {}


def test_undo_puts_the_world_back(studio: Studio, kind: Kind) -> None:
    before, session = kind.world(studio), Session(studio)
    session.apply(session.save(kind.plan(studio)))
    if not kind.undoes:
        assert plan_undo(session.run).changes == ()
        return
    assert undo(studio, session).state == "applied"
    assert kind.world(studio) == before


def test_undo_leaves_alone_what_has_moved_on(studio: Studio, box: Box, kind: Kind) -> None:
    session = Session(studio)
    session.apply(session.save(kind.plan(studio)))
    kind.move(studio)
    moved, mutations = kind.world(studio), Mutations(studio, box)
    if kind.undoes:
        with pytest.raises(PlanStale):
            undo(studio, session)
    assert kind.world(studio) == moved
    assert mutations.made() == {}


@pytest.mark.parametrize(("changed", "outcome"), [(True, "done"), (False, "failed")])
def test_a_lost_answer_is_settled_by_reading_and_nothing_is_sent_again(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, changed: bool, outcome: str
) -> None:
    services = ServicesInMemory(SERVICE)
    monkeypatch.setattr(studio, "services", services)
    session = Session(studio)
    saved = session.save(ecs.plan_restart(_service(studio)))
    lost = ReadTimeoutError(endpoint_url="ecs")

    def fails(**wanted: Any) -> None:
        services.calls += 1
        if changed:
            services.deploy()
        raise lost

    monkeypatch.setattr(services, "update_service", fails)
    with pytest.raises(ReadTimeoutError):
        session.door.apply(saved)
    (result,) = (one for one in session.run.journal.entries() if one["entry"] == "result")
    assert (result["outcome"], services.calls) == (outcome, 1)
    if changed:  # taken up again it is brought to its end, and nothing is restarted twice
        again = Session(studio).apply(saved)
        assert (again.state, again.changes_applied, services.calls) == ("applied", 0, 1)


def test_a_batch_of_keys_of_which_a_part_is_gone_cannot_be_told(studio: Studio) -> None:
    _put_keys(studio)
    found = redis_cache.read_keys(studio.redis, PATTERN)
    change = redis_cache.plan_clear(found).changes[0]
    detail = {"keys": [[key.name, [key.sha1, key.expires_at_ms], None] for key in found.keys]}
    intent = Intent("1", 0, change.kind, change.target, detail)
    settled = kind_of(change).settled
    assert settled(studio, change, intent) is False
    studio.redis.unlink(found.keys[0].name)
    assert settled(studio, change, intent) is None
    studio.redis.unlink(*(key.name for key in found.keys[1:]))
    assert settled(studio, change, intent) is True
    _put_keys(studio, 100)
    assert settled(studio, change, intent) is None


def test_a_key_that_ticks_after_planning_is_kept_and_undo_restores_the_others(
    studio: Studio,
) -> None:
    _put_keys(studio)
    before, session = {name: value for name, value, _ in _keys(studio)}, Session(studio)
    saved = session.save(redis_cache.plan_clear(redis_cache.read_keys(studio.redis, PATTERN)))
    studio.redis.incr("ratelimit:contract:2")
    found = session.apply(saved).actual[0].found
    assert (found["rows"], found["moved_on"]) == (4, 1)
    assert [name for name, _, _ in _keys(studio)] == ["ratelimit:contract:2"]
    studio.redis.set("ratelimit:contract:0", 77)  # there again: not overwritten
    undo(studio, session)
    after = {name: value for name, value, _ in _keys(studio)}
    ticked = str(int(before["ratelimit:contract:2"]) + 1)
    assert after == {**before, "ratelimit:contract:0": "77", "ratelimit:contract:2": ticked}


def test_keys_that_are_used_again_do_not_keep_a_plan_that_was_cut_off_from_its_end(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_keys(studio)
    session = Session(studio)
    saved = session.save(redis_cache.plan_clear(redis_cache.read_keys(studio.redis, PATTERN)))
    write = Journal.write

    def cut_off(self: Journal, entry: str, **fields: Any) -> None:
        if entry == "applied":
            raise KeyboardInterrupt
        write(self, entry, **fields)

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "write", cut_off)
        with pytest.raises(KeyboardInterrupt):
            session.door.apply(saved)
    assert _keys(studio) == []
    _put_keys(studio, 100)
    used = _keys(studio)

    outcome = Session(studio).door.apply(saved)

    assert (outcome.state, outcome.changes_applied) == ("applied", 0)
    assert _keys(studio) == used
    with pytest.raises(PlanStale, match="a plan is used once"):
        Session(studio).door.apply(saved)


def test_a_bucket_that_was_half_set_up_is_told_set_up_to_the_end_and_taken_back_whole(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting is a call of its own: who is cut off between two leaves one of them made."""
    s3, region = studio.aws("s3"), studio.region
    before = s3_bucket.read_bucket(s3, names.ASSETS_BUCKET)
    rules = {**before.lifecycle, "contract": {**s3_bucket.keep_versions(11), "ID": "contract"}}
    wanted = {"tags": {**before.tags, "contract": "yes"}, "lifecycle": rules}
    change = s3_bucket.change_of(before, wanted, region=region)
    assert change
    plan = Plan("Set up a bucket", "high", (change,), way_back="undo")
    session = Session(studio)
    saved, (made, unmade) = session.save(plan), list(change.after)

    def has(setting: str) -> Any:
        return getattr(s3_bucket.read_bucket(s3, names.ASSETS_BUCKET), setting)

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(s3_bucket._SETTERS, unmade, cut_off)
        with pytest.raises(KeyboardInterrupt):
            session.door.apply(saved)
    ((_, left),) = session.run.journal.done()
    assert left["found"][made] == wanted[made]
    assert session.run.journal.unresolved() == []
    assert (has(made), has(unmade)) == (wanted[made], change.before[unmade])

    again = Session(studio)
    outcome = again.apply(saved)
    assert (outcome.state, outcome.changes_applied) == ("applied", 1)
    assert (has(made), has(unmade)) == (wanted[made], wanted[unmade])

    undo(studio, again)
    assert s3_bucket.read_bucket(s3, names.ASSETS_BUCKET) == before


def test_a_bucket_of_which_a_setting_has_moved_is_left_alone(studio: Studio) -> None:
    s3 = studio.aws("s3")
    before = s3_bucket.read_bucket(s3, names.ASSETS_BUCKET)
    wanted = {"tags": {**before.tags, "contract": "yes"}}
    change = s3_bucket.change_of(before, wanted, region=studio.region)
    assert change
    session = Session(studio)
    saved = session.save(Plan("Set up a bucket", "high", (change,), way_back="undo"))
    s3_bucket._SETTERS["tags"](s3, names.ASSETS_BUCKET, {**before.tags, "theirs": "yes"})
    try:
        with pytest.raises(PlanStale, match="tags: is not as it was"):
            session.door.apply(saved)
        assert s3_bucket.read_bucket(s3, names.ASSETS_BUCKET).tags == {
            **before.tags,
            "theirs": "yes",
        }
    finally:
        s3_bucket._SETTERS["tags"](s3, names.ASSETS_BUCKET, before.tags)
