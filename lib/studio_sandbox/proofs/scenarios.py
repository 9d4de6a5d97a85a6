"""Plans of each kind that are killed, and what the servers themselves say of each mutation.

Evidence never comes from the runbook: PostgreSQL's trigger notes each row with its transaction,
Redis's transaction notes the intent's id, the control plane logs each call with the run in its
user agent, and of keys there are those that are gone and the server's count of its UNLINKs.
"""

from __future__ import annotations

import json
import random
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import sqlalchemy

from runbook import settings
from runbook.change.kinds import register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Origin, Plan
from runbook.clients import Clients
from runbook.record.journal import Intent
from runbook.record.runs import Run
from runbook.settings import Environment
from runbook.studio import alb, autoscaling, cloudwatch, ecs, redis_cache, secretsmanager
from runbook.studio import rows as sql_rows
from runbook.studio.rows import Table, plan_update

_TABLE = Table("proof_rows", key="id", stamp="updated_at", columns=("status", "updated_at"))
_VALUE = "proof-value"
_MAKE = """
    CREATE TABLE proof_rows (id uuid PRIMARY KEY, status text, updated_at timestamp);
    CREATE TABLE proof_writes (id uuid, status text, xid text);
    CREATE FUNCTION proof_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO proof_writes VALUES (NEW.id, NEW.status, pg_current_xact_id()::text);
        RETURN NEW; END $$;
    CREATE TRIGGER proof_note AFTER UPDATE ON proof_rows
        FOR EACH ROW EXECUTE FUNCTION proof_note();
"""
_DROP = """
    DROP TABLE IF EXISTS proof_rows, proof_writes;
    DROP FUNCTION IF EXISTS proof_note;
"""
_FILL = """
    TRUNCATE proof_rows, proof_writes;
    INSERT INTO proof_rows
    SELECT gen_random_uuid(), 'processing', timestamp '2026-01-01' FROM generate_series(1, :rows);
"""

_PREFIX = "proof-"
_NAMES = [f"{_PREFIX}{number}" for number in range(4)]
_CLUSTER = "ai-studio-cluster"
_SERVICES = [f"ai-studio-{name}" for name in ("backend", "frontend", "gateway", "worker")]
_LISTENER, _PRIORITIES = "ai-studio-alb/443", range(9001, 9005)
_ALARM: Json = {
    "Namespace": "AWS/RDS",
    "MetricName": "CPUUtilization",
    "Statistic": "Average",
    "Dimensions": [{"Name": "DBClusterIdentifier", "Value": "ai-studio-db"}],
    "Period": 300,
    "EvaluationPeriods": 1,
    "ComparisonOperator": "GreaterThanThreshold",
}


class Scenario(ABC):
    """A plan of one kind, and what the server itself says of every mutation made by it."""

    name: str
    open_s: float  # about how long an intent is open

    def __init__(self, clients: Clients, rng: random.Random) -> None:
        self.clients = clients
        self.rng = rng

    def warm(self, clients: Clients) -> None:
        """Make what a worker will use, before its time begins."""
        _ = clients.identity, clients.database, clients.database_writer, clients.redis

    def tidy(self) -> None:  # noqa: B027  most leave nothing but keys, removed by their prefix
        """Put the world back."""

    @abstractmethod
    def plan(self) -> Plan:
        """Prepare the world and plan to change it."""

    @abstractmethod
    def mutations(self) -> set[str]:
        """What the server noted: the marks of all mutations that it made."""

    @abstractmethod
    def marks(self, run: Run, intent: Intent) -> set[str]:
        """The marks under which an intent's mutation is noted: all of them, or none."""

    @abstractmethod
    def doubled(self) -> int:
        """Things that were changed more than once."""

    @abstractmethod
    def unfinished(self) -> int:
        """Things that are not as planned."""


