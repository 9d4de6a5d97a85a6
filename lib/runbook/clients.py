"""The only factory of clients: AWS, PostgreSQL, Redis, HTTP.

Every client has time-outs and bounded retries, carries the run's id (user agent,
`application_name`, client name), and is handed out only after the account and the region of the
credentials have been compared with the environment's.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runbook import reach, settings
from runbook.errors import BadInput, NotReachable, WrongAccount
from runbook.secret import Secret
from runbook.settings import Environment, Kept

if TYPE_CHECKING:
    import boto3
    import redis
    import sqlalchemy


APPLICATION = "runbook"  # what the name of each of our database sessions begins with


@dataclass(frozen=True)
class Identity:
    """Who calls AWS: `principal` is compared between people, so a role's session is cut off."""

    account: str
    arn: str

    @property
    def principal(self) -> str:
        """The ARN without an assumed role's session name: one person stays one person."""
        if ":assumed-role/" in self.arn:
            return self.arn.rsplit("/", 1)[0]
        return self.arn

    @property
    def name(self) -> str:
        """The short form for tables: `user/oncall`."""
        return self.arn.split(":", 5)[-1]


@dataclass(frozen=True)
class _Connection:
    """Where AWS answers, when it is not AWS's own endpoints."""

    endpoint_url: str
    credentials_file: str
    profile: str


class _Tls(HTTPSConnection):
    """A connection whose certificate may be that of another name than the one it connects to."""

    def __init__(self, host: str, certificate_of: str, *, timeout_s: float) -> None:
        super().__init__(host, timeout=timeout_s)
        self._certificate_of = certificate_of

    def connect(self) -> None:
        HTTPConnection.connect(self)
        context = ssl.create_default_context()
        self.sock = context.wrap_socket(self.sock, server_hostname=self._certificate_of)


