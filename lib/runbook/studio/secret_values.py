"""New values of secrets: stored beside the current one, tried, and brought to whoever reads them.

    secret_values.offer("OPENAI_API_KEY", secret_values.from_file("/…/new-key"))

No value is in a plan. Whoever applies one asks the source that was offered for the secret: a file
that only its owner may read and that is gone afterwards, a person, or dice.

Kinds of change: `secret-version` (a version is stored under AWSPENDING, and tried at the provider;
target `secret:NAME`) and `secret-read` (a service is restarted so that its tasks read the current
version, followed, and watched; target `ecs:CLUSTER/SERVICE`).

Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
"""

from __future__ import annotations

import os
import secrets
import stat
import sys
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import Change, Json, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput, Failed
from runbook.record.journal import Intent
from runbook.secret import Secret
from runbook.studio import alb, deployments, ecs, providers, secretsmanager
from runbook.studio.ecs import Service
from runbook.studio.logs import Window
from runbook.studio.secretsmanager import CURRENT, PENDING, Versions
from runbook.wait import DeadlinePassed, Wait

VERSION, READ = "secret-version", "secret-read"
EARLIER = "an earlier one"
_READS = "reads "
_LEAST, _MOST = 16, 65_536  # letters of a value


@dataclass(frozen=True)
class Source:
    """Where a new value comes from: `take` gives it, `forget` is told what was stored.

    `refuse_unless_ready` raises BadInput while it could not be taken, and takes nothing.
    """

    take: Callable[[str], Secret]
    refuse_unless_ready: Callable[[str], None] = lambda secret: None
    forget: Callable[[Secret], None] = lambda stored: None


_offered: dict[str, Source] = {}


def offer(secret: str, source: Source) -> None:
    """Say where the next value of a secret comes from, when a plan is applied in this process."""
    _offered[secret] = source


def from_file(path: str) -> Source:
    """A file that holds the value and nothing else; it is removed once the value is stored."""

    def forget(stored: Secret) -> None:
        with suppress(BadInput, FileNotFoundError):  # it is gone already, or holds something else
            if _read_file(Path(path), stored.name) == stored:
                Path(path).unlink()

    return Source(
        lambda secret: _read_file(Path(path), secret),
        lambda secret: _refuse_unless_private(Path(path), there=True),
        forget,
    )


def asked() -> Source:
    """A person who types it, unseen."""
    return Source(_ask, _refuse_unless_answered)


