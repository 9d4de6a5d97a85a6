"""A sandbox that moves, for the tests of what happens by itself; and how it is asked."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg2
import redis
from botocore.config import Config
from tests.integration.test_control_plane_ecs import Studio

from studio_sandbox import box as sandbox
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names
from studio_sandbox.data_plane.providers import PROVIDERS


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    def data(self) -> Any:
        return json.loads(self.body)


class _Servers:
    """What `Studio` asks of a control plane, here of a whole sandbox."""

    def __init__(self, box: Box) -> None:
        self.box = box
        variables = sandbox.environment_variables(box)
        self._session = boto3.Session(
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            region_name=box.region,
        )
        self.client = cache(self._client)

    def _client(self, service: str) -> Any:
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        return self._session.client(service, endpoint_url=self.box.aws_endpoint_url, config=config)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.box.aws_endpoint_url}/sandbox/{path}"
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)

    def reset(self) -> None:
        self.box = sandbox.reset(self.box.folder)


class MovingStudio(Studio):
    """The Studio from outside: HTTP, AWS, SQL and Redis."""

    def __init__(self, box: Box) -> None:
        self._servers = _Servers(box)
        self.redis = redis.Redis.from_url(box.redis_url, decode_responses=True)
        super().__init__(self._servers)
        self.as_new = True  # until a test has it

    @property
    def box(self) -> Box:
        """The sandbox as of its last reset."""
        return self._servers.box

    def lent(self) -> MovingStudio:
        """Given to a test: from here on nobody knows what was changed."""
        self.as_new = False
        return self

    def put_back(self) -> None:
        """Reset it, unless that was done last."""
        if not self.as_new:
            self.reset()
            self.as_new = True

    def until(self, holds: Callable[[], Any], what: str, *, within_s: float = 120.0) -> Any:
        """Wait for a condition: more happens here than in a control plane alone."""
        deadline = time.monotonic() + within_s
        while not (found := holds()):
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
            time.sleep(0.1)
        return found

    def order(self, name: str, **about: Any) -> dict[str, Any]:
        """Order something of the data plane."""
        return dict(self.control("POST", "data-plane", {"order": name, **about}))

    def hush(self) -> None:
        """Nobody asks any more, and providers never fail by chance."""
        self.control("DELETE", "data-plane")
        self.order("traffic-rate", factor=0)
        for provider in PROVIDERS:
            self.order("provider-failing", provider=provider, share=0)

    def ask(
        self, path: str, *, host: str = "", method: str = "GET", body: Any = None, **headers: str
    ) -> Answer:
        """Ask an endpoint. Names of headers are written with `_` for `-`."""
        place = urlsplit(self.box.endpoints_url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent |= {"Host": host} if host else {}
        with closing(connection):
            text = None if body is None else json.dumps(body).encode()
            connection.request(method, path, body=text, headers=sent)
            found = connection.getresponse()
            return Answer(found.status, dict(found.headers), found.read())

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.box.database_url)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(query, values)
            return list(cursor.fetchall()) if cursor.description else []

    def listener(self) -> str:
        """The ARN of the HTTPS listener."""
        (balancer,) = self.elb.describe_load_balancers(Names=[names.LOAD_BALANCER])["LoadBalancers"]
        listeners = self.elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])
        (found,) = [one for one in listeners["Listeners"] if one["Protocol"] == "HTTPS"]
        return str(found["ListenerArn"])

    def lines(self, service: str, pattern: str = "") -> list[dict[str, Any]]:
        """Lines of JSON in a service's log group."""
        found = self.client("logs").filter_log_events(
            logGroupName=names.LOG_GROUPS[service], filterPattern=pattern
        )
        texts = [event["message"] for event in found["events"]]
        return [json.loads(text) for text in texts if text.startswith("{")]


def start_moving() -> Iterator[MovingStudio]:
    """A sandbox of its own that moves, gone with this process."""
    home = Path(tempfile.mkdtemp(prefix="runbook-moving-")).resolve()
    home.chmod(0o711)  # root's servers run as another user, who has to pass through
    try:
        yield MovingStudio(sandbox.up(tied=True, folder=home / "sandbox").box)
    finally:
        sandbox.down(home / "sandbox")
        shutil.rmtree(home, ignore_errors=True)