class RowsScenario(Scenario):
    """`sql-rows`: three chunks of a table whose trigger notes each row with its transaction."""

    name = sql_rows.KIND
    open_s = 0.06

    def plan(self) -> Plan:
        count = self.rng.randint(2001, 3000)
        with self.clients.database_writer.begin() as connection:
            for statement in filter(str.strip, _FILL.split(";")):
                connection.execute(sqlalchemy.text(statement), {"rows": count})
            ids = connection.execute(sqlalchemy.text("SELECT id::text FROM proof_rows")).scalars()
            before = {"status": "processing", "updated_at": "2026-01-01T00:00:00"}
            after = {"status": "pending", "updated_at": KNOWN_AFTER_APPLY}
            planned = [{"key": key, "before": before, "after": after} for key in ids]
        summary = ({"status": side["status"], "rows": count} for side in (before, after))
        first, second = summary
        return _plan(plan_update(_TABLE, planned, before=first, after=second))

    def mutations(self) -> set[str]:
        return {str(xid) for (xid,) in self._ask("SELECT DISTINCT xid FROM proof_writes")}

    def marks(self, run: Run, intent: Intent) -> set[str]:
        return {str(intent.detail["xid"])}

    def doubled(self) -> int:
        return len(self._ask("SELECT id FROM proof_writes GROUP BY id HAVING count(*) > 1"))

    def unfinished(self) -> int:
        return len(self._ask("SELECT id FROM proof_rows WHERE status <> 'pending'"))

    def _ask(self, query: str) -> list[Any]:
        with self.clients.database.connect() as connection:
            return list(connection.execute(sqlalchemy.text(query)).all())


class ValuesScenario(Scenario):
    """`proof-value`: eight keys, a change each; a list beside each notes the intents' ids."""

    name = _VALUE
    open_s = 0.002

    def plan(self) -> Plan:
        prefix = f"proof:{self.rng.getrandbits(64):016x}"
        self.targets = [f"{prefix}:{index}" for index in range(8)]
        for target in self.targets:
            self.clients.redis.set(target, json.dumps({"n": 1}))
        return _plan(*(Change(_VALUE, each, {"n": 1}, {"n": 2}) for each in self.targets))

    def mutations(self) -> set[str]:
        return {mark for target in self.targets for mark in self._writes(target)}

    def marks(self, run: Run, intent: Intent) -> set[str]:
        return {intent.id}

    def doubled(self) -> int:
        return sum(len(self._writes(target)) > 1 for target in self.targets)

    def unfinished(self) -> int:
        return sum(_read(self.clients, target) != {"n": 2} for target in self.targets)

    def _writes(self, target: str) -> list[str]:
        found: Any = self.clients.redis.lrange(f"{target}:writes", 0, -1)
        return list(found)


def _read(clients: Clients, target: str) -> Json:
    stored: Any = clients.redis.get(target)
    return json.loads(stored) if stored is not None else None


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    pipeline = clients.redis.pipeline(transaction=True)
    pipeline.set(change.target, json.dumps(change.after))
    pipeline.rpush(f"{change.target}:writes", intent.id)
    pipeline.execute()


register(_VALUE, read=_read, apply=_apply)


class KeysScenario(Scenario):
    """`redis-keys`: three batches of keys. Each that is gone took one UNLINK of the server's."""

    name = redis_cache.KIND
    open_s = 0.008

    def plan(self) -> Plan:
        prefix = f"proof:{self.rng.getrandbits(64):016x}"
        self._keys = [f"{prefix}:{index:03}" for index in range(self.rng.randint(401, 600))]
        self.clients.redis.mset(dict.fromkeys(self._keys, "1"))
        self._before = self._unlinks()
        found = redis_cache.read_keys(self.clients.redis, f"{prefix}:*")
        return _plan(*redis_cache.plan_clear(found).changes)

    def mutations(self) -> set[str]:
        found: Any = self.clients.redis.mget(self._keys)
        return {key for key, value in zip(self._keys, found, strict=True) if value is None}

    def marks(self, run: Run, intent: Intent) -> set[str]:
        return {key for key, _, _ in intent.detail["keys"]}

    def doubled(self) -> int:
        return abs(self._unlinks() - self._before - len(self.mutations()))

    def unfinished(self) -> int:
        return len(self._keys) - len(self.mutations())

    def _unlinks(self) -> int:
        statistics: Any = self.clients.redis.info("commandstats")
        return int(statistics.get("cmdstat_unlink", {}).get("calls", 0))


