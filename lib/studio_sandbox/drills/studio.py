"""The Studio as a drill reaches it: AWS, SQL, Redis and endpoints, as anybody could."""

from __future__ import annotations

import http.client
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from functools import cache, cached_property, lru_cache
from typing import Any
from urllib.parse import quote, urlsplit

import boto3
import psycopg2
import redis
from botocore.config import Config

from runbook.errors import NotReachable
from studio_sandbox import box as sandbox
from studio_sandbox.control_plane import names
from studio_sandbox.state import Box

_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.1
_IMPATIENT = "-c lock_timeout=5s"  # who breaks and judges waits for nobody whom a drill brought
_CREDENTIALS = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
_SESSIONS: dict[tuple[str, datetime, str], list[str]] = {}
_MAKING = threading.Lock()  # of clients: a session makes one at a time


@cache
def _session() -> boto3.Session:
    """One for all, with nobody's credentials: it keeps what it has parsed of AWS's services."""
    return boto3.Session()


@lru_cache(maxsize=128)
def _made(service: str, region: str, url: str, credentials: tuple[str, ...]) -> Any:
    """A client; the same one for the same question."""
    config = Config(
        read_timeout=20, retries={"total_max_attempts": 2}, s3={"addressing_style": "path"}
    )
    known = dict(zip(_CREDENTIALS, credentials, strict=False))
    return _session().client(service, region_name=region, endpoint_url=url, config=config, **known)


class Studio:
    """Clients of one running sandbox, and what several drills ask of it."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.aws = cache(self._aws)

    # who asks

    def _aws(self, service: str, region: str = "") -> Any:
        """A client of whoever is on call."""
        variables = sandbox.environment_variables(self.box)
        names_of = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        return self._client(service, region, [variables[name] for name in names_of])

    def pipeline(self, service: str, *, session: str = "GitHubActions", region: str = "") -> Any:
        """A client of the deployment pipeline: what a drill changes was changed by nobody here."""
        return self._client(service, region, self._assumed(session))

    def _assumed(self, session: str) -> list[str]:
        """Credentials of the deployment role; they hold until the sandbox is reset."""
        about = (self.box.aws_endpoint_url, self.box.anchor, session)
        if about not in _SESSIONS:
            role = f"arn:aws:iam::{self.box.account}:role/{names.DEPLOY_ROLE}"
            answer = self.aws("sts").assume_role(RoleArn=role, RoleSessionName=session)
            found = answer["Credentials"]
            credentials = [found[key] for key in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
            _SESSIONS[about] = credentials
        return _SESSIONS[about]

    def _client(self, service: str, region: str, credentials: list[str]) -> Any:
        with _MAKING:
            url = self.box.aws_endpoint_url
            return _made(service, region or self.box.region, url, tuple(credentials))

    # the sandbox's own knobs

    def control(self, method: str, path: str, content: Any = None) -> Any:
        """Ask the sandbox itself: `POST faults`, `DELETE data-plane?order=…`."""
        data = None if content is None else json.dumps(content).encode()
        url = f"{self.box.aws_endpoint_url}/sandbox/{path}"
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310  loopback
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)

    def order(self, name: str, **about: Any) -> None:
        """Order something of the data plane."""
        self.control("POST", "data-plane", {"order": name, **about})

    def take_back(self, name: str) -> None:
        """Take back all orders of one kind."""
        self.control("DELETE", f"data-plane?order={name}")

    def behave(self, behaviour: str, *, service: str, tag: str, **about: Any) -> None:
        """Let the tasks of a service whose image has this tag behave so."""
        wanted = {"behaviour": behaviour, "revision": service, "image": tag, **about}
        self.control("POST", "faults", wanted)

    def behave_well(self, tag: str) -> None:
        """Images of this tag do nothing in particular any more."""
        self.control("DELETE", f"faults?image={quote(tag)}")

    # stores

    @property
    def database_url(self) -> str:
        """The database that the DSN secret names now."""
        return self.secret(names.DATABASE_URL)

    def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database that the DSN secret names. Raises psycopg2.Error; also where it would
        have to wait for somebody's lock."""
        opened = psycopg2.connect(self.database_url, connect_timeout=3, options=_IMPATIENT)
        connecting = closing(opened)
        with connecting as connection, connection, connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return list(cursor.fetchall()) if cursor.description else []

    @cached_property
    def redis(self) -> redis.Redis:
        """A client of the cache that the tasks were pointed to."""
        return redis.Redis.from_url(self.box.redis_url, decode_responses=True, socket_timeout=3)

    def secret(self, name: str) -> str:
        """A secret's current value."""
        found = self.aws("secretsmanager").get_secret_value(SecretId=name)
        return str(found["SecretString"])

    # endpoints

    def status(self, path: str, *, host: str = "", headers: Mapping[str, str] | None = None) -> int:
        """The status that an endpoint answers a GET with."""
        place = urlsplit(self.box.endpoints_url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
        with closing(connection):
            sent = dict(headers or {}) | ({"Host": host} if host else {})
            connection.request("GET", path, headers=sent)
            return connection.getresponse().status

    # waiting

    def until(self, holds: Callable[[], Any], what: str, *, within_s: float = _WITHIN_S) -> Any:
        """Wait until something is so, and give it. Raises NotReachable."""
        deadline = time.monotonic() + within_s
        while not (found := holds()):
            if time.monotonic() > deadline:
                raise NotReachable(f"The sandbox did not come so far: {what}.")
            time.sleep(_LOOK_EVERY_S)
        return found
