"""One environment's settings: read once from its YAML, validated whole, immutable.

`parameters/environments/NAME.yaml` holds names and limits, never secrets. Every name of the
product's (a cluster, a secret, a threshold) comes from here; nothing of it is written in code.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from runbook.errors import BadInput

Risk = Literal["low", "high", "destructive"]
Minutes = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the settings: unknown keys are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Regions(Section):
    primary: str
    backup: str
    active: Literal["primary", "backup"] = "primary"

    @property
    def current(self) -> str:
        """The region that sections work in."""
        return self.primary if self.active == "primary" else self.backup


class Aws(Section):
    """How AWS is reached. Without `connection`, boto3's own chain finds the credentials."""

    profile: str = ""
    connection: str = ""  # a JSON file below the state folder: endpoint, credentials file, profile
    when_missing: str = ""  # the command that brings the connection file about
    connect_timeout_s: Seconds = 5
    read_timeout_s: Seconds = 30
    attempts: Annotated[int, Field(ge=1)] = 4


class DatabaseLimits(Section):
    """From where on the database is worth a look."""

    connections_percent: Annotated[float, Field(gt=0)] = 80  # of max_connections
    transaction_s: Seconds = 300
    blocked_s: Seconds = 30
    dead_percent: Annotated[float, Field(gt=0)] = 20  # of a table's rows
    dead_rows: Annotated[int, Field(ge=0)] = 10_000  # below that, a share says nothing
    lag_ms: Annotated[float, Field(gt=0)] = 1000


class Database(Section):
    secret: str  # the secret that holds the DSN
    cluster: str = ""  # the Aurora cluster's name
    reach: Literal["direct", "ssm-port-forward"] = "direct"
    through: str = ""  # for a port forward: an instance's id, or its tag: `tag:Name=bastion`
    limits: DatabaseLimits = DatabaseLimits()
    connect_timeout_s: Seconds = 5
    statement_timeout_s: Seconds = 60
    lock_timeout_s: Seconds = 2
    usd_per_acu_hour: Annotated[float, Field(ge=0)] = 0
    let_go_s: Seconds = 5  # for a cancelled query; after that its session is ended


class Redis(Section):
    secret: str  # the secret that holds the URL
    group: str = ""  # ElastiCache's replication group
    usd_per_node_hour: Mapping[str, Annotated[float, Field(ge=0)]] = {}  # by node type
    reach: Literal["direct", "ssm-port-forward"] = "direct"
    memory_percent: Annotated[float, Field(gt=0)] = 80  # of its limit: worth a look
    slow_ms: Annotated[float, Field(gt=0)] = 100  # of a PING
    queue_length: Annotated[int, Field(ge=1)] = 1000  # messages that wait in one queue
    timeout_s: Seconds = 5


class ErrorShare(Section):
    """From which share of a service's log lines errors are worth a look, or a fright."""

    warning: Annotated[float, Field(gt=0)] = 1.0
    critical: Annotated[float, Field(gt=0)] = 5.0


class Logs(Section):
    """Where each service's log lines are, and what AWS lets one ask for, at what price."""

    groups: Mapping[str, str] = {}  # service: log group
    requests_per_second: Annotated[float, Field(gt=0)] = 5  # FilterLogEvents, of a whole account
    usd_per_gb_scanned: Annotated[float, Field(ge=0)] = 0  # Logs Insights
    errors_percent: ErrorShare = ErrorShare()
    user_percent: Annotated[float, Field(gt=0)] = 25  # of a service's latest lines, by one user


class Ecs(Section):
    """The cluster, and what Fargate asks for its tasks."""

    cluster: str = ""
    order: tuple[str, ...] = ()  # services as they are deployed, the first one first
    commit_setting: str = ""  # the environment variable that tells a task its commit
    commit_tag: str = ""  # the tag of a revision that tells its commit
    usd_per_vcpu_hour: Annotated[float, Field(ge=0)] = 0
    usd_per_gib_hour: Annotated[float, Field(ge=0)] = 0


class Limits(Section):
    """From which number on something is worth a look, or a fright."""

    warning: Annotated[float, Field(ge=0)]
    critical: Annotated[float, Field(ge=0)]