class CallsScenario(Scenario):
    """Four things of one kind in AWS, a change each; the control plane logs every call."""

    open_s = 0.02
    service: str  # boto3's name for it
    wanted: dict[str, Json]  # of each target, as `world` has it

    def warm(self, clients: Clients) -> None:
        clients.aws(self.service)
        clients.aws(self.service, once=True)

    @abstractmethod
    def changes(self) -> Sequence[Change]:
        """Prepare the world, say what is `wanted`, and plan a change for each target."""

    @abstractmethod
    def target(self, parameters: Mapping[str, Any]) -> str:
        """The target of a call that changed something, by its parameters."""

    @abstractmethod
    def world(self) -> dict[str, Json]:
        """What each target is now, read past its kind."""

    @property
    def aws(self) -> Any:
        return self.clients.aws(self.service)

    def plan(self) -> Plan:
        changes = self.changes()
        self._since = self._log(10**12)["last"]
        return _plan(*changes)

    def mutations(self) -> set[str]:
        return set(self._made())

    def marks(self, run: Run, intent: Intent) -> set[str]:
        return {f"runbook/{run.id} {intent.target}"}

    def doubled(self) -> int:
        """Targets of more than one call, whichever run made them."""
        targets = Counter(mark.partition(" ")[2] for mark in self._made())
        return sum(count > 1 for count in targets.values())

    def unfinished(self) -> int:
        world = self.world()
        return sum(world.get(target) != wanted for target, wanted in self.wanted.items())

    def _made(self) -> list[str]:
        """Run and target of each call that changed something."""
        return [
            f"{call['user_agent'].rsplit(' ', 1)[-1]} {self.target(call['parameters'])}"
            for call in self._log(self._since)["calls"]
            if not call["read_only"] and call["status"] < 400
        ]

    def _log(self, since: int) -> Any:
        url = self.aws.meta.endpoint_url
        with urllib.request.urlopen(f"{url}/sandbox/calls?since={since}") as answer:  # noqa: S310
            return json.load(answer)


class ServicesScenario(CallsScenario):
    """`ecs-service`: another number of tasks for each of the four services."""

    name = ecs.SERVICE
    service = "ecs"

    def __init__(self, clients: Clients, rng: random.Random) -> None:
        super().__init__(clients, rng)
        self._seeded = self.world()

    def changes(self) -> Sequence[Change]:
        counts = {target: count % 4 + 1 for target, count in self.world().items()}
        self.wanted = counts
        return [
            change
            for name in _SERVICES
            for found in [ecs.read_service(self.aws, cluster=_CLUSTER, service=name)]
            for change in ecs.plan_scale(found, desired_count=counts[found.target]).changes
        ]

    def target(self, parameters: Mapping[str, Any]) -> str:
        return f"ecs:{parameters['cluster']}/{parameters['service']}"

    def world(self) -> dict[str, Json]:
        found = self.aws.describe_services(cluster=_CLUSTER, services=_SERVICES)["services"]
        return {f"ecs:{_CLUSTER}/{one['serviceName']}": one["desiredCount"] for one in found}

    def tidy(self) -> None:
        for target, count in self._seeded.items():
            name = target.rpartition("/")[2]
            self.aws.update_service(cluster=_CLUSTER, service=name, desiredCount=count)