def drawn(bits: int) -> Source:
    """Random bits of the system's, in hexadecimal."""
    return Source(lambda secret: Secret(secrets.token_hex(bits // 8), name=secret))


def check_file(path: str) -> None:
    """Raise BadInput for a file that is there and is not for its owner alone; reads none of it."""
    _refuse_unless_private(Path(path))


def next_version(versions: Versions) -> str:
    """The id of the version that comes after these: the same for the same ones. Pure."""
    known = " ".join(sorted(one.id for one in versions.versions))
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{versions.secret} after {known}"))


def plan_version(versions: Versions, *, to: str) -> Change:
    """The change that stores the version `to` under AWSPENDING. Pure."""
    before = {PENDING: versions.stages[PENDING]}
    return Change(VERSION, versions.target, before, {PENDING: to})


def plan_read(service: Service, *, secret: str, now: str | None, then: str) -> Change:
    """The change that has a service read the version `then` of a secret. Pure."""
    same = {"task_definition": service.task_definition}
    return Change(
        READ,
        service.target,
        before={f"{_READS}{secret}": now or EARLIER, **same},
        after={f"{_READS}{secret}": then, **same},
    )


# where values come from


def _read_file(path: Path, secret: str) -> Secret:
    _refuse_unless_private(path)
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}; it has to hold the new value.") from None
    with os.fdopen(opened, encoding="utf-8") as file:
        return _value(file.read(_MOST + 1), secret)


def _refuse_unless_private(path: Path, *, there: bool = False) -> None:
    if not path.is_absolute():
        raise BadInput(f"{path}: name the file by its whole path, from / on.")
    try:
        found = path.lstat()
    except FileNotFoundError:
        if there:
            raise BadInput(
                f"{path}: there is no such file; it has to hold the new value."
            ) from None
        return
    private = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    if not private or stat.S_IMODE(found.st_mode) & 0o077:
        raise BadInput(
            f"{path}: expected a file of your own with mode 0600, "
            f"found {stat.filemode(found.st_mode)}.",
            next=f"chmod 600 {path}; if others could read it, the key is no secret any more.",
        )


def _ask(secret: str) -> Secret:
    from getpass import getpass  # a kernel's own, which asks without showing

    return _value(getpass(f"The new value of {secret} (not shown): "), secret)


def _refuse_unless_answered(secret: str) -> None:
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython and ipython.get_ipython(), "kernel", None)
    if not getattr(kernel, "_allow_stdin", False):
        raise BadInput(
            f"Nobody can be asked for the new value of {secret} here.",
            next="Name a file with mode 0600 that holds it, or apply the plan in JupyterLab.",
        )


def _value(text: str, secret: str) -> Secret:
    """Raises BadInput for what cannot be a key, without saying what it is."""
    value = text.strip()
    Secret(text, name=secret)
    found = Secret(value, name=secret)
    if (
        not _LEAST <= len(value) <= _MOST
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise BadInput(
            f"The new value of {secret} has {len(value)} letters; expected one word of "
            f"{_LEAST} or more, printable.",
            next="Look at what was copied: a line break, a quotation mark, half of it.",
        )
    return found


# a version that is stored and tried


def _read_stages(clients: Clients, target: str) -> Json:
    return secretsmanager.read_stages(clients, target)


def _judge_version(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """What is stored and not current yet is to be tried once more.

    Raises BadInput while there is nothing to store.
    """
    found, wanted = _read_stages(clients, change.target), change.after[PENDING]
    if found[PENDING] == wanted and wanted in (None, found[CURRENT]):
        return Judgement("holds")
    if found[PENDING] == wanted:
        return Judgement("to do")
    if matches(change.before, found):
        if wanted is not None and not _is_stored(clients, change):
            secret = change.target.removeprefix("secret:")
            _source(secret).refuse_unless_ready(secret)
        return Judgement("to do")
    return Judgement("moved", tuple(differences(change.before, found)))


def _store(clients: Clients, change: Change, intent: Intent) -> None:
    """Store it unless it is there, and try what is stored. Raises Failed: it is not accepted."""
    secret, wanted = change.target.removeprefix("secret:"), change.after[PENDING]
    if wanted is None:
        secretsmanager.move_labels(clients, change)
    elif _is_stored(clients, change):  # by a run that was cut off, or it was current once
        secretsmanager.move_labels(clients, change)
        if secret in _offered:
            _offered[secret].forget(clients.secret(secret, version=wanted))
    else:
        _put(clients, secret, wanted)
    if wanted is not None and not intent.detail.get("takes_back"):
        _try(clients, secret, wanted)


def _is_stored(clients: Clients, change: Change) -> bool:
    secret = change.target.removeprefix("secret:")
    found = secretsmanager.read_versions(clients.aws("secretsmanager"), secret)
    return change.after[PENDING] in [one.id for one in found.versions]


def _source(secret: str) -> Source:
    if secret not in _offered:
        raise BadInput(f"Nobody has offered a new value of {secret}.")
    return _offered[secret]


def _put(clients: Clients, secret: str, version: str) -> None:
    source = _source(secret)
    value = source.take(secret)
    if value == clients.secret(secret):
        raise BadInput(f"That is the value that {secret} has already.")
    clients.aws("secretsmanager").put_secret_value(
        SecretId=secret,
        ClientRequestToken=version,  # sent twice it is stored once
        SecretString=value.reveal(),
        VersionStages=[PENDING],
    )
    source.forget(value)


def _try(clients: Clients, secret: str, version: str) -> None:
    found = providers.of_secret(clients.environment.providers, secret)
    if found is None:
        return
    name, provider = found
    status = providers.tried(clients, provider, clients.secret(secret, version=version))
    if status != providers.ACCEPTED:
        raise Failed(
            f"{name} answers {status} to the new key; no service has been given it.",
            next="Make another key at the provider, and plan again.",
        )
    print(f"{name} accepts the new key, version {version}.", flush=True)


# a service that reads it


def _read_versions(clients: Clients, target: str) -> Json:
    """Which version of each secret a service reads. Tasks of before its last change may have
    been given an earlier one: nobody keeps which."""
    client, manager = clients.aws("ecs"), clients.aws("secretsmanager")
    service = _service(clients, target)
    known = secretsmanager.read_secrets(manager)
    found: dict[str, Json] = {"task_definition": service.task_definition}
    for reference in ecs.read_references(client, [service]):
        secret = secretsmanager.referred(known, reference.value_from)
        if secret is None:
            continue
        current = secretsmanager.read_stages(clients, f"secret:{secret.name}")[CURRENT]
        whole = all(_began(one) >= secret.changed_at for one in service.deployments)
        found[f"{_READS}{secret.name}"] = current if whole else EARLIER
    return found


def _began(deployment: ecs.Deployment) -> datetime:
    return deployment.created_at or datetime.min.replace(tzinfo=UTC)


def _judge_read(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    found = _read_versions(clients, change.target)
    if found["task_definition"] != change.before["task_definition"]:
        return Judgement("moved", tuple(differences(change.before, found)))
    return Judgement("holds" if matches(change.after, found) else "to do")


def _has_begun(clients: Clients, change: Change, intent: Intent | None = None) -> bool:
    """Whether the deployment that a service has is one of after the secret's last change."""
    secret = _secret_of(change)
    known = secretsmanager.read_secrets(clients.aws("secretsmanager"))
    changed_at = next(one.changed_at for one in known if one.name == secret)
    current = _service(clients, change.target).deployment
    return bool(current and _began(current) >= changed_at)


def _restart(clients: Clients, change: Change, intent: Intent) -> None:
    """Restart, follow to the end, and watch. Raises Failed."""
    cluster, name = ecs.named(change.target)
    if not _has_begun(clients, change):
        clients.aws("ecs", once=True).update_service(
            cluster=cluster, service=name, forceNewDeployment=True
        )
    service = _service(clients, change.target)
    deployments.follow(clients, service, revision=change.after["task_definition"])
    if not intent.detail.get("takes_back"):
        _watch(clients, change.target, _secret_of(change))


def _watch(clients: Clients, target: str, secret: str) -> None:
    """See for a while that the service stays whole and its provider answers. Raises Failed."""
    settings = clients.environment.providers
    found = providers.of_secret(settings, secret)
    began = datetime.now(UTC)
    latest = [""]

    def gone_wrong() -> None:
        _refuse_sick(clients, _service(clients, target))
        if found:
            latest[0] = _refuse_failing(clients, found[0], Window(began, datetime.now(UTC)))

    with suppress(DeadlinePassed):
        Wait(settings.watch_s, interval_s=10, factor=clients.environment.waits.factor).until(
            gone_wrong, what="anything to go wrong"
        )
    if latest[0]:
        print(latest[0], flush=True)


def _refuse_sick(clients: Clients, service: Service) -> None:
    targets = alb.read_targets_of(clients.aws("elbv2"), service.target_groups)
    sick = sum(one.state == "unhealthy" for one in targets)
    if sick or service.running_count < service.desired_count:
        raise Failed(
            f"{service.name} does not stay whole with it: {service.running_count} of "
            f"{service.desired_count} tasks run, {sick} targets are unhealthy."
        )


def _refuse_failing(clients: Clients, name: str, window: Window) -> str:
    """What a provider's requests came to; raises Failed when too many have failed."""
    settings = clients.environment.providers
    rate = providers.read_rates(clients, window)[name]
    told = f"{name}: {rate.failed} of {rate.requests} requests failed since"
    too_many = rate.failed_percent > settings.errors_percent.critical
    if rate.requests >= settings.least_requests and too_many:
        most = settings.errors_percent.critical
        raise Failed(f"{told}: {rate.failed_percent:.0f} %, over {most:g} %.")
    return f"{told} it was brought in."


def _secret_of(change: Change) -> str:
    (found,) = [key.removeprefix(_READS) for key in change.after if key.startswith(_READS)]
    return str(found)


def _service(clients: Clients, target: str) -> Service:
    cluster, name = ecs.named(target)
    return ecs.read_service(clients.aws("ecs"), cluster=cluster, service=name)


def _one(change: Change) -> Mapping[str, float]:
    return {"secrets": 1}


register(
    VERSION,
    read=_read_stages,
    apply=_store,
    judge=_judge_version,
    measure=_one,
)
register(
    READ,
    read=_read_versions,
    apply=_restart,
    judge=_judge_read,
    settled=_has_begun,
    trails=True,
)