class Endpoint(Section):
    """One service as its callers reach it: by its host's name, and by a path of the ALB's.

    `health` and `docs` follow the base path of either way. `tells_health`: the answer is a JSON
    object with `status` and `timestamp`; else 200 is all that is asked.
    """

    host: str
    path: str = ""
    alb_path: str = ""
    health: str = "/health"
    docs: str = "/docs"
    tells_health: bool = True


class Endpoints(Section):
    """Where the Studio answers, and how old, slow or near its end an answer may be.

    Without `connection` the hosts' own names are resolved and spoken to over TLS.
    """

    connection: str = ""  # a JSON file below the state folder: where all hosts are reached instead
    load_balancer: str = ""
    timeout_s: Seconds = 5
    fresh_s: Seconds = 60  # how old the time in a health answer may be
    slow_ms: Annotated[float, Field(gt=0)] = 2000
    tls_days_left: Limits = Limits(warning=30, critical=7)
    services: Mapping[str, Endpoint] = {}


class Promises(Section):
    """What customers rely on, and from when on it is broken. What is empty is not looked at."""

    stuck_after_minutes: Annotated[int, Field(ge=1)] = 60  # a job in processing
    unactivated_after_minutes: Annotated[int, Field(ge=1)] = 30  # what was paid for
    usage_settles_in_s: Annotated[float, Field(ge=0)] = 60  # from Redis to the table
    mail_domain: str = ""
    files_bucket: str = ""
    files_copy: str = ""  # in the backup region
    lost_percent: Limits = Limits(warning=1, critical=10)  # of the copy's objects


class Backups(Section):
    """The backup strategy: what is kept, for how long, and what a loss may cost.

    Names are beginnings, which a date follows.
    """

    manual_name: str = "manual"  # of a snapshot that is taken by hand
    pre_migration_name: str = "pre-migration"  # of one before a larger change
    manual_old_days: Annotated[float, Field(gt=0)] = 30  # then one taken by hand is asked about
    snapshot_every_hours: Annotated[float, Field(gt=0)] = 24
    snapshots_kept_days: Annotated[int, Field(ge=1)] = 7
    versions_kept_days: Annotated[int, Field(ge=1)] = 30  # of an object, once it is overwritten
    buckets: tuple[str, ...] = ()  # that are protected so
    state_bucket: str = ""  # of Terraform
    rto_hours: Annotated[float, Field(gt=0)] = 4
    rpo_hours: Annotated[float, Field(gt=0)] = 1
    rehearse_within_days: Annotated[float, Field(gt=0)] = 90
    rehearsals: tuple[str, ...] = ()  # sections that restore, whose rehearsals count


class Subscriptions(Section):
    """What one payment buys, and how long the provider may take to tell of it."""

    period_days: Annotated[int, Field(ge=1)] = 30
    told_within_minutes: Annotated[int, Field(ge=0)] = 30


class Smoke(Section):
    """One smoke test: a request, and the status that a healthy service answers."""

    service: str
    host: str
    path: str
    method: Literal["GET", "POST"] = "GET"
    body: Mapping[str, str] = {}
    expect: int = 200


class Terraform(Section):
    """The program, and the folder that it works in."""

    command: str = "terraform"
    folder: str = ""


class Weekly(Section):
    """Hours of one day of the week, in UTC, not over midnight."""

    day: Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"] = "Sun"
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "02:00"
    end: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "04:00"


class Maintenance(Section):
    """When there may be maintenance, who gets notice, who is let in, what the others see."""

    window: Weekly = Weekly()
    any_time: bool = False  # it may be run outside of the window: where people practise
    notice_hours: Annotated[float, Field(ge=0)] = 48
    watch_minutes: Minutes = 60  # after it, times waits.factor
    sender: str = ""  # of the notices
    notice: str = ""  # a file in parameters/: the subject, then the text
    banner: str = ""  # a file in parameters/
    local: str = "UTC"  # the time zone that most users live in
    smoke: tuple[Smoke, ...] = ()  # what is asked of each service before it is over
    snapshot_name: str = "pre"  # what the snapshot's name begins with

    port: int = 443  # of the load balancer's listener
    first_priority: Annotated[int, Field(ge=1)] = 1  # of its rules
    room: Annotated[int, Field(ge=1)] = 9  # priorities that no other rule has
    allow: tuple[str, ...] = ()  # addresses as ranges, such as 203.0.113.7/32
    page: str = ""  # a file in parameters/
    target_group: str = ""  # the ARN of one that answers 503 with Retry-After; instead of the page


