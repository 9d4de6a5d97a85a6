"""Services and tasks that move: rollouts, scaling, failures, rollbacks, one-off tasks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

DEADLINE_S = 15.0
SOON = {"Delay": 0.1, "MaxAttempts": 600}  # for a waiter
Service = dict[str, Any]


class Studio:
    """What the tests ask of a running control plane, and how they wait for it."""

    def __init__(self, control_plane: Any) -> None:
        self.control = control_plane.control
        self.reset = control_plane.reset
        self.client = control_plane.client
        self.ecs, self.elb = self.client("ecs"), self.client("elbv2")

    def service(self, name: str) -> Service:
        answer = self.ecs.describe_services(cluster=names.CLUSTER, services=[name])
        return dict(answer["services"][0])

    def update(self, name: str, **wanted: Any) -> Service:
        answer = self.ecs.update_service(cluster=names.CLUSTER, service=name, **wanted)
        return dict(answer["service"])

    def tasks(self, name: str, status: str = "RUNNING") -> list[dict[str, Any]]:
        asked = {"cluster": names.CLUSTER, "serviceName": name, "desiredStatus": status}
        arns = self.ecs.list_tasks(**asked)["taskArns"]
        if not arns:
            return []
        return list(self.ecs.describe_tasks(cluster=names.CLUSTER, tasks=arns)["tasks"])

    def healths(self, name: str) -> list[str]:
        (group,) = self.elb.describe_target_groups(Names=[names.TARGET_GROUPS[name]])[
            "TargetGroups"
        ]
        found = self.elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"])
        return [one["TargetHealth"]["State"] for one in found["TargetHealthDescriptions"]]

    def revise(self, name: str, **changed: Any) -> str:
        """Register the running revision again with its container changed; gives its ARN."""
        running = self.service(name)["taskDefinition"]
        found = self.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
        kept = ("family", "networkMode", "cpu", "memory", "executionRoleArn", "taskRoleArn",
                "requiresCompatibilities")  # fmt: skip
        containers = [found["containerDefinitions"][0] | changed]
        made = self.ecs.register_task_definition(
            **{key: found[key] for key in kept}, containerDefinitions=containers
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if found := holds():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {DEADLINE_S} s: {what}")

    def until_steady(self, name: str) -> Service:
        return dict(self.until(lambda: self._steady(name), f"{name} is steady"))

    def _steady(self, name: str) -> Service | None:
        found = self.service(name)
        completed = [d["rolloutState"] for d in found["deployments"]] == ["COMPLETED"]
        running = found["runningCount"] == found["desiredCount"] and not found["pendingCount"]
        said = found["events"][0]["message"].endswith("has reached a steady state.")
        return found if completed and running and said else None


@pytest.fixture
def studio(fresh_control_plane: Any) -> Studio:
    return Studio(fresh_control_plane)


def messages(service: Service) -> str:
    return "\n".join(event["message"] for event in service["events"])


def test_new_revision_completes_and_its_targets_are_healthy(studio: Studio) -> None:
    before = studio.service(names.BACKEND)
    revision = studio.revise(names.BACKEND, environment=[{"name": "NEW", "value": "1"}])
    answered = studio.update(names.BACKEND, taskDefinition=revision)
    new, old = answered["deployments"]
    assert (new["status"], new["rolloutState"], new["taskDefinition"]) == (
        "PRIMARY",
        "IN_PROGRESS",
        revision,
    )
    assert (old["status"], old["id"]) == ("ACTIVE", before["deployments"][0]["id"])
    least = fewest_running_until_completed(studio, names.BACKEND)
    found = studio.until_steady(names.BACKEND)
    assert least >= before["desiredCount"]
    assert [one["id"] for one in found["deployments"]] == [new["id"]]
    assert {task["taskDefinitionArn"] for task in studio.tasks(names.BACKEND)} == {revision}
    assert studio.healths(names.BACKEND) == ["healthy"] * found["desiredCount"]
    assert f"(deployment {new['id']}) deployment completed." in messages(found)
    stopped = studio.until(lambda: studio.tasks(names.BACKEND, "STOPPED"), "old tasks are listed")
    assert {task["stopCode"] for task in stopped} == {"ServiceSchedulerInitiated"}
    assert {task["stoppedReason"] for task in stopped} == {
        f"Scaling activity initiated by (deployment {new['id']})"
    }


def fewest_running_until_completed(studio: Studio, service: str) -> int:
    counts: list[int] = []

    def completed() -> bool:
        found = studio.service(service)
        counts.append(found["runningCount"])
        return bool(found["deployments"][0]["rolloutState"] == "COMPLETED")

    studio.until(completed, "completed")
    return min(counts)


def test_desired_count_goes_up_and_down_in_the_same_deployment(studio: Studio) -> None:
    (before,) = studio.service(names.GATEWAY)["deployments"]
    for count in (5, 2):
        answered = studio.update(names.GATEWAY, desiredCount=count)
        assert (answered["desiredCount"], answered["runningCount"] != count) == (count, True)
        assert [one["id"] for one in answered["deployments"]] == [before["id"]]
        found = studio.until_steady(names.GATEWAY)
        assert found["runningCount"] == found["deployments"][0]["desiredCount"] == count
        assert studio.healths(names.GATEWAY) == ["healthy"] * count
    assert len({task["availabilityZone"] for task in studio.tasks(names.GATEWAY)}) == 2


def test_forced_deployment_replaces_all_tasks_and_the_waiter_waits_for_it(studio: Studio) -> None:
    before = studio.service(names.FRONTEND)
    earlier = {task["taskArn"] for task in studio.tasks(names.FRONTEND)}
    studio.update(names.FRONTEND, forceNewDeployment=True)
    waiter = studio.ecs.get_waiter("services_stable")
    waiter.wait(
        cluster=names.CLUSTER,
        services=[names.FRONTEND],
        WaiterConfig={"Delay": 0.1, "MaxAttempts": 150},
    )
    found = studio.until_steady(names.FRONTEND)
    assert found["taskDefinition"] == before["taskDefinition"]
    assert found["deployments"][0]["id"] != before["deployments"][0]["id"]
    later = {task["taskArn"] for task in studio.tasks(names.FRONTEND)}
    assert len(later) == found["desiredCount"]
    assert not later & earlier


# How a revision's tasks fail to start, each in a service of its own.
FAILING = {
    "image": names.WORKER,
    "secret": names.GATEWAY,
    "denied": names.BACKEND,
    "crash": names.FRONTEND,
}


def failing(studio: Studio, kind: str) -> tuple[str, str, str]:
    """A service, a revision of it that fails in one way, and what AWS says of its tasks."""
    service = FAILING[kind]
    found = studio.service(service)["taskDefinition"]
    container = studio.ecs.describe_task_definition(taskDefinition=found)["taskDefinition"][
        "containerDefinitions"
    ][0]
    if kind == "image":
        image = container["image"].rsplit(":", 1)[0] + ":0000000"
        return service, studio.revise(service, image=image), "CannotPullContainerError"
    if kind == "crash":
        revision = studio.revise(service)
        name = revision.rsplit("/", 1)[-1]
        studio.control("POST", "faults", {"behaviour": "crash", "revision": name, "exit_code": 3})
        return service, revision, "Essential container in task exited"
    arn = container["secrets"][0]["valueFrom"]
    if kind == "denied":
        arn = studio.client("secretsmanager").describe_secret(SecretId=names.HYPERPAY_KEY)["ARN"]
        says = "AccessDeniedException"
    else:
        arn, says = arn[: arn.rindex("secret:")] + "secret:NO_SUCH-AbCdEf", "AccessDeniedException"
    secrets = [{"name": "KEY", "valueFrom": arn}]
    return service, studio.revise(service, secrets=secrets), says


def test_revisions_whose_tasks_cannot_start_are_rolled_back(studio: Studio) -> None:
    earlier = {service: studio.tasks(service) for service in FAILING.values()}
    updated = {}
    for kind in FAILING:
        service, revision, says = failing(studio, kind)
        updated[kind] = studio.update(service, taskDefinition=revision)["deployments"], says
    for kind, (deployments, says) in updated.items():
        rolled_back(studio, FAILING[kind], deployments)
        same = {task["taskArn"] for task in earlier[FAILING[kind]]}
        assert {task["taskArn"] for task in studio.tasks(FAILING[kind])} == same
        failed_to_start(studio.tasks(FAILING[kind], "STOPPED"), says, crashed=kind == "crash")


def rolled_back(studio: Studio, service: str, deployments: list[dict[str, Any]]) -> None:
    failed, back_to = deployments
    studio.until(lambda: "rolling back to" in messages(studio.service(service)), "rolls back")
    studio.ecs.get_waiter("services_stable").wait(  # content with a rollback, as on AWS
        cluster=names.CLUSTER, services=[service], WaiterConfig={"Delay": 0.1, "MaxAttempts": 150}
    )
    found = studio.until_steady(service)
    assert [one["id"] for one in found["deployments"]] == [back_to["id"]]
    assert found["taskDefinition"] == back_to["taskDefinition"]
    said = f"(deployment {failed['id']}) deployment failed: tasks failed to start."
    assert said in messages(found)
    assert f"rolling back to deployment {back_to['id']}." in messages(found)


def failed_to_start(stopped: list[dict[str, Any]], says: str, *, crashed: bool) -> None:
    assert len(stopped) >= 3
    assert all(says in task["stoppedReason"] for task in stopped)
    codes = {task["containers"][0].get("exitCode") for task in stopped}
    assert codes == ({3} if crashed else {None})
    why = "EssentialContainerExited" if crashed else "TaskFailedToStart"
    assert {task["stopCode"] for task in stopped} == {why}


def test_missing_secret_that_the_role_may_read_is_not_found(studio: Studio) -> None:
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:NO_SUCH-AbCdEf"
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", '
        '"Action": "secretsmanager:*", "Resource": "*"}]}'
    )
    role = f"{names.WORKER}-execution"
    studio.client("iam").put_role_policy(RoleName=role, PolicyName="all", PolicyDocument=policy)
    secrets = [{"name": "KEY", "valueFrom": arn}]
    studio.update(names.WORKER, taskDefinition=studio.revise(names.WORKER, secrets=secrets))
    stopped = studio.until(lambda: studio.tasks(names.WORKER, "STOPPED"), "a task failed")
    assert stopped[0]["stoppedReason"].startswith("ResourceInitializationError")
    assert "ResourceNotFoundException" in stopped[0]["stoppedReason"]


def test_revision_that_answers_500_is_never_healthy_and_rolled_back(studio: Studio) -> None:
    revision = studio.revise(names.GATEWAY)
    name = revision.rsplit("/", 1)[-1]
    studio.control("POST", "faults", {"behaviour": "unhealthy", "revision": name})
    before = studio.update(names.GATEWAY, taskDefinition=revision)
    found = studio.until_steady(names.GATEWAY)
    assert found["deployments"][0]["id"] == before["deployments"][1]["id"]
    assert "Health checks failed with these codes: [500]" in messages(found)
    stopped = studio.tasks(names.GATEWAY, "STOPPED")
    assert stopped
    assert all("Task failed ELB health checks in" in task["stoppedReason"] for task in stopped)
    assert studio.healths(names.GATEWAY) == ["healthy"] * found["desiredCount"]


def test_revision_that_falls_sick_later_is_replaced_until_it_is_well(studio: Studio) -> None:
    running = studio.service(names.FRONTEND)["taskDefinition"].rsplit("/", 1)[-1]
    earlier = {task["taskArn"] for task in studio.tasks(names.FRONTEND)}
    studio.control("POST", "faults", {"behaviour": "unhealthy", "revision": running})
    studio.until(lambda: not earlier & {t["taskArn"] for t in studio.tasks(names.FRONTEND)}, "gone")
    studio.control("DELETE", "faults")
    found = studio.until_steady(names.FRONTEND)
    assert found["deployments"][0]["rolloutState"] == "COMPLETED"
    assert studio.healths(names.FRONTEND) == ["healthy"] * found["desiredCount"]


def test_without_the_breaker_a_failing_revision_keeps_trying(studio: Studio) -> None:
    service, revision, _ = failing(studio, "image")
    limits = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
    studio.update(service, taskDefinition=revision, deploymentConfiguration=limits)
    studio.until(
        lambda: studio.service(service)["deployments"][0]["failedTasks"] > 3, "keeps failing"
    )
    found = studio.service(service)
    assert [one["rolloutState"] for one in found["deployments"]] == ["IN_PROGRESS", "COMPLETED"]
    assert found["deploymentConfiguration"]["maximumPercent"] == 200
    assert found["runningCount"] == found["desiredCount"]


def test_stopped_task_of_a_service_is_replaced(studio: Studio) -> None:
    earlier = [task["taskArn"] for task in studio.tasks(names.WORKER)]
    answered = studio.ecs.stop_task(cluster=names.CLUSTER, task=earlier[0], reason="sick")["task"]
    assert (answered["desiredStatus"], answered["stoppedReason"]) == ("STOPPED", "sick")
    found = studio.until(
        lambda: len(studio.tasks(names.WORKER)) == 2 and studio.until_steady(names.WORKER), "two"
    )
    now = [task["taskArn"] for task in studio.tasks(names.WORKER)]
    assert earlier[0] not in now
    assert earlier[1] in now
    (gone,) = studio.until(
        lambda: [t for t in studio.tasks(names.WORKER, "STOPPED") if t["lastStatus"] == "STOPPED"],
        "stopped",
    )
    assert (gone["stopCode"], gone["containers"][0]["exitCode"]) == ("UserInitiated", 143)
    assert found["deployments"][0]["failedTasks"] == 0


def test_task_of_its_own_whose_command_no_image_has_fails_to_start(studio: Studio) -> None:
    network = studio.service(names.BACKEND)["networkConfiguration"]
    command = [{"name": "backend", "command": ["make", "coffee"]}]
    asked = {"cluster": names.CLUSTER, "taskDefinition": names.BACKEND, "launchType": "FARGATE",
             "networkConfiguration": network, "clientToken": "once",
             "overrides": {"containerOverrides": command}}  # fmt: skip
    (task,) = studio.ecs.run_task(**asked)["tasks"]
    assert studio.ecs.run_task(**asked)["tasks"][0]["taskArn"] == task["taskArn"]
    assert (task["lastStatus"], task["group"]) == ("PROVISIONING", f"family:{names.BACKEND}")
    studio.ecs.get_waiter("tasks_stopped").wait(
        cluster=names.CLUSTER,
        tasks=[task["taskArn"]],
        WaiterConfig={"Delay": 0.1, "MaxAttempts": 150},
    )
    (found,) = studio.ecs.describe_tasks(cluster=names.CLUSTER, tasks=[task["taskArn"]])["tasks"]
    assert (found["stopCode"], found["stoppedReason"]) == (
        "TaskFailedToStart",
        "Task failed to start",
    )
    (container,) = found["containers"]
    assert container["exitCode"] == 127
    assert container["reason"].startswith("CannotStartContainerError: ")
    assert container["reason"].endswith('exec: "make": executable file not found in $PATH: unknown')
    assert "startedAt" not in found
    assert found["createdAt"] < found["pullStoppedAt"] < found["stoppedAt"]


def test_server_of_its_own_runs_until_it_is_stopped(studio: Studio) -> None:
    network = studio.service(names.BACKEND)["networkConfiguration"]
    asked = {"cluster": names.CLUSTER, "taskDefinition": names.BACKEND, "launchType": "FARGATE",
             "networkConfiguration": network}  # fmt: skip
    (task,) = studio.ecs.run_task(**asked)["tasks"]
    one = {"cluster": names.CLUSTER, "tasks": [task["taskArn"]]}
    studio.ecs.get_waiter("tasks_running").wait(**one, WaiterConfig=SOON)
    studio.ecs.stop_task(cluster=names.CLUSTER, task=task["taskArn"])
    studio.ecs.get_waiter("tasks_stopped").wait(**one, WaiterConfig=SOON)
    (found,) = studio.ecs.describe_tasks(**one)["tasks"]
    assert (found["stopCode"], found["containers"][0]["exitCode"]) == ("UserInitiated", 143)


def test_override_of_a_container_that_is_none_is_refused(studio: Studio) -> None:
    network = studio.service(names.BACKEND)["networkConfiguration"]
    command = [{"name": "front", "command": ["alembic", "upgrade", "head"]}]
    with pytest.raises(ClientError, match=r"InvalidParameterException.*front"):
        studio.ecs.run_task(
            cluster=names.CLUSTER,
            taskDefinition=names.BACKEND,
            networkConfiguration=network,
            overrides={"containerOverrides": command},
        )


def test_command_that_an_image_has_and_nothing_here_stands_for_is_refused(studio: Studio) -> None:
    network = studio.service(names.BACKEND)["networkConfiguration"]
    command = [{"name": "backend", "command": ["sh", "-c", "cd /app && alembic upgrade head"]}]
    with pytest.raises(ClientError, match=r"NotInTheSandbox.*sh -c cd /app && alembic"):
        studio.ecs.run_task(
            cluster=names.CLUSTER,
            taskDefinition=names.BACKEND,
            networkConfiguration=network,
            overrides={"containerOverrides": command},
        )


def test_reset_in_mid_rollout_puts_everything_back(studio: Studio) -> None:
    before, tasks = studio.service(names.BACKEND), studio.tasks(names.BACKEND)
    studio.update(names.BACKEND, forceNewDeployment=True)
    studio.until(lambda: studio.service(names.BACKEND)["pendingCount"], "tasks start")
    studio.reset()
    assert studio.service(names.BACKEND) == before
    assert studio.tasks(names.BACKEND) == tasks
    # the scheduler looks again, finds nothing in flight, and changes nothing
    studio.update(names.WORKER, desiredCount=3)
    studio.until_steady(names.WORKER)
    assert studio.service(names.BACKEND) == before


@pytest.mark.parametrize(
    ("operation", "asked", "code"),
    [
        ("update_service", {"cluster": "no", "service": "x"}, "ClusterNotFoundException"),
        ("update_service", {"service": "no"}, "ServiceNotFoundException"),
        ("update_service", {"service": names.BACKEND, "taskDefinition": "no:1"}, "ClientException"),
        ("update_service", {"service": names.BACKEND, "desiredCount": -1},
         "InvalidParameterException"),
        ("update_service", {"service": names.BACKEND, "platformVersion": "1.3.0"},
         "NotInTheSandbox"),
        ("stop_task", {"task": "no"}, "InvalidParameterException"),
        ("run_task", {"taskDefinition": "no"}, "ClientException"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_refused_as_by_aws(
    aws: Callable[..., Any], operation: str, asked: dict[str, Any], code: str
) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(aws("ecs"), operation)(**({"cluster": names.CLUSTER} | asked))
    assert refused.value.response["Error"]["Code"] == code


def test_cloudtrail_knows_who_deployed(studio: Studio) -> None:
    studio.client("ecs", profile="approver").update_service(
        cluster=names.CLUSTER, service=names.WORKER, desiredCount=2
    )
    attributes = [{"AttributeKey": "EventName", "AttributeValue": "UpdateService"}]
    found = studio.client("cloudtrail").lookup_events(LookupAttributes=attributes)["Events"]
    assert found[0]["Username"] == "approver"


def test_a_service_is_created_where_it_is_not_there_yet(studio: Studio) -> None:
    """Plain moto describes it, and launches nothing."""
    here, ecs = studio.service(names.FRONTEND), studio.client("ecs", region="eu-west-1")
    ecs.create_cluster(clusterName="another")
    found = studio.ecs.describe_task_definition(taskDefinition=here["taskDefinition"])
    container = found["taskDefinition"]["containerDefinitions"][0]
    image = container["image"].replace("eu-central-1", "eu-west-1")
    made = ecs.register_task_definition(
        family=names.FRONTEND, containerDefinitions=[container | {"image": image}],
        networkMode="awsvpc", cpu="512", memory="1024", requiresCompatibilities=["FARGATE"],
    )["taskDefinition"]  # fmt: skip
    subnets = studio.client("ec2", region="eu-west-1").describe_subnets()["Subnets"]
    asked = {
        "cluster": "another", "serviceName": names.FRONTEND, "desiredCount": 2,
        "taskDefinition": made["taskDefinitionArn"], "launchType": "FARGATE",
    }  # fmt: skip
    with pytest.raises(ClientError, match="Network Configuration must be provided"):
        ecs.create_service(**asked)
    asked["networkConfiguration"] = {
        "awsvpcConfiguration": {"subnets": [one["SubnetId"] for one in subnets[:2]]}
    }
    assert ecs.create_service(**asked)["service"]["runningCount"] == 0

    def completed() -> bool:
        (service,) = ecs.describe_services(cluster="another", services=[names.FRONTEND])["services"]
        (first,) = service["deployments"]
        return (service["runningCount"], first["rolloutState"]) == (2, "COMPLETED")

    studio.until(completed, "its tasks run")
    with pytest.raises(ClientError, match="not idempotent"):
        ecs.create_service(**asked)
