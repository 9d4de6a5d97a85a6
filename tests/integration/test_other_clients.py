"""Clients that are not ours, given nothing but `sandbox env`, see the same Studio."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from studio_sandbox.box import Box


@pytest.fixture(scope="module")
def exported() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "runbook", "sandbox", "env"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert {words[0] for words in lines} == {"export"}
    return dict(words[1].split("=", 1) for words in lines)


def say(program: str | Path, *arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [str(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def installed(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"not run: no {name} on PATH")
    return found


def test_env_exports_what_the_contract_names(box: Box, exported: dict[str, str]) -> None:
    assert set(exported) == {
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "DATABASE_URL",
        "REDIS_URL",
    }
    # redis-cli sends an empty user name where the URL has none, and is refused
    assert urlsplit(exported["REDIS_URL"]).username == "default"


def test_psql_counts_the_jobs(box: Box, exported: dict[str, str]) -> None:
    psql = installed("psql")
    counted = say(psql, exported["DATABASE_URL"], "-Atc", "SELECT count(*) FROM jobs", env={})
    assert int(counted) > 20_000


def test_redis_cli_sees_the_counters(box: Box, exported: dict[str, str]) -> None:
    cli = installed("redis-cli")
    assert int(say(cli, "-u", exported["REDIS_URL"], "dbsize", env={})) > 1_000


def test_the_aws_command_sees_the_four_services(box: Box, exported: dict[str, str]) -> None:
    aws = installed("aws")
    query = ("--cluster", "ai-studio-cluster", "--query", "length(serviceArns)")
    assert say(aws, "ecs", "list-services", *query, env=exported) == "4"


def test_the_aws_command_asks_logs_insights(box: Box, exported: dict[str, str]) -> None:
    aws = installed("aws")
    group = ("--log-group-name", "/ecs/ai-studio-gateway")
    where = (*group, "--start-time", "0", "--end-time", "9999999999")
    query = "filter ispresent(model) | stats count(*) as n"
    asked = json.loads(
        say(aws, "logs", "start-query", *where, "--query-string", query, env=exported)
    )
    deadline = time.monotonic() + 60
    while True:
        told = say(aws, "logs", "get-query-results", "--query-id", asked["queryId"], env=exported)
        answer = json.loads(told)
        if answer["status"] == "Complete":
            break
        assert answer["status"] in ("Scheduled", "Running")
        assert time.monotonic() < deadline
    ((count,),) = answer["results"]
    assert int(count["value"]) == answer["statistics"]["recordsMatched"] > 0