class UsageScript(Section):
    """The product's own script that writes usage, and the service whose image has it."""

    service: str  # as ECS has it
    command: tuple[str, ...]


class Usage(Section):
    """What all who move usage to the database agree on.

    `lock` is the advisory lock that they hold meanwhile, by the text that PostgreSQL's hashtext
    makes its number of; `source` marks rows that stand for counters, as the product looks for it.
    """

    lock: str = ""
    source: str = ""
    lock_within_s: Seconds = 10
    script: UsageScript | None = None


class MailAccess(Section):
    """What AWS is told when it is asked to let the account write to everyone."""

    mail_type: Literal["TRANSACTIONAL", "MARKETING"] = "TRANSACTIONAL"
    website: str = ""
    use_case: str = ""
    language: Literal["EN", "JA"] = "EN"  # of AWS's answer


class Slowness(Section):
    """From when on requests are slow: against the time before, and in themselves."""

    lately_minutes: Annotated[int, Field(ge=1)] = 5
    before_minutes: Annotated[int, Field(ge=1)] = 55
    times: Annotated[float, Field(gt=1)] = 2  # as long as before
    least_ms: Annotated[float, Field(ge=0)] = 200  # what is faster is no trouble, whatever it was
    least_requests: Annotated[int, Field(ge=1)] = 8  # to speak of a percentile
    busy_percent: Annotated[float, Field(gt=0)] = 85  # of a service's CPU


class Assess(Section):
    """How long looking at everything may take, and from when on something is suspicious."""

    within_s: Seconds = 45  # all of it, side by side
    each_s: Seconds = 15  # one question
    settle_s: Seconds = 20  # for what was counted to be written
    failed_percent: Annotated[float, Field(gt=0)] = 5  # of a service's requests
    least_failed: Annotated[int, Field(ge=1)] = 5  # to speak of a share of them
    deployed_minutes: Annotated[int, Field(ge=1)] = 60  # since when a deployment is recent
    waits_s: Annotated[float, Field(gt=0)] = 2  # for a lock
    deleted_percent: Annotated[float, Field(gt=0)] = 3  # of the rows of a table
    apart_percent: Annotated[float, Field(gt=0)] = 10  # of the counters: more than a lost flush


class Models(Section):
    """The metrics that the gateway keeps of its providers, by `Provider`."""

    metrics: str = ""  # namespace of ProviderLatency (s), ProviderRequests, ProviderErrors
    errors_percent: Annotated[float, Field(gt=0)] = 5  # of a provider's calls
    least_calls: Annotated[int, Field(ge=1)] = 10  # to speak of a share of them
    least_failed: Annotated[int, Field(ge=1)] = 3  # of them: one of few is a share, and chance


class PaymentProvider(Section):
    """Who takes payments, and where it is to tell us of them.

    An `api` that begins with / is below the URL that `endpoints.connection` names.
    """

    api: str
    secret: str  # that holds the merchant's key
    webhook: str  # our URL, as it should be registered there


class MailLimits(Section):
    """From when on mail is worth a look: AWS reviews an account at the first, and may pause it at
    the second. In percent of what was sent."""

    bounce_percent: Limits = Limits(warning=5, critical=10)
    complaint_percent: Limits = Limits(warning=0.1, critical=0.5)
    quota_percent: Annotated[float, Field(gt=0)] = 80  # of a day's mails


class Access(Section):
    """Who may operate, and which IAM users may exist beside single sign-on."""

    operators: tuple[str, ...] = ()  # patterns: user/NAME, assumed-role/NAME
    known_users: tuple[str, ...] = ()
    key_max_age_days: Annotated[int, Field(ge=1)] = 90


class Secrets(Section):
    """The secrets that the Studio cannot do without, and how old one may be."""

    critical: tuple[str, ...] = ()
    rotate_after_days: Annotated[int, Field(ge=1)] = 90
    sessions: str = ""  # the one that signs the sessions of all users
    session_minutes: Annotated[int, Field(ge=1)] = 60  # how long a session lasts


class Provider(Section):
    """One provider of models: the secret of its key, where a key is tried, what it calls itself.

    `try_url` answers 200 to a GET with a key that it accepts, sent in `header` as `form` has it.
    A URL that begins with / is below the one that `endpoints.connection` names.
    """

    secret: str
    try_url: str
    header: str = "Authorization"
    form: str = "Bearer {key}"
    status_url: str = ""  # its status page, as JSON: `status.indicator`, `status.description`
    models: tuple[str, ...] = ()  # patterns of its models' names


