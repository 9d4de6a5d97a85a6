"""A control plane for the tests of it alone: no PostgreSQL, no Redis, one process a session."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.moving_studio import MovingStudio

from runbook import settings
from runbook.clients import Clients
from studio_sandbox.box import Box

ANCHOR = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
DATABASE_URL = "postgresql+psycopg2://ai_studio:database-password@127.0.0.1:1/ai_studio"
REDIS_URL = "redis://:redis-password@127.0.0.1:2/0"


class RunningControlPlane:
    """One process, with clients of its identities."""

    def __init__(self, home: Path, anchor: datetime = ANCHOR) -> None:
        self.anchor, self.home = anchor, home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "studio_sandbox.control_plane"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(self._configuration()) + "\n")
        self.process.stdin.flush()
        self.answer = json.loads(self.process.stdout.readline())
        self.url = f"http://127.0.0.1:{self.answer['port']}"
        self._clients: dict[tuple[str, str, str], Any] = {}

    def _configuration(self) -> dict[str, Any]:
        return {
            "account": "123456789012",
            "region": "eu-central-1",
            "backup_region": "eu-west-1",
            "home": str(self.home),
            "still": True,
            "database_url": DATABASE_URL,
            "redis_url": REDIS_URL,
            "anchor": self.anchor.isoformat(),
            "users_wait_s": 0,
        }

    def client(
        self, service: str, *, region: str = "eu-central-1", profile: str = "oncall", **keys: str
    ) -> Any:
        """A boto3 client of one profile, or of the access key in `keys`."""
        key = (service, region, profile + "".join(keys.values()))
        if key not in self._clients:
            self._clients[key] = self._make(service, region, profile, keys)
        return self._clients[key]

    def _make(self, service: str, region: str, profile: str, keys: dict[str, str]) -> Any:
        import boto3
        import botocore.session
        from botocore.config import Config

        core = botocore.session.Session()
        core.set_config_variable("credentials_file", str(self.home / "aws-credentials"))
        session = boto3.Session(botocore_session=core, profile_name=None if keys else profile)
        return session.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            config=Config(
                read_timeout=10,
                retries={"total_max_attempts": 1},
                inject_host_prefix=False,
                s3={"addressing_style": "path"},
            ),
            **keys,
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """What `/sandbox/…` answers."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/sandbox/{path}", data=data, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def reset(self) -> None:
        """Everything as it was at the anchor."""
        self.control("POST", "reset", {"anchor": self.anchor.isoformat()})

    def stop(self) -> int:
        """Close its stdin and wait until it is gone; gives its exit code."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(timeout=5)


@pytest.fixture(scope="session")
def start_control_plane(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], RunningControlPlane]]:
    """Start further ones; all are stopped at the end."""
    running: list[RunningControlPlane] = []

    def start() -> RunningControlPlane:
        running.append(RunningControlPlane(tmp_path_factory.mktemp("control-plane")))
        return running[-1]

    yield start
    for one in running:
        if one.process.poll() is None:
            one.stop()


@pytest.fixture(scope="session")
def control_plane(start_control_plane: Callable[[], RunningControlPlane]) -> RunningControlPlane:
    """The session's own; a test that changes anything takes `fresh_control_plane`."""
    return start_control_plane()


@pytest.fixture
def fresh_control_plane(control_plane: RunningControlPlane) -> Iterator[RunningControlPlane]:
    """The session's own, to be changed: it is reset afterwards."""
    yield control_plane
    control_plane.reset()


@pytest.fixture
def aws(control_plane: RunningControlPlane) -> Callable[..., Any]:
    """Clients for reading: `aws("ecs")`."""
    return control_plane.client


@pytest.fixture
def changing(fresh_control_plane: RunningControlPlane) -> Callable[..., Any]:
    """Clients for changing: what they change is undone after the test."""
    return fresh_control_plane.client


@pytest.fixture
def clients(box: Box) -> Iterator[Clients]:
    """The library's own clients of the session's sandbox, as the engineer on call has them."""
    found = Clients(settings.load("sandbox"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def moving_module(moving_studio: MovingStudio) -> Iterator[MovingStudio]:
    """The one that moves, for the tests of a module: it is reset after the last of them."""
    yield moving_studio.lent()
    moving_studio.put_back()


@pytest.fixture
def quiet(moving_module: MovingStudio) -> Iterator[MovingStudio]:
    """The one that moves, with nobody who asks but the test, and nothing ordered afterwards."""
    moving_module.hush()
    yield moving_module.lent()
    moving_module.control("DELETE", "data-plane")


@pytest.fixture
def moving(moving_studio: MovingStudio) -> Iterator[MovingStudio]:
    """The one that moves, to be changed: it is reset afterwards."""
    yield moving_studio.lent()
    moving_studio.put_back()


@pytest.fixture(scope="module")
def logs_client() -> Iterator[Any]:
    """The library's own client of the session's sandbox's logs."""
    clients = Clients(settings.load("sandbox"))
    yield clients.aws("logs")
    clients.close()
