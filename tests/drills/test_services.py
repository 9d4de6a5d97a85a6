"""Drills that break services: seen in ECS, mended by deploying, scaling, or moving a secret."""

from __future__ import annotations

import json

import pytest
from tests.drills.conftest import Begin, Broken, together
from tests.moving_studio import MovingStudio

from runbook.errors import NotReachable
from studio_sandbox.control_plane import names
from studio_sandbox.drills import drill as drills


def roll_back(one: Broken, *services: str) -> None:
    """To the revision before the one that runs, as an engineer would who has looked it up."""
    for service in services:
        one.studio.update(service, taskDefinition=earlier(one.studio, service))


def earlier(studio: MovingStudio, service: str) -> str:
    arns = studio.ecs.list_task_definitions(familyPrefix=service, sort="DESC")["taskDefinitionArns"]
    running = studio.service(service)["taskDefinition"]
    return str(arns[arns.index(running) + 1])


def reasons(studio: MovingStudio, service: str) -> str:
    stopped = studio.tasks(service, "STOPPED")
    return " ".join(task.get("stoppedReason", "") for task in stopped)


def test_bad_deploy_is_mended_when_all_services_run_one_commit(begin: Begin) -> None:
    with begin("bad-deploy") as one:
        crashed = one.details["service"]
        others = [name for name in names.SERVICES if name != crashed]
        events = " ".join(e["message"] for e in one.studio.service(crashed)["events"])
        assert "rolling back to deployment" in events
        assert one.details["error"] in str(raw_lines(one.studio, crashed))
        roll_back(one, others[0])
        one.studio.until_steady(others[0])
        assert one.findings()  # two more are left
        roll_back(one, *others[1:])
        assert one.until_mended().unneeded == ()


def raw_lines(studio: MovingStudio, service: str) -> list[str]:
    found = studio.client("logs").filter_log_events(
        logGroupName=names.LOG_GROUPS[service],
        startTime=int(studio.box.anchor.timestamp() * 1000),
    )
    return [event["message"] for event in found["events"]]


def test_four_services_broken_at_once_are_judged_and_mended_one_by_one(
    studio: MovingStudio,
) -> None:
    """Each drill knows its own: what mends the others is neither needed nor unneeded."""
    seeds = {"sick-deploy": 1, "secret-denied": 4, "image-missing": 7, "capacity-short": 1}
    with together(studio, seeds) as broken:
        sick, denied, missing, short = broken.values()
        services = {one.details["service"] for one in broken.values()}
        assert len(services) == 4, services

        assert set(studio.healths(sick.details["service"])) == {"healthy"}
        assert "ResourceInitializationError" in reasons(studio, denied.details["service"])
        assert "CannotPullContainerError" in reasons(studio, missing.details["service"])
        for one in (denied, missing):
            assert studio.service(one.details["service"])["runningCount"] == 0
            studio.update(one.details["service"], forceNewDeployment=True)  # helps nobody

        role = f"{denied.details['service']}-execution"
        allow = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        iam = studio.client("iam")
        iam.put_role_policy(RoleName=role, PolicyName="more", PolicyDocument=document)
        studio.update(short.details["service"], desiredCount=short.details["needed"])
        studio.until_steady(denied.details["service"])
        studio.until_steady(short.details["service"])
        assert short.findings()  # auto scaling would take the tasks away again
        assert denied.until_mended().unneeded == ()
        assert missing.findings()
        assert sick.findings()

        roll_back(missing, missing.details["service"])
        roll_back(sick, sick.details["service"])
        studio.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="ecs",
            ScalableDimension="ecs:service:DesiredCount",
            ResourceId=f"service/{names.CLUSTER}/{short.details['service']}",
            MaxCapacity=short.details["needed"] + 2,
        )
        for one in (missing, sick, short):
            assert one.until_mended().unneeded == ()
        iam.delete_role_policy(RoleName=role, PolicyName="more")


def test_database_unreachable_is_mended_by_the_earlier_secret_and_by_nothing_else(
    begin: Begin,
) -> None:
    with begin("database-unreachable") as one:
        studio, secrets = one.studio, one.studio.client("secretsmanager")
        assert studio.ask("/v1/health", host=names.API_HOST).status == 503
        network = studio.client("ec2")
        (group,) = network.describe_security_groups(
            Filters=[{"Name": "group-name", "Values": ["ai-studio-database"]}]
        )["SecurityGroups"][:1]
        opened = {"GroupId": group["GroupId"], "IpProtocol": "tcp", "CidrIp": "10.0.0.0/8"}
        network.authorize_security_group_ingress(FromPort=5432, ToPort=5432, **opened)
        told = one.judge()
        assert not told.mended
        (change,) = told.unneeded
        assert "security group ai-studio-database" in change
        network.revoke_security_group_ingress(FromPort=5432, ToPort=5432, **opened)
        versions = secrets.describe_secret(SecretId=names.DATABASE_URL)["VersionIdsToStages"]
        by_stage = {stage: version for version, found in versions.items() for stage in found}
        with pytest.raises(NotReachable, match="finds nothing to break"):
            drills.start(studio.box, "usage-drift", 1)
        secrets.update_secret_version_stage(
            SecretId=names.DATABASE_URL,
            VersionStage="AWSCURRENT",
            MoveToVersionId=by_stage["AWSPREVIOUS"],
            RemoveFromVersionId=by_stage["AWSCURRENT"],
        )
        assert one.until_mended().unneeded == ()