class RangesScenario(CallsScenario):
    """`scaling-target`: another upper end for the range of each service."""

    name = autoscaling.TARGET
    service = "application-autoscaling"

    def __init__(self, clients: Clients, rng: random.Random) -> None:
        super().__init__(clients, rng)
        self._seeded = self.world()

    def changes(self) -> Sequence[Change]:
        changes: list[Change] = []
        self.wanted = {}
        for name in _SERVICES:
            found = autoscaling.read_scaling(self.aws, cluster=_CLUSTER, service=name)
            seeded = self._seeded[found.target]
            most = seeded + 2 if found.max_capacity == seeded else seeded
            self.wanted[found.target] = most
            planned = autoscaling.plan_range(
                found, min_capacity=found.min_capacity, max_capacity=most
            )
            changes += planned.changes
        return changes

    def target(self, parameters: Mapping[str, Any]) -> str:
        return f"autoscaling:{parameters['ResourceId']}"

    def world(self) -> dict[str, Json]:
        found = self.aws.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
        return {f"autoscaling:{one['ResourceId']}": one["MaxCapacity"] for one in found}

    def tidy(self) -> None:
        for target, most in self._seeded.items():
            self.aws.register_scalable_target(
                ServiceNamespace="ecs",
                ScalableDimension="ecs:service:DesiredCount",
                ResourceId=target.partition(":")[2],
                MaxCapacity=most,
            )


class SecretsScenario(CallsScenario):
    """`secret-stage`: the other version of each of four secrets of its own becomes current."""

    name = secretsmanager.KIND
    service = "secretsmanager"

    def __init__(self, clients: Clients, rng: random.Random) -> None:
        super().__init__(clients, rng)
        for name in _NAMES:
            self.aws.create_secret(Name=name, SecretString="one")
            self.aws.put_secret_value(SecretId=name, SecretString="another")

    def changes(self) -> Sequence[Change]:
        changes: list[Change] = []
        self.wanted = {}
        for name in _NAMES:
            found = secretsmanager.read_versions(self.aws, name)
            current, previous = found.stages["AWSCURRENT"], str(found.stages["AWSPREVIOUS"])
            self.wanted[found.target] = {previous: ["AWSCURRENT"], current: ["AWSPREVIOUS"]}
            changes += secretsmanager.plan_restore(found, to=previous).changes
        return changes

    def target(self, parameters: Mapping[str, Any]) -> str:
        return f"secret:{parameters['SecretId']}"

    def world(self) -> dict[str, Json]:
        return {
            f"secret:{name}": self.aws.describe_secret(SecretId=name)["VersionIdsToStages"]
            for name in _NAMES
        }

    def tidy(self) -> None:
        for name in _NAMES:
            self.aws.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


class AlarmsScenario(CallsScenario):
    """`cloudwatch-alarm`: four alarms, of which two are missing and two have drifted."""

    name = cloudwatch.KIND
    service = "cloudwatch"

    def changes(self) -> Sequence[Change]:
        self.tidy()
        for name in _NAMES[:2]:
            self.aws.put_metric_alarm(AlarmName=name, **{**_ALARM, "Threshold": 70.0})
        self.wanted = {f"alarm:{name}": 80.0 for name in _NAMES}
        wanted = [cloudwatch.wanted_alarm(name, {**_ALARM, "Threshold": 80.0}) for name in _NAMES]
        there = cloudwatch.read_alarms(self.aws, prefix=_PREFIX)
        return cloudwatch.plan_alarms(there, wanted).changes

    def target(self, parameters: Mapping[str, Any]) -> str:
        return f"alarm:{parameters['AlarmName']}"

    def world(self) -> dict[str, Json]:
        found = self.aws.describe_alarms(AlarmNamePrefix=_PREFIX)["MetricAlarms"]
        return {f"alarm:{one['AlarmName']}": one["Threshold"] for one in found}

    def tidy(self) -> None:
        self.aws.delete_alarms(AlarmNames=[name.partition(":")[2] for name in self.world()])


