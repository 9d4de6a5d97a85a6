"""Task definitions: what is in a revision, and one that is like it but for what was edited.

    now = definitions.read(ecs, "backend:49")
    then = now.with_image(tag="9dfb996…").with_settings({"GIT_SHA": "9dfb996…"})
    definitions.plan_deploy(service, now, then)

A revision never changes, so one that is like it is known before it is registered: by the hash of
what is in it. Whoever registers one looks first for a newer revision with that content, so that
nothing is registered twice, however often it is tried and whatever cut it off.

Kinds of change: `ecs-revision` (a revision is registered; target `revision:FAMILY:NUMBER/HASH`:
like that one, with this content) and `ecs-deploy` (a service is brought to a revision, and the
deployment is followed to COMPLETED; target `ecs:CLUSTER/SERVICE`).

Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import rfc8785

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import KNOWN_AFTER_APPLY, Change, Json, Plan, differences, matches
from runbook.clients import Clients
from runbook.errors import BadInput, Failed, NotVerified
from runbook.record.journal import Intent
from runbook.studio import deployments, ecs
from runbook.studio.ecs import Service

REVISION, DEPLOY = "ecs-revision", "ecs-deploy"
_GIVEN_BY_ECS = (
    "taskDefinitionArn", "revision", "status", "requiresAttributes", "compatibilities",
    "registeredAt", "registeredBy", "deregisteredAt", "deleteRequestedAt",
)  # fmt: skip
_IMAGE = re.compile(r"(?P<repository>.+?)(:(?P<tag>[^:@/]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?")


@dataclass(frozen=True)
class Definition:
    """A revision, or what is to become one. `like` is the revision (`family:number`) it is from.

    `content` is what RegisterTaskDefinition takes.
    """

    like: str
    content: Mapping[str, Any]

    @property
    def family(self) -> str:
        return self.like.rpartition(":")[0]

    @property
    def hash(self) -> str:
        """Sixteen hex characters that name what is in it."""
        return hashlib.sha256(rfc8785.dumps(dict(self.content))).hexdigest()[:16]

    @property
    def target(self) -> str:
        """What is locked and guarded while it is registered."""
        return f"revision:{self.like}/{self.hash}"

    @property
    def image(self) -> str:
        """The image of its first container, which is the service's own."""
        return str(self.content["containerDefinitions"][0]["image"])

    @property
    def repository(self) -> str:
        """Where that image is, without a tag: `REGISTRY/NAME`."""
        return _split(self.image)[0]

    @property
    def tag(self) -> str:
        """What that image is tagged with."""
        return _split(self.image)[1]

    @property
    def settings(self) -> dict[str, str]:
        """The plain settings of its first container."""
        first = self.content["containerDefinitions"][0]
        return {one["name"]: one["value"] for one in first.get("environment", ())}

    def flat(self) -> dict[str, str]:
        """All that is in it, one line of text each, by what it is about."""
        whole = {k: v for k, v in self.content.items() if k != "containerDefinitions"}
        found = {key: _text(value) for key, value in whole.items()}
        for container in self.content["containerDefinitions"]:
            found |= dict(_lines(container))
        return found

    def with_image(self, *, tag: str) -> Definition:
        """The same with another tag, in every container that has the service's own image."""
        return self._edited(
            {
                f"{one['name']} image's tag": tag
                for one in self.content["containerDefinitions"]
                if _split(one["image"])[0] == self.repository
            }
        )

    def with_settings(self, settings: Mapping[str, str]) -> Definition:
        """The same with other values of plain settings, in every container that has them.

        Raises BadInput for a setting that no container has.
        """
        containers = self.content["containerDefinitions"]
        wanted = {
            f"{one['name']} setting {each['name']}": settings[each["name"]]
            for one in containers
            for each in one.get("environment", ())
            if each["name"] in settings
        }
        if lost := [name for name in settings if not any(k.endswith(f" {name}") for k in wanted)]:
            raise BadInput(f"{self.like} has no setting {', '.join(lost)}.")
        return self._edited(wanted)

    def edits_to(self, other: Definition) -> dict[str, str]:
        """What differs in another one, as it is there."""
        mine = self.flat()
        return {key: value for key, value in other.flat().items() if mine.get(key) != value}

    def _edited(self, edits: Mapping[str, str]) -> Definition:
        """With these values; their keys are those of `flat`."""
        containers = [dict(one) for one in self.content["containerDefinitions"]]
        for key, value in edits.items():
            name, _, about = key.partition(" ")
            (container,) = [one for one in containers if one["name"] == name]
            if about == "image's tag":
                container["image"] = image(_split(container["image"])[0], value)
                continue
            setting = about.removeprefix("setting ")
            container["environment"] = [
                {**one, "value": value} if one["name"] == setting else one
                for one in container["environment"]
            ]
        return replace(self, content={**self.content, "containerDefinitions": containers})


def read(client: Any, name: str) -> Definition:
    """A revision by its name, `family:number`."""
    found = client.describe_task_definition(taskDefinition=name)["taskDefinition"]
    content = {key: value for key, value in found.items() if key not in _GIVEN_BY_ECS}
    return Definition(f"{found['family']}:{found['revision']}", content)


def find(client: Any, wanted: Definition) -> str:
    """The newest revision with this content that was registered after the one that it is like.

    Empty when there is none.
    """
    return _find(client, wanted.like, wanted.hash)


