"""The only factory of clients: AWS, PostgreSQL, Redis.

Every client has time-outs and bounded retries, carries the run's id (user agent,
`application_name`, client name), and is handed out only after the account and the region of the
credentials have been compared with the environment's.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runbook import settings
from runbook.errors import BadInput, NotReachable, WrongAccount
from runbook.secret import Secret
from runbook.settings import Environment

if TYPE_CHECKING:
    import boto3
    import redis
    import sqlalchemy


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


class Clients:
    """Clients of one environment for one run. Nothing connects before it is asked for."""

    def __init__(self, environment: Environment, *, run_id: str = "-", profile: str = "") -> None:
        self.environment = environment
        self.run_id = run_id
        self._profile = profile
        self._cache: dict[tuple[str, str, bool], Any] = {}

    def aws(self, service: str, *, region: str = "", once: bool = False) -> Any:
        """A boto3 client of `service` in `region` (default: the active one).

        `once`: each call is sent one time only. That is for changes that take no client token:
        after an error the world is read, and nothing is sent again behind our back.

        Raises WrongAccount before the first client is handed out when the credentials are not
        the environment's, and NotReachable when nobody answers.
        """
        _ = self.identity
        return self._client(service, region or self.environment.regions.current, once=once)

    @cached_property
    def identity(self) -> Identity:
        """Who we are, checked against the environment's account. Raises WrongAccount."""
        self._refuse_wrong_region()
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client("sts", self.environment.regions.current).get_caller_identity()
        except (BotoCoreError, ClientError) as error:
            raise NotReachable(
                f"AWS does not say who we are in {self.environment.name}: {error}",
                next=self._way_to_credentials(),
            ) from error
        if answer["Account"] != self.environment.account:
            raise WrongAccount(
                f"{self.environment.name} is account {self.environment.account}, "
                f"but these credentials belong to {answer['Account']} ({answer['Arn']}).",
                next=self._way_to_credentials(),
            )
        return Identity(account=answer["Account"], arn=answer["Arn"])

    @cached_property
    def database(self) -> sqlalchemy.Engine:
        """The Studio's database, for reading: the server refuses every write of this session."""
        return self._engine(read_only=True)

    @cached_property
    def database_writer(self) -> sqlalchemy.Engine:
        """The Studio's database, for the appliers of changes and for nobody else."""
        return self._engine(read_only=False)

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

    def secret(self, name: str) -> Secret:
        """The current value of one secret, masked. Source: AWS, GetSecretValue."""
        answer = self.aws("secretsmanager").get_secret_value(SecretId=name)
        return Secret(answer["SecretString"], name=name)

    def close(self) -> None:
        """Give back every connection."""
        for name in ("database", "database_writer"):
            if name in self.__dict__:
                self.__dict__[name].dispose()
        if "redis" in self.__dict__:
            self.redis.close()

    def _engine(self, *, read_only: bool) -> sqlalchemy.Engine:
        import sqlalchemy

        wanted = self.environment.database
        options = (
            "-c timezone=UTC"
            f" -c statement_timeout={wanted.statement_timeout_s:.0f}s"
            f" -c lock_timeout={wanted.lock_timeout_s:.0f}s"
            f" -c default_transaction_read_only={'on' if read_only else 'off'}"
        )
        url = sqlalchemy.make_url(self.secret(wanted.secret).reveal())
        if url.password:
            Secret(str(url.password), name=wanted.secret)
        return sqlalchemy.create_engine(
            # plain postgresql:// means psycopg 3 to SQLAlchemy 2.1
            url.set(drivername="postgresql+psycopg2"),
            pool_size=2,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": int(wanted.connect_timeout_s),
                "application_name": f"runbook {self.run_id}",
                "options": options,
            },
        )

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
        path = settings.home() / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotReachable(
                f"{self.environment.name} is not running: {name} is not in the state folder.",
                next=f"Start it: {self.environment.aws.when_missing}",
            ) from None
        return _Connection(**content)

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