class RulesScenario(CallsScenario):
    """`alb-rule`: four rules, of which two are missing and two say something else."""

    name = alb.KIND
    service = "elbv2"

    def changes(self) -> Sequence[Change]:
        self.tidy()
        for priority in _PRIORITIES[:2]:
            content = _rule(priority, "for now").content()
            self.aws.create_rule(
                ListenerArn=self._listener(),
                Priority=priority,
                Conditions=content["conditions"],
                Actions=content["actions"],
            )
        rules = alb.read_rules(self.aws, _LISTENER)
        self._priorities = {rule.arn: rule.priority for rule in rules}
        self.wanted = {_rule(priority, "").target: "back soon" for priority in _PRIORITIES}
        return [
            change
            for priority in _PRIORITIES
            for change in alb.plan_put(
                alb.find_rule(rules, priority), _rule(priority, "back soon")
            ).changes
        ]

    def target(self, parameters: Mapping[str, Any]) -> str:
        if "RuleArn" in parameters:
            return _rule(self._priorities[parameters["RuleArn"]], "").target
        return _rule(int(parameters["Priority"]), "").target

    def world(self) -> dict[str, Json]:
        return {
            _rule(int(one["Priority"]), "").target: one["Actions"][0]["FixedResponseConfig"][
                "MessageBody"
            ]
            for one in self._mine()
        }

    def tidy(self) -> None:
        for one in self._mine():
            self.aws.delete_rule(RuleArn=one["RuleArn"])

    def _mine(self) -> list[Any]:
        rules = self.aws.describe_rules(ListenerArn=self._listener())["Rules"]
        return [one for one in rules if one["Priority"] in map(str, _PRIORITIES)]

    def _listener(self) -> str:
        balancer, _, port = _LISTENER.partition("/")
        (found,) = self.aws.describe_load_balancers(Names=[balancer])["LoadBalancers"]
        arn = found["LoadBalancerArn"]
        listeners = self.aws.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        return next(str(one["ListenerArn"]) for one in listeners if str(one["Port"]) == port)


def _rule(priority: int, text: str) -> alb.Rule:
    page = {"StatusCode": "503", "ContentType": "text/plain", "MessageBody": text}
    condition = {
        "Field": "path-pattern",
        "PathPatternConfig": {"Values": [f"/{_PREFIX}{priority}"]},
    }
    action = {"Type": "fixed-response", "FixedResponseConfig": page}
    return alb.Rule(_LISTENER, priority, (condition,), (action,))


SCENARIOS: tuple[type[Scenario], ...] = (
    RowsScenario,
    ValuesScenario,
    KeysScenario,
    ServicesScenario,
    SecretsScenario,
    RangesScenario,
    AlarmsScenario,
    RulesScenario,
)


@contextmanager
def prepared(environment: Environment, rng: random.Random) -> Iterator[list[Scenario]]:
    """All scenarios in the environment's world, which is put back afterwards."""
    clients = Clients(environment)

    def run(statements: str) -> None:
        with clients.database_writer.begin() as connection:
            connection.exec_driver_sql(statements)

    def tidy() -> None:
        run(_DROP)
        for key in list(clients.redis.scan_iter("proof:*")):
            clients.redis.delete(key)

    with ExitStack() as stack:
        stack.callback(clients.close)
        stack.callback(tidy)
        run(_DROP + _MAKE)
        scenarios = []
        for make in SCENARIOS:
            scenario = make(clients, rng)
            stack.callback(scenario.tidy)
            scenarios.append(scenario)
        yield scenarios


def _plan(*changes: Change) -> Plan:
    """The same changes are planned again and again: each plan is to be one of its own."""
    origin = Origin(
        "sandbox",
        settings.load("sandbox").account,
        "prove-kills",
        "0" * 64,
        {"number": str(uuid.uuid4())},
    )
    return Plan("Proof", "low", changes, way_back="It is removed with the proof.", origin=origin)