def plan_deploy(service: Service, now: Definition, then: Definition, *, known: str) -> Plan:
    """The plan that registers `then`, which is like `now`, and brings the service to it. Pure.

    `known` is a revision with that content that is there already; empty: it is registered first.
    Without changes when the service runs that content.
    """
    edits = now.edits_to(then)
    mine = now.flat()
    made = Change(
        REVISION,
        then.target,
        before={"revision": "", **{key: mine.get(key, "") for key in edits}},
        after={"revision": KNOWN_AFTER_APPLY, **edits},
    )
    deployed = Change(
        DEPLOY,
        service.target,
        before={"task_definition": service.task_definition, "content": now.hash},
        after={"task_definition": known or KNOWN_AFTER_APPLY, "content": then.hash},
    )
    return Plan(
        title=f"Deploy {service.name}",
        risk="high",
        changes=() if not edits else (deployed,) if known else (made, deployed),
        way_back=f"undo deploys {service.task_definition} again: one more rolling deployment. "
        "What was registered stays: a revision that nobody runs costs nothing.",
    )


def image(repository: str, tag: str) -> str:
    """An image as a task definition names it; the tag may be a digest. Pure."""
    return f"{repository}{'@' if tag.startswith('sha256:') else ':'}{tag}"


def _split(image: str) -> tuple[str, str]:
    """Repository and tag (or digest) of an image."""
    found = _IMAGE.fullmatch(image)
    if found is None:
        return image, ""
    return found["repository"], found["digest"] or found["tag"] or "latest"


def _lines(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name = container["name"]
    for key, value in container.items():
        if key == "environment":
            yield from ((f"{name} setting {one['name']}", one["value"]) for one in value)
        elif key == "secrets":
            yield from ((f"{name} secret {one['name']}", one["valueFrom"]) for one in value)
        elif key == "image":
            repository, tag = _split(value)
            yield from ((f"{name} image", repository), (f"{name} image's tag", tag))
        elif key != "name":
            yield f"{name} {key}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else rfc8785.dumps(value).decode()


def _find(client: Any, like: str, wanted: str) -> str:
    family, _, number = like.rpartition(":")
    pages = client.get_paginator("list_task_definitions").paginate(familyPrefix=family, sort="DESC")
    for page in pages:
        for arn in page["taskDefinitionArns"]:
            name = arn.rsplit("/", 1)[-1]
            if name.rpartition(":")[0] != family:
                continue  # a family whose name begins with this one's
            if int(name.rpartition(":")[2]) <= int(number):
                return ""
            if read(client, name).hash == wanted:
                return str(name)
    return ""


# the kinds of change


def _named(target: str) -> tuple[str, str]:
    """The revision that one is like, and the hash of its content."""
    like, _, content = target.removeprefix("revision:").partition("/")
    return like, content


def _read_revision(clients: Clients, target: str) -> Json:
    client = clients.aws("ecs")
    like, content = _named(target)
    found = _find(client, like, content)
    return {"revision": found, **read(client, found or like).flat()}


def _register(clients: Clients, change: Change, intent: Intent) -> None:
    """Register it with all that the other one has, its tags too.

    Raises Failed before that when what would be registered is not what was reviewed.
    """
    like, content = _named(change.target)
    client = clients.aws("ecs")
    edits = {key: value for key, value in change.after.items() if key != "revision"}
    wanted = read(client, like)._edited(edits)
    if wanted.hash != content:
        raise Failed(f"{like} with these edits is not what was planned; nothing was registered.")
    tags = client.describe_task_definition(taskDefinition=like, include=["TAGS"]).get("tags", [])
    commit = clients.environment.ecs.commit_tag
    tags = [{**one, "value": wanted.tag} if one["key"] == commit else one for one in tags]
    clients.aws("ecs", once=True).register_task_definition(
        **wanted.content, **({"tags": tags} if tags else {})
    )


def read_deployed(clients: Clients, target: str) -> Json:
    """What a service is on: its revision, what is in it, its image, and whether it is COMPLETED."""
    client = clients.aws("ecs")
    service = _service(clients, target)
    current = read(client, service.task_definition)
    done = [one.rollout_state for one in service.deployments] == ["COMPLETED"]
    return {
        "task_definition": service.task_definition,
        "content": current.hash,
        "image": current.image,
        "completed": done,
    }


def _judge_deployed(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """It holds once its deployment is completed; until then there is something to follow."""
    found = read_deployed(clients, change.target)
    if matches(change.after, found):
        return Judgement("holds" if found["completed"] else "to do")
    if matches(change.before, found):
        return Judgement("to do")
    return Judgement("moved", tuple(differences(change.before, found)))


def bring(clients: Clients, target: str, revision: str) -> None:
    """Bring a service to a revision, unless it is, and follow the deployment to its end."""
    service = _service(clients, target)
    if service.task_definition != revision:
        clients.aws("ecs", once=True).update_service(
            cluster=service.cluster, service=service.name, taskDefinition=revision
        )
        service = _service(clients, target)
    deployments.follow(clients, service, revision=revision)


def _deploy(clients: Clients, change: Change, intent: Intent) -> None:
    wanted = change.after["task_definition"]
    if wanted == KNOWN_AFTER_APPLY:
        before, content = change.before["task_definition"], change.after["content"]
        wanted = _find(clients.aws("ecs"), before, content)
        if not wanted:
            raise NotVerified(f"There is no revision with the content {content}.")
    bring(clients, change.target, wanted)


def _service(clients: Clients, target: str) -> Service:
    cluster, name = ecs.named(target)
    return ecs.read_service(clients.aws("ecs"), cluster=cluster, service=name)


register(
    REVISION,
    read=_read_revision,
    apply=_register,
    take_back=lambda change, rows, done: None,  # nobody runs it: nothing is owed
)
register(DEPLOY, read=read_deployed, apply=_deploy, judge=_judge_deployed)