class Family(Section):
    """One family of models: the settings of the service that say who answers for it."""

    setting: str
    fallback: str
    providers: tuple[str, ...]


class Providers(Section):
    """Who provides models, to which service, and from when on that is worth a look."""

    service: str = ""  # whose requests they answer, as ECS has it
    log: str = ""  # that service, as `logs.groups` has it
    known: Mapping[str, Provider] = {}
    families: Mapping[str, Family] = {}
    errors_percent: ErrorShare = ErrorShare()  # of a provider's requests
    slower_times: Annotated[float, Field(gt=1)] = 3  # than it was before
    least_requests: Annotated[int, Field(ge=1)] = 5  # below that, a share says nothing
    watch_s: Seconds = 120  # a new key, before it counts as good
    timeout_s: Seconds = 10


class WantedAlarm(Section):
    """One alarm as it should be: the runbook's words for it, and PutMetricAlarm's.

    `{kind:name}` in a setting is looked up in the account, since AWS gave it an id of its own.
    """

    title: str
    when: str  # the threshold, as the runbook has it
    section: str  # what to open when it is raised
    severity: Literal["P0", "P1", "P2", "P3"] = "P1"  # of the incident that it opens
    parameters: Mapping[str, Any] = {}  # of its section; {dimension:NAME} is the event's
    settings: Mapping[str, Any]


class Storage(Section):
    """Where customers' files are, and for how long each kind is kept; others are kept for ever."""

    bucket: str = ""
    keep_days: Mapping[str, Annotated[int, Field(ge=1)]] = {}  # by kind


class Users(Section):
    """What one user may ask, and how the Studio is told that somebody may not ask any more."""

    gateway: str = "gateway"  # the service that meters requests, as `logs` and `endpoints` have it
    requests: Annotated[int, Field(ge=1)] = 60  # that one user may send
    in_seconds: Annotated[int, Field(ge=1)] = 60
    longest_block_hours: Annotated[float, Field(gt=0)] = 24  # for a while; for good is a ban
    token_hours: Annotated[float, Field(gt=0)] = 24  # a token that was issued works for so long
    refused_with: tuple[int, ...] = (403, 429)
    ask_path: str = ""  # below the service's path; empty: nobody is asked in a user's name
    ask_header: str = ""  # where that request names its user


class Plans(Section):
    expire_after_minutes: Minutes = 60


class Migrations(Section):
    """How the schema is migrated: in a task of its own with a service's task definition."""

    service: str  # as ECS has it
    command: tuple[str, ...] = ("alembic",)


class Approval(Section):
    """Which plans another identity has to approve, how many, and for how long that holds."""

    risks: frozenset[Risk] = frozenset()
    count: Annotated[int, Field(ge=1)] = 1
    expire_after_minutes: Minutes = 60


class Locks(Section):
    lease_minutes: Minutes = 15


class Freeze(Section):
    """A time in which nothing but break-glass changes anything."""

    start: AwareDatetime
    end: AwareDatetime
    reason: str


class Window(Section):
    """A weekly window in UTC, outside of which a risk is refused."""

    risk: Risk
    day: Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    start: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
    end: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Guardrails(Section):
    """What no plan may go beyond, whoever applies it."""

    limits: Mapping[str, Mapping[str, Annotated[float, Field(ge=0)]]] = {}  # kind: measure: most
    protected: tuple[str, ...] = ()  # patterns of targets that are never changed
    unattended: frozenset[str] = frozenset()  # sections that may run with apply=unattended
    freezes: tuple[Freeze, ...] = ()
    windows: tuple[Window, ...] = ()


class Record(Section):
    """Where runs are kept: a folder (empty: `record` below the state folder) or `s3://…`."""

    store: str = ""
    anchor: str = ""  # where the ledger's head is kept; empty: `anchors` beside the record
    region: str = ""  # of s3:// stores; empty: the backup region
    retain_days: Annotated[int, Field(ge=0)] = 0  # what is sealed, where S3 Object Lock is on
    single_machine: bool = False  # the whole environment is operated from this one machine


