"""Ask plain moto and the sandbox the same calls, and compare with what AWS documents.

The calls are in `probe`. moto runs as its own documentation says, in this process, with the little
that a call needs of the Studio put there first.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from studio_sandbox import box
from studio_sandbox.control_plane import names
from studio_sandbox.proofs.proof import Asked

_WIDTH = 60  # of a cell
REFUSED = "refused: NotInTheSandbox"


class Aws:
    """Clients of one endpoint. `patience_s` is how long a call may wait for what is to come."""

    def __init__(self, keys: dict[str, str], *, patience_s: float) -> None:
        self._keys, self.patience_s = keys, patience_s
        self._clients: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        import boto3

        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                config=Config(
                    inject_host_prefix=False,
                    read_timeout=30,
                    retries={"total_max_attempts": 1},
                    s3={"addressing_style": "path"},
                ),
                **self._keys,
            )
        return self._clients[service]

    def until(self, look: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
        """What `look` sees once it fits, or when patience ends."""
        deadline = time.monotonic() + self.patience_s
        while not fits(seen := look()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return seen


@dataclass(frozen=True)
class Probe:
    """A call, what AWS documents that comes of it, and the function that asks.

    What comes of it is a value, or `error` and AWS's code. `refused` says that the sandbox does
    not imitate it.
    """

    service: str
    call: str
    documented: Any
    ask: Callable[[Aws], Any]
    refused: bool = False

    @property
    def promised(self) -> str:
        """What the sandbox answers."""
        return REFUSED if self.refused else told(self.documented)

    def outcome(self, aws: Aws) -> str:
        """What comes of it there."""
        try:
            return told(self.ask(aws))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "NotInTheSandbox":
                return REFUSED
            return f"HTTP {code}" if code.isdecimal() else f"error {code}"
        except (BotoCoreError, ResponseParserError, LookupError, ValueError) as error:
            return f"unreadable: {type(error).__name__}"


def unique(name: str) -> str:
    """A name of its own: a probe may be asked twice."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def told(value: Any) -> str:
    """A value as the table shows it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


@dataclass(frozen=True)
class Answered:
    """One probe with what came of it on both sides."""

    probe: Probe
    moto: str
    sandbox: str

    @property
    def holds(self) -> bool:
        return self.sandbox == self.probe.promised


@dataclass(frozen=True)
class ProbeProof:
    """All probes, answered."""

    answers: tuple[Answered, ...] = field(repr=False)

    @property
    def holds(self) -> bool:
        return all(one.holds for one in self.answers)

    def table(self) -> str:
        """Markdown, by service; what AWS documents is in the last column."""
        lines, service = [self._summary()], ""
        for one in self.answers:
            if one.probe.service != service:
                service = one.probe.service
                lines += [
                    f"\n**{service}**\n",
                    "| call | plain moto | sandbox | as AWS documents |",
                    "|---|---|---|---|",
                ]
            wrong = "" if one.holds else " **wrong**"
            documented = told(one.probe.documented)
            moto = "the same" if one.moto == documented else _cell(one.moto)
            sandbox = "the same" if one.sandbox == documented else _cell(one.sandbox)
            call = one.probe.call.replace("|", "\\|")
            row = (call, moto, sandbox + wrong, _cell(documented))
            lines.append(f"| {' | '.join(row)} |")
        return "\n".join(lines)

    def _summary(self) -> str:
        documented = [told(one.probe.documented) for one in self.answers]
        moto = sum(one.moto == told for one, told in zip(self.answers, documented, strict=True))
        same = sum(one.sandbox == told for one, told in zip(self.answers, documented, strict=True))
        refused = sum(one.sandbox == REFUSED for one in self.answers)
        return (
            f"{len(self.answers)} calls: plain moto answers {moto} of them as AWS documents, "
            f"the sandbox {same}, and refuses {refused} with the reason."
        )


def _cell(text: str) -> str:
    short = text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
    return short.replace("|", "\\|").replace("\n", " ")


def prove(_asked: Asked) -> ProbeProof:
    """The probes against plain moto, and against the sandbox that runs for this proof."""
    from studio_sandbox.proofs.probe import PROBES

    found = box.status()
    if found is None:
        raise RuntimeError("the proof's own sandbox does not run")
    given = box.environment_variables(found)
    sandbox = Aws(
        {
            "endpoint_url": given["AWS_ENDPOINT_URL"],
            "aws_access_key_id": given["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": given["AWS_SECRET_ACCESS_KEY"],
            "region_name": given["AWS_DEFAULT_REGION"],
        },
        patience_s=60,
    )
    with plain_moto() as moto:
        answers = [Answered(one, one.outcome(moto), one.outcome(sandbox)) for one in PROBES]
    return ProbeProof(tuple(answers))


@contextmanager
def plain_moto() -> Iterator[Aws]:
    """moto's own server, with what the probes take for granted of the Studio."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # its tracebacks are what is shown
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        aws = Aws(
            {
                "endpoint_url": f"http://{host}:{port}",
                "aws_access_key_id": "plain",
                "aws_secret_access_key": "moto",
                "region_name": "eu-central-1",
            },
            patience_s=1,
        )
        _furnish(aws)
        yield aws
    finally:
        server.stop()


def _furnish(aws: Aws) -> None:
    """The Studio's cluster, a service of it, its stores and its mail."""
    ecs, ec2, rds = aws("ecs"), aws("ec2"), aws("rds")
    ecs.create_cluster(clusterName=names.CLUSTER)
    for _ in range(3):
        ecs.register_task_definition(
            family=names.WORKER,
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[{"name": "worker", "image": "worker:1", "essential": True}],
        )
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
    groups = [one["GroupId"] for one in ec2.describe_security_groups()["SecurityGroups"]]
    network = {"subnets": subnets, "securityGroups": groups}
    ecs.create_service(
        cluster=names.CLUSTER,
        serviceName=names.WORKER,
        taskDefinition=f"{names.WORKER}:1",
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration={"awsvpcConfiguration": network},
    )
    aurora = {"Engine": "aurora-postgresql"}
    rds.create_db_cluster(
        DBClusterIdentifier=names.DATABASE_CLUSTER,
        MasterUsername="ai_studio",
        MasterUserPassword="never-used",
        DeletionProtection=True,
        **aurora,
    )
    for instance in (names.DATABASE_WRITER, names.DATABASE_READER):
        rds.create_db_instance(
            DBInstanceIdentifier=instance,
            DBInstanceClass="db.serverless",
            DBClusterIdentifier=names.DATABASE_CLUSTER,
            **aurora,
        )
    aws("elasticache").create_replication_group(
        ReplicationGroupId=names.REDIS_GROUP,
        ReplicationGroupDescription="redis",
        CacheNodeType="cache.t4g.small",
        Engine="redis",
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
    )
    aws("s3").create_bucket(
        Bucket=names.ASSETS_BUCKET,
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    aws("ses").verify_domain_identity(Domain=names.MAIL_DOMAIN)
    aws("ses").verify_email_identity(EmailAddress=names.MAIL_SENDER)
    aws("application-autoscaling").register_scalable_target(
        ServiceNamespace="ecs",
        ResourceId=f"service/{names.CLUSTER}/{names.WORKER}",
        ScalableDimension="ecs:service:DesiredCount",
        MinCapacity=1,
        MaxCapacity=4,
    )


def ago(milliseconds: int) -> int:
    """A moment before now, in milliseconds since the epoch."""
    return int(datetime.now(UTC).timestamp() * 1000) - milliseconds
