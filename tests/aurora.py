"""What tests of Aurora share: clients of a running sandbox, waiting, and the DSN of a cluster."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import boto3
import psutil

from studio_sandbox import box as sandbox
from studio_sandbox import programs
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

DEADLINE_S = 60.0
SERVERLESS = {"Engine": "aurora-postgresql", "DBInstanceClass": "db.serverless"}


def client(box: Box, service: str, region: str | None = None) -> Any:
    exported = sandbox.environment_variables(box)
    return boto3.client(
        service,
        region_name=region or box.region,
        endpoint_url=exported["AWS_ENDPOINT_URL"],
        aws_access_key_id=exported["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=exported["AWS_SECRET_ACCESS_KEY"],
    )


def until(holds: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def cluster(rds: Any, name: str = names.DATABASE_CLUSTER) -> dict[str, Any]:
    (found,) = rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
    return dict(found)


def until_cluster(rds: Any, name: str) -> dict[str, Any]:
    return dict(until(lambda: available(cluster(rds, name), "Status"), f"{name} is available"))


def available(found: dict[str, Any], key: str) -> dict[str, Any] | None:
    assert found[key] != "failed", found
    return found if found[key] == "available" else None


def add_instance(rds: Any, name: str) -> None:
    asked = {"DBInstanceIdentifier": f"{name}-1", "DBClusterIdentifier": name}
    rds.create_db_instance(**asked, **SERVERLESS)


def until_served(rds: Any, name: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        (one,) = rds.describe_db_instances(DBInstanceIdentifier=f"{name}-1")["DBInstances"]
        return available(one, "DBInstanceStatus")

    return dict(until(found, f"{name}-1 is available"))


def dsn(box: Box, found: dict[str, Any]) -> str:
    """What a section makes of the DSN that it has: other host and port, and all else the same."""
    old = urlsplit(box.database_url)
    login = old.netloc.rpartition("@")[0]
    return old._replace(netloc=f"{login}@{found['Endpoint']}:{found['Port']}").geturl()


def psql(url: str, query: str) -> str:
    """One value, by a client that is not ours."""
    program = next(programs._postgres()).path.with_name("psql")
    command = [str(program), "-X", "-A", "-t", "-c", query, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def servers(box: Box) -> list[psutil.Process]:
    """The postmasters of restored clusters."""
    return [
        process
        for process in psutil.Process(box.pids["aws"]).children()
        if process.name() == "postgres"
    ]