class SpareDatabase(Section):
    """What the database is restored with in the other region, where its source cannot be asked."""

    subnet_group: str
    security_group: str  # its name
    parameter_group: str
    min_acu: Annotated[float, Field(gt=0)]
    max_acu: Annotated[float, Field(gt=0)]
    instance_class: str = "db.serverless"


class SpareService(Section):
    """How many tasks a service is to have in the other region, and the range that it scales in."""

    tasks: Annotated[int, Field(ge=1)]
    least: Annotated[int, Field(ge=0)]
    most: Annotated[int, Field(ge=1)]


class Failover(Section):
    """What serves when a region is lost; it stands here since that region cannot be asked."""

    services: Mapping[str, SpareService] = {}  # those that are to run
    database: SpareDatabase | None = None  # None: a global cluster's secondary is promoted


class Kept(Section):
    """Where a value is kept that nobody may see; one of the two."""

    secret: str = ""  # a secret's name
    file: str = ""  # below the state folder: it is there when AWS does not answer

    @model_validator(mode="after")
    def _one_place(self) -> Kept:
        if bool(self.secret) == bool(self.file):
            raise ValueError("name either secret or file")
        return self


class Slack(Kept):
    """Where the incoming webhook of the team's channel is kept."""


class GitHub(Section):
    """The product's repository: the workflow that deploys, and the file that tells of it.

    An `api` that begins with / is below the URL that `endpoints.connection` names.
    """

    repository: str  # owner/name
    workflow: str  # its file's name; it takes the inputs `sha` and `services`
    token: Kept
    api: str = "https://api.github.com"
    branch: str = "main"
    activity: str = ""  # the file; empty: none is kept
    timeout_s: Seconds = 10


class Mail(Section):
    sender: str
    to: Annotated[tuple[str, ...], Field(min_length=1)]


class Notify(Section):
    """Who is told of an incident, and how long anybody waits for that."""

    slack: Slack | None = None
    mail: Mail | None = None
    timeout_s: Seconds = 5


class Incidents(Section):
    """How an incident runs: by when what is due, and how it is looked back at."""

    targets_minutes: Mapping[str, Annotated[float, Field(gt=0)]] = {}  # step: minutes after opening
    post_mortem_hours: Annotated[float, Field(gt=0)] = 24  # after it was resolved
    join_minutes: Annotated[int, Field(ge=0)] = 240  # an alarm joins an open one as young as this
    lead_minutes: Annotated[int, Field(ge=1)] = 30  # of its timeline, before it was opened
    quiet_minutes: Annotated[float, Field(gt=0)] = 15  # without a word: a gap in the timeline
    watch_minutes: Annotated[float, Field(gt=0)] = 30  # before it counts as resolved
    settle_minutes: Annotated[float, Field(gt=0)] = 10  # for a mend to show: alarms have periods


class Review(Section):
    """From when on a section of the runbook is overdue, in days."""

    reviewed_days: Annotated[int, Field(ge=1)] = 90
    run_days: Annotated[int, Field(ge=1)] = 90
    drilled_days: Annotated[int, Field(ge=1)] = 90
    failed_percent: Annotated[float, Field(ge=0)] = 20  # of its runs
    least_runs: Annotated[int, Field(ge=1)] = 5  # to speak of a share of them


class Runs(Section):
    """How long a headless run may take: one cell, and all of them."""

    cell_timeout_s: Seconds = 3600
    timeout_s: Seconds = 4 * 3600


class Waits(Section):
    """Waiting, scaled: 1 in an account of AWS's, less where the Studio moves faster."""

    factor: Annotated[float, Field(gt=0)] = 1.0


