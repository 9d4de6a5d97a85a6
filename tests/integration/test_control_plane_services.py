"""Four services in a steady state, and what they stand on: images, targets, ranges."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from studio_sandbox.control_plane import names

SERVICES = pytest.mark.parametrize("service", names.SERVICES)
BEHIND_BALANCER = pytest.mark.parametrize("service", list(names.TARGET_GROUPS))


def describe(ecs: Any, service: str) -> dict[str, Any]:
    answer = ecs.describe_services(cluster=names.CLUSTER, services=[service])
    (found,) = answer["services"]
    return dict(found)


def tasks_of(ecs: Any, service: str) -> list[dict[str, Any]]:
    arns = ecs.list_tasks(cluster=names.CLUSTER, serviceName=service)["taskArns"]
    return list(ecs.describe_tasks(cluster=names.CLUSTER, tasks=arns)["tasks"])


def target_group(elb: Any, service: str) -> str:
    (found,) = elb.describe_target_groups(Names=[names.TARGET_GROUPS[service]])["TargetGroups"]
    return str(found["TargetGroupArn"])


@SERVICES
def test_service_is_steady(aws: Callable[..., Any], service: str) -> None:
    found = describe(aws("ecs"), service)
    (deployment,) = found["deployments"]
    assert found["runningCount"] == found["desiredCount"] > 0
    assert found["pendingCount"] == 0
    assert deployment["rolloutState"] == "COMPLETED"
    assert deployment["taskDefinition"] == found["taskDefinition"]
    assert found["events"][0]["message"].endswith("has reached a steady state.")
    limits = found["deploymentConfiguration"]
    assert (limits["minimumHealthyPercent"], limits["maximumPercent"]) == (100, 200)


@SERVICES
def test_as_many_tasks_run_as_the_service_says(aws: Callable[..., Any], service: str) -> None:
    found, tasks = describe(aws("ecs"), service), tasks_of(aws("ecs"), service)
    assert len(tasks) == found["runningCount"]
    assert {task["lastStatus"] for task in tasks} == {"RUNNING"}
    assert {task["taskDefinitionArn"] for task in tasks} == {found["taskDefinition"]}
    assert {task["startedBy"] for task in tasks} == {found["deployments"][0]["id"]}


def test_tasks_stay_running_however_often_they_are_described(aws: Callable[..., Any]) -> None:
    for _ in range(5):
        tasks = tasks_of(aws("ecs"), names.WORKER)
    assert {task["lastStatus"] for task in tasks} == {"RUNNING"}


@SERVICES
def test_revisions_are_ninety_days_old_at_most_and_signed(
    aws: Callable[..., Any], control_plane: Any, service: str
) -> None:
    ecs = aws("ecs")
    arns = ecs.list_task_definitions(familyPrefix=service)["taskDefinitionArns"]
    revisions = [ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"] for arn in arns]
    registered = [one["registeredAt"] for one in revisions]
    assert registered == sorted(registered)
    assert all(moment > control_plane.anchor - timedelta(days=90) for moment in registered)
    assert registered[0] < control_plane.anchor - timedelta(days=80)
    assert {one["registeredBy"].split(":")[-1] for one in revisions} == {
        "assumed-role/github-actions-deploy/GitHubActions"
    }


def test_revisions_are_listed_newest_first_in_pages(aws: Callable[..., Any]) -> None:
    ecs, asked = aws("ecs"), {"familyPrefix": names.BACKEND, "sort": "DESC", "maxResults": 5}
    first = ecs.list_task_definitions(**asked)
    second = ecs.list_task_definitions(**asked, nextToken=first["nextToken"])
    arns = first["taskDefinitionArns"] + second["taskDefinitionArns"]
    assert [int(arn.rsplit(":", 1)[1]) for arn in arns] == list(range(49, 39, -1))
    assert describe(ecs, names.BACKEND)["taskDefinition"] == arns[0]


@SERVICES
def test_running_image_exists_and_the_oldest_have_expired(
    aws: Callable[..., Any], service: str
) -> None:
    ecs, ecr = aws("ecs"), aws("ecr")
    images = ecr.describe_images(repositoryName=service)["imageDetails"]
    tags = {tag: image["imageDigest"] for image in images for tag in image["imageTags"]}
    arns = ecs.list_task_definitions(familyPrefix=service)["taskDefinitionArns"]
    wanted = [
        ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["containerDefinitions"][
            0
        ]["image"].rsplit(":", 1)[1]
        for arn in arns
    ]
    assert wanted[-1] in tags
    assert wanted[0] not in tags
    assert set(tags) == set(wanted[-len(tags) :])
    running = {task["containers"][0]["imageDigest"] for task in tasks_of(ecs, service)}
    assert running == {tags[wanted[-1]]}


@SERVICES
def test_secrets_of_a_service_exist_and_its_role_may_read_them(
    aws: Callable[..., Any], service: str
) -> None:
    definition = aws("ecs").describe_task_definition(taskDefinition=service)["taskDefinition"]
    wanted = [s["valueFrom"] for s in definition["containerDefinitions"][0].get("secrets", [])]
    for arn in wanted:
        assert aws("secretsmanager").describe_secret(SecretId=arn)["ARN"] == arn
    role = definition["executionRoleArn"].rsplit("/", 1)[1]
    policy = aws("iam").get_role_policy(RoleName=role, PolicyName=role)["PolicyDocument"]
    readable = [s["Resource"] for s in policy["Statement"] if "secretsmanager" in str(s["Action"])]
    replicas = [arn.replace("eu-central-1", "eu-west-1") for arn in wanted]  # for a failover
    assert readable == ([[*wanted, *replicas]] if wanted else [])


@BEHIND_BALANCER
def test_every_running_task_is_a_healthy_target(aws: Callable[..., Any], service: str) -> None:
    elb = aws("elbv2")
    health = elb.describe_target_health(TargetGroupArn=target_group(elb, service))
    targets = {
        found["Target"]["Id"]: found["TargetHealth"]["State"]
        for found in health["TargetHealthDescriptions"]
    }
    addresses = {
        task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        for task in tasks_of(aws("ecs"), service)
    }
    assert targets == dict.fromkeys(addresses, "healthy")


def test_target_that_is_not_registered_is_unused(aws: Callable[..., Any]) -> None:
    elb = aws("elbv2")
    (found,) = elb.describe_target_health(
        TargetGroupArn=target_group(elb, names.BACKEND), Targets=[{"Id": "10.9.9.9", "Port": 1}]
    )["TargetHealthDescriptions"]
    assert found["TargetHealth"]["Reason"] == "Target.NotRegistered"


@BEHIND_BALANCER
def test_targets_are_checked_and_drained_every_thirty_seconds(
    aws: Callable[..., Any], service: str
) -> None:
    elb = aws("elbv2")
    arn = target_group(elb, service)
    (group,) = elb.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"]
    attributes = elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
    delay = {a["Key"]: a["Value"] for a in attributes}["deregistration_delay.timeout_seconds"]
    assert (group["HealthCheckPath"], group["HealthCheckIntervalSeconds"]) == ("/v1/health", 30)
    assert delay == "30"


def test_hosts_and_paths_lead_to_their_services(aws: Callable[..., Any]) -> None:
    elb = aws("elbv2")
    (balancer,) = elb.describe_load_balancers(Names=[names.LOAD_BALANCER])["LoadBalancers"]
    listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    https = next(one for one in listeners if one["Port"] == 443)
    rules = elb.describe_rules(ListenerArn=https["ListenerArn"])["Rules"]
    leads = {
        value: rule["Actions"][0]["TargetGroupArn"]
        for rule in rules
        for condition in rule["Conditions"]
        for value in (condition.get("HostHeaderConfig") or condition["PathPatternConfig"])["Values"]
    }
    assert leads["/api/v1/*"] == leads[names.API_HOST] == target_group(elb, names.BACKEND)
    assert leads["/gateway/v1/*"] == leads[names.GATEWAY_HOST] == target_group(elb, names.GATEWAY)
    default = next(rule for rule in rules if rule["IsDefault"])
    assert default["Actions"][0]["TargetGroupArn"] == target_group(elb, names.FRONTEND)


@SERVICES
def test_service_scales_on_seventy_per_cent_of_cpu(aws: Callable[..., Any], service: str) -> None:
    scaling = aws("application-autoscaling")
    resource = f"service/{names.CLUSTER}/{service}"
    asked = {"ServiceNamespace": "ecs"}
    (target,) = scaling.describe_scalable_targets(**asked, ResourceIds=[resource])[
        "ScalableTargets"
    ]
    (policy,) = scaling.describe_scaling_policies(**asked, ResourceId=resource)["ScalingPolicies"]
    desired = describe(aws("ecs"), service)["desiredCount"]
    assert target["MinCapacity"] <= desired <= target["MaxCapacity"]
    assert policy["PolicyName"] == names.scaling_policy(service)
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 70
    assert scaling.describe_scaling_activities(**asked)["ScalingActivities"] == []


def test_changed_policy_replaces_its_alarms(changing: Callable[..., Any]) -> None:
    resource = f"service/{names.CLUSTER}/{names.GATEWAY}"
    changing("application-autoscaling").put_scaling_policy(
        PolicyName=names.scaling_policy(names.GATEWAY),
        ServiceNamespace="ecs",
        ResourceId=resource,
        ScalableDimension="ecs:service:DesiredCount",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={
            "TargetValue": 60,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "ECSServiceAverageCPUUtilization"
            },
        },
    )
    prefix = f"TargetTracking-{resource}-"
    alarms = changing("cloudwatch").describe_alarms(AlarmNamePrefix=prefix)["MetricAlarms"]
    assert sorted(alarm["Threshold"] for alarm in alarms) == [54, 60]


def test_new_revision_is_signed_by_whoever_registers_it(changing: Callable[..., Any]) -> None:
    ecs = changing("ecs", profile="approver")
    found = ecs.describe_task_definition(taskDefinition=names.BACKEND)["taskDefinition"]
    again = {key: found[key] for key in ("family", "containerDefinitions", "cpu", "memory")}
    made = ecs.register_task_definition(**again)["taskDefinition"]
    assert made["revision"] == found["revision"] + 1
    assert made["registeredBy"].endswith(":user/approver")


def test_nothing_pretends_to_create_a_service(aws: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="none is added"):
        aws("ecs").create_service(
            cluster=names.CLUSTER, serviceName="another", taskDefinition=names.BACKEND
        )
    asked = {"cluster": names.CLUSTER, "services": ["another"]}
    assert aws("ecs").describe_services(**asked)["failures"][0]["reason"] == "MISSING"