class Clients:
    """Clients of one environment for one run. Nothing connects before it is asked for."""

    def __init__(
        self, environment: Environment, *, run_id: str = "-", profile: str = "", region: str = ""
    ) -> None:
        self.environment = environment
        self.region = region or environment.regions.current
        self.run_id = run_id
        self._profile = profile
        self._cache: dict[tuple[str, str, bool], Any] = {}
        self._forwards: dict[tuple[str, int], reach.PortForward] = {}  # to databases
        self._beside: list[sqlalchemy.Engine] = []
        self._elsewhere: dict[str, Clients] = {}  # by region

    def anew(self) -> Clients:
        """Clients of the same environment that have read no secret yet: one was changed."""
        return Clients(
            self.environment, run_id=self.run_id, profile=self._profile, region=self.region
        )

    def within(self, region: str) -> Clients:
        """Clients of the same environment whose own region, with its secrets, is another."""
        if region == self.region:
            return self
        if region not in self._elsewhere:
            self._elsewhere[region] = Clients(
                self.environment, run_id=self.run_id, profile=self._profile, region=region
            )
        return self._elsewhere[region]

    def aws(self, service: str, *, region: str = "", once: bool = False) -> Any:
        """A boto3 client of `service` in `region` (default: ours, which is the active one).

        `once`: each call is sent one time only. That is for changes that take no client token:
        after an error the world is read, and nothing is sent again behind our back.

        Raises WrongAccount before the first client is handed out when the credentials are not
        the environment's, and NotReachable when nobody answers.
        """
        _ = self.identity
        return self._client(service, region or self.region, once=once)

    @cached_property
    def identity(self) -> Identity:
        """Who we are, checked against the environment's account. Raises WrongAccount."""
        self._refuse_wrong_region()
        answer = self._caller()
        if answer["Account"] != self.environment.account:
            raise WrongAccount(
                f"{self.environment.name} is account {self.environment.account}, "
                f"but these credentials belong to {answer['Account']} ({answer['Arn']}).",
                next=self._way_to_credentials(),
            )
        return Identity(account=answer["Account"], arn=answer["Arn"])

    def _caller(self) -> dict[str, Any]:
        """Who AWS says that we are; the other region is asked where ours does not answer."""
        from botocore.exceptions import BotoCoreError, ClientError

        regions = self.environment.regions
        failed: Exception | None = None
        for region in dict.fromkeys((self.region, regions.primary, regions.backup)):
            try:
                return dict(self._client("sts", region).get_caller_identity())
            except ClientError as error:  # it answers: elsewhere it would say the same
                failed = error
                break
            except BotoCoreError as error:
                failed = failed or error
        raise NotReachable(
            f"AWS does not say who we are in {self.environment.name}: {failed}",
            next=self._way_to_credentials(),
        ) from failed

    @cached_property
    def database(self) -> sqlalchemy.Engine:
        """The Studio's database, for reading: the server refuses every write of this session."""
        return self._engine(read_only=True)

    @cached_property
    def database_writer(self) -> sqlalchemy.Engine:
        """The Studio's database, for the appliers of changes and for nobody else."""
        return self._engine(read_only=False)

    def database_beside(self, *, host: str, port: int) -> sqlalchemy.Engine:
        """A database with the logins of the Studio's own, for reading: a restored one has them."""
        engine = self._engine(read_only=True, host=host, port=port)
        self._beside.append(engine)
        return engine

    @cached_property
    def redis(self) -> redis.Redis:
        """The Studio's Redis; answers are text."""
        import redis

        wanted = self.environment.redis
        return redis.Redis.from_url(
            self.secret(wanted.secret).reveal(),
            decode_responses=True,
            socket_timeout=wanted.timeout_s,
            socket_connect_timeout=wanted.timeout_s,
            client_name=f"runbook-{self.run_id}",
        )

    def secret(self, name: str, *, version: str = "") -> Secret:
        """The current value of one secret, or that of a version, masked.

        Source: AWS, GetSecretValue.
        """
        which = {"VersionId": version} if version else {}
        answer = self.aws("secretsmanager").get_secret_value(SecretId=name, **which)
        return Secret(answer["SecretString"], name=name)

    def kept(self, wanted: Kept, name: str) -> Secret:
        """A value from a secret, or from a file below the state folder, which is there when AWS
        is not. Raises BadInput: there is no such file."""
        if wanted.secret:
            return self.secret(wanted.secret)
        try:
            value = (settings.home() / wanted.file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BadInput(f"{name}: {wanted.file}: {error.strerror}.") from None
        return Secret(value, name=name)

    def ask(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float,
    ) -> tuple[int, bytes]:
        """One request to the world outside, sent once: the answer's status and body.

        A URL that begins with / is below the one that `endpoints.connection` names. Raises
        NotReachable when nobody answers.
        """
        place = urlsplit(self._outside(url))
        make = HTTPConnection if place.scheme == "http" else HTTPSConnection
        connection = make(place.hostname or "", place.port, timeout=timeout_s)
        path = f"{place.path}?{place.query}" if place.query else place.path
        sent = {"User-Agent": f"{APPLICATION}/{self.run_id}", **(headers or {})}
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException) as error:
            raise NotReachable(
                f"{place.hostname} does not answer: {type(error).__name__}."
            ) from None
        finally:
            connection.close()

    def http(self, host: str, *, certificate_of: str = "") -> HTTPConnection:
        """A connection to a host of the Studio's, not yet connected; the caller closes it.

        Over TLS, whose certificate has to be that of `certificate_of` (empty: of the host); where
        the environment names a connection of its own, that is spoken to instead.
        """
        wanted = self.environment.endpoints
        if wanted.connection:
            place = urlsplit(self._written(wanted.connection)["url"])
            return HTTPConnection(place.hostname or "", place.port, timeout=wanted.timeout_s)
        return _Tls(host, certificate_of or host, timeout_s=wanted.timeout_s)

    def _outside(self, url: str) -> str:
        connection = self.environment.endpoints.connection
        if not url.startswith("/") or not connection:
            return url
        return str(self._written(connection)["url"]) + url

    def close(self) -> None:
        """Give back every connection."""
        for name in ("database", "database_writer"):
            if name in self.__dict__:
                self.__dict__[name].dispose()
        for engine in self._beside:
            engine.dispose()
        for one in self._elsewhere.values():
            one.close()
        for forward in self._forwards.values():
            forward.close()
        if "redis" in self.__dict__:
            self.redis.close()

    def _engine(self, *, read_only: bool, host: str = "", port: int = 0) -> sqlalchemy.Engine:
        import sqlalchemy

        wanted = self.environment.database
        options = (
            "-c timezone=UTC"
            f" -c statement_timeout={wanted.statement_timeout_s:.0f}s"
            f" -c lock_timeout={wanted.lock_timeout_s:.0f}s"
            f" -c default_transaction_read_only={'on' if read_only else 'off'}"
        )
        url = sqlalchemy.make_url(self.secret(wanted.secret).reveal())
        if host:
            url = url.set(host=host, port=port)
        if url.password:
            Secret(str(url.password), name=wanted.secret)
        return sqlalchemy.create_engine(
            # plain postgresql:// means psycopg 3 to SQLAlchemy 2.1
            url.set(drivername="postgresql+psycopg2"),
            pool_size=2,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": int(wanted.connect_timeout_s),
                "application_name": f"{APPLICATION} {self.run_id}",
                "options": options,
                **self._detour(url),
            },
        )

    def _detour(self, url: sqlalchemy.URL) -> dict[str, Any]:
        """How to connect by a port forward, one for each server; nothing where it is direct.

        The server's name stays as it is: its certificate is for that name.
        """
        wanted = self.environment.database
        if wanted.reach == "direct":
            return {}
        server = str(url.host), url.port or 5432
        if server not in self._forwards:
            self._forwards[server] = reach.open_forward(
                self.aws("ssm"),
                self.aws("ec2"),
                through=wanted.through,
                host=server[0],
                port=server[1],
                region=self.region,
                profile=self._profile or self.environment.aws.profile,
            )
        return {"hostaddr": "127.0.0.1", "port": self._forwards[server].port}

    def _client(self, service: str, region: str, *, once: bool = False) -> Any:
        if (service, region, once) not in self._cache:
            self._cache[service, region, once] = self._make(service, region, once)
        return self._cache[service, region, once]

    def _make(self, service: str, region: str, once: bool) -> Any:
        from botocore.config import Config

        wanted = self.environment.aws
        return self._session.client(
            service,
            region_name=region,
            endpoint_url=self._connection.endpoint_url if self._connection else None,
            config=Config(
                connect_timeout=wanted.connect_timeout_s,
                read_timeout=wanted.read_timeout_s,
                retries={"mode": "standard", "total_max_attempts": 1 if once else wanted.attempts},
                max_pool_connections=32,
                user_agent_extra=f"runbook/{self.run_id}",
                ignore_configured_endpoint_urls=True,
                # the live tail of logs prefixes the host, which an endpoint of our own has not
                inject_host_prefix=self._connection is None,
                s3={"addressing_style": "path"} if self._connection else None,
            ),
        )

    @cached_property
    def _session(self) -> boto3.Session:
        import boto3
        from botocore.exceptions import ProfileNotFound

        connection, profile = self._connection, self._profile or self.environment.aws.profile
        core = None
        if connection:
            import botocore.session

            core = botocore.session.Session()
            core.set_config_variable("credentials_file", connection.credentials_file)
            core.set_config_variable("config_file", os.devnull)
            profile = self._profile or connection.profile
        try:
            return boto3.Session(botocore_session=core, profile_name=profile or None)
        except ProfileNotFound:
            raise BadInput(
                f"{self.environment.name} wants the AWS profile {profile!r}; it is not configured.",
                next=f"Configure it (aws configure sso --profile {profile}), or name another.",
            ) from None

    @cached_property
    def _connection(self) -> _Connection | None:
        name = self.environment.aws.connection
        if not name:
            self._refuse_ambient_endpoint()
            return None
        return _Connection(**self._written(name))

    def _written(self, name: str) -> dict[str, Any]:
        """What stands in a file below the state folder. Raises NotReachable when there is none."""
        try:
            content: dict[str, Any] = json.loads((settings.home() / name).read_text("utf-8"))
        except FileNotFoundError:
            raise NotReachable(
                f"{self.environment.name} is not running: {name} is not in the state folder.",
                next=f"Start it: {self.environment.aws.when_missing}",
            ) from None
        return content

    def _refuse_ambient_endpoint(self) -> None:
        named = sorted(key for key in os.environ if key.startswith("AWS_ENDPOINT_URL"))
        if named:
            raise WrongAccount(
                f"{self.environment.name} is reached at AWS's own endpoints, "
                f"but {' and '.join(named)} would send its calls elsewhere.",
                next=f"unset {' '.join(named)}",
            )

    def _refuse_wrong_region(self) -> None:
        """A shell that names a third region was set up for something else."""
        regions = self.environment.regions
        ambient = self._session.region_name
        if ambient and not self._connection and ambient not in (regions.primary, regions.backup):
            raise WrongAccount(
                f"{self.environment.name} is in {regions.primary} (backup {regions.backup}), "
                f"but this shell or profile is set to {ambient}.",
                next=f"export AWS_REGION={regions.current}",
            )

    def _way_to_credentials(self) -> str:
        wanted = self.environment.aws
        if wanted.connection:
            return f"Start it: {wanted.when_missing}"
        profile = f" --profile {wanted.profile}" if wanted.profile else ""
        return f"Sign in to the right account: aws sso login{profile}"