class Environment(Section):
    """One environment, as its file describes it."""

    name: str
    account: Annotated[str, Field(pattern=r"^\d{12}$")]
    regions: Regions
    aws: Aws = Aws()
    database: Database
    redis: Redis
    logs: Logs = Logs()
    ecs: Ecs = Ecs()
    endpoints: Endpoints = Endpoints()
    access: Access = Access()
    secrets: Secrets = Secrets()
    migrations: Migrations | None = None
    promises: Promises = Promises()
    backups: Backups = Backups()
    subscriptions: Subscriptions = Subscriptions()
    usage: Usage = Usage()
    maintenance: Maintenance = Maintenance()
    terraform: Terraform = Terraform()
    mail_access: MailAccess = MailAccess()
    slowness: Slowness = Slowness()
    models: Models = Models()
    assess: Assess = Assess()
    mail_limits: MailLimits = MailLimits()
    payments: PaymentProvider | None = None
    providers: Providers = Providers()
    users: Users = Users()
    storage: Storage = Storage()
    alarms: Mapping[str, WantedAlarm] = {}  # by the alarm's name
    dashboards: tuple[str, ...] = ()  # CloudWatch's, by name
    record: Record = Record()
    plans: Plans = Plans()
    approval: Approval = Approval()
    locks: Locks = Locks()
    guardrails: Guardrails = Guardrails()
    notify: Notify = Notify()
    incidents: Incidents = Incidents()
    review: Review = Review()
    failover: Failover = Failover()
    github: GitHub | None = None
    runs: Runs = Runs()
    waits: Waits = Waits()

    @model_validator(mode="after")
    def _approvals_need_a_shared_record(self) -> Environment:
        shared = self.record.store.startswith("s3://") or self.record.single_machine
        if self.approval.risks and not shared:
            raise ValueError(
                "approval.risks wants a second person, but record.store is a folder of one "
                "machine; name an s3:// store, or set record.single_machine to true"
            )
        return self


@cache
def checkout() -> Path:
    """The folder that the library was installed from: notebooks/ and parameters/ are in it."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "notebooks").is_dir():
        raise BadInput(
            f"The library expects to run from its checkout, but {root} has no notebooks folder.",
            next="Install it editable from a clone: ./runbook does that by itself.",
        )
    return root


def home() -> Path:
    """The state folder: `RUNBOOK_HOME`, else `var` in the checkout; never the current folder."""
    named = os.environ.get("RUNBOOK_HOME")
    return Path(named).expanduser().resolve() if named else checkout() / "var"


def environments() -> list[str]:
    """Names of all environments that have a file."""
    return sorted(path.stem for path in (checkout() / "parameters/environments").glob("*.yaml"))


def load(name: str) -> Environment:
    """Read and validate one environment.

    Raises BadInput: no such environment (with those that exist), or every error of its file at
    once, each with its key.
    """
    if name not in environments():
        known = ", ".join(environments()) or "none"
        raise BadInput(
            f"There is no environment {name!r}; there are: {known}.",
            next="Add parameters/environments/NAME.yaml, or name one of these.",
        )
    return load_file(checkout() / "parameters/environments" / f"{name}.yaml")


def load_file(path: Path) -> Environment:
    """Read and validate one environment's file; its name is the file's. Raises BadInput.

    `alarms` may name a file beside the folder: a table that several environments share.
    """
    content = read_yaml(path)
    if isinstance(content.get("alarms"), str):
        table = path.parent.parent / content["alarms"]
        if not table.is_file():
            raise BadInput(f"{path.name}: alarms names {table.name}, which is not there.")
        content["alarms"] = read_yaml(table)
    try:
        return Environment.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise BadInput(
            _all_errors(path, error), next=f"Correct {path.name} and try again."
        ) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping. Raises BadInput for bad syntax, a key given twice, or no mapping."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506
    except yaml.YAMLError as error:
        where = str(error).replace("\n", " ")
        raise BadInput(f"{path.name} is not readable as YAML: {where}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path.name}: expected keys with values, found {type(content).__name__}.")
    return content


def _all_errors(path: Path, error: ValidationError) -> str:
    lines = []
    for found in error.errors():
        key = ".".join(str(part) for part in found["loc"]) or "(whole file)"
        value = found.get("input")
        shown = f", found {value!r}" if isinstance(value, str | int | float | bool) else ""
        lines.append(f"  {key}: {found['msg'].removeprefix('Value error, ')}{shown}")
    count = len(lines)
    return f"{path.name} has {count} error{'s' if count > 1 else ''}:\n" + "\n".join(lines) + "\n"


# libyaml's parser where PyYAML was built with it: fifteen times as fast
_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_SafeLoader):  # type: ignore[valid-type, misc]  # one of two
    """YAML whose keys are given once: a second one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: the key {key!r} is given twice")
            seen.add(key)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found


def within(moment: datetime, window: Window) -> bool:
    """Whether a moment (aware, UTC) is in a weekly window, which never spans midnight."""
    clock = moment.strftime("%H:%M")
    return moment.strftime("%a") == window.day and window.start <= clock < window.end
