"""database-unreachable: the DSN secret was changed to a place where no database answers."""

from __future__ import annotations

import random
from urllib.parse import urlsplit

import psycopg2

from studio_sandbox.control_plane import names
from studio_sandbox.drills import services
from studio_sandbox.drills.drill import Details, Drill, RunSection, plan_and_apply
from studio_sandbox.drills.studio import Studio

_DEAD_PORTS = range(2, 7)  # privileged ones, of services that nobody has run for decades


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {"port": dice.choice(_DEAD_PORTS)}


def _start(studio: Studio, details: Details) -> None:
    secrets = studio.pipeline("secretsmanager", session="Terraform")
    stages = _stages(studio)
    details["current"], details["previous"] = stages["AWSCURRENT"], stages.get("AWSPREVIOUS", "")
    details["services"] = services.consumers(studio, names.DATABASE_URL)
    right = urlsplit(studio.database_url)
    login = right.netloc.rpartition("@")[0]
    wrong = right._replace(netloc=f"{login}@127.0.0.1:{details['port']}").geturl()
    made = secrets.put_secret_value(SecretId=names.DATABASE_URL, SecretString=wrong)
    details["wrong"] = made["VersionId"]
    for service in details["services"]:
        _replace_tasks(studio, service)
    studio.until(lambda: _are_down(studio, details), "the services have started with it")


def _stages(studio: Studio) -> dict[str, str]:
    found = studio.aws("secretsmanager").describe_secret(SecretId=names.DATABASE_URL)
    return {
        stage: version for version, stages in found["VersionIdsToStages"].items()
        for stage in stages
    }  # fmt: skip


def _replace_tasks(studio: Studio, service: str) -> None:
    ecs = studio.pipeline("ecs", session="Terraform")
    for task in services.tasks(studio, service):
        ecs.stop_task(cluster=names.CLUSTER, task=task["taskArn"], reason="node maintenance")


def _are_down(studio: Studio, details: Details) -> bool:
    """No task of before is left: what runs now was started with the wrong value."""
    answers = {studio.status("/api/v1/health") for _ in range(4)}
    return answers == {503} and bool(services.wrong(studio, details["services"])) | (
        studio.box.still
    )


def _judge(studio: Studio, details: Details) -> list[str]:
    """What the secret names answers, and its consumers run with it."""
    findings = services.wrong(studio, details["services"])
    try:
        psycopg2.connect(studio.database_url, connect_timeout=3).close()
    except psycopg2.Error as error:
        findings.append(f"the database that the secret names: {' '.join(str(error).split())}")
    sick = [status for _ in range(6) if (status := studio.status("/api/v1/health")) != 200]
    if sick:
        findings.append(f"/api/v1/health answers {sick[0]}")
    return findings


def _clean_up(studio: Studio, details: Details) -> None:
    if "services" not in details:
        return
    if _stages(studio)["AWSCURRENT"] == details.get("wrong"):
        studio.pipeline("secretsmanager", session="Terraform").update_secret_version_stage(
            SecretId=names.DATABASE_URL,
            VersionStage="AWSCURRENT",
            MoveToVersionId=details["current"],
            RemoveFromVersionId=details["wrong"],
        )
    if _judge(studio, details):
        for service in details["services"]:
            services.deploy(studio, service, forceNewDeployment=True)
    studio.until(lambda: not _judge(studio, details), "the database's consumers are well")


def _mend(run: RunSection) -> None:
    plan_and_apply(run, "restore-secret", secret=names.DATABASE_URL)


DATABASE_UNREACHABLE = Drill(
    name="database-unreachable",
    symptom="Nobody can sign in: every page says that something went wrong.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
    needed=("secret AI_STUDIO_DATABASE_URL: *",),
)
