"""How the control plane starts, begins anew and ends; that it is the same each time."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

READS: list[tuple[str, str, dict[str, Any]]] = [
    ("iam", "list_users", {}),
    ("secretsmanager", "list_secrets", {}),
    ("ecs", "list_tasks", {"cluster": "ai-studio-cluster"}),
    ("ecs", "describe_services", {"cluster": "ai-studio-cluster",
                                  "services": ["ai-studio-backend", "ai-studio-worker"]}),
    ("ecs", "list_task_definitions", {}),
    ("ecr", "describe_images", {"repositoryName": "ai-studio-gateway"}),
    ("elbv2", "describe_target_groups", {}),
    ("logs", "filter_log_events", {"logGroupName": "/ecs/ai-studio-gateway", "limit": 300}),
    ("cloudwatch", "describe_alarms", {}),
    ("cloudwatch", "describe_alarm_history", {}),
    ("cloudwatch", "list_metrics", {}),
    ("s3", "list_object_versions", {"Bucket": "ai-studio-assets"}),
    ("route53", "list_hosted_zones", {}),
    ("rds", "describe_db_cluster_snapshots", {}),
    ("elasticache", "describe_replication_groups", {}),
    ("application-autoscaling", "describe_scaling_policies", {"ServiceNamespace": "ecs"}),
    ("ses", "get_send_statistics", {}),
    ("acm", "list_certificates", {}),
]  # fmt: skip


def answers(control_plane: Any) -> dict[str, str]:
    found = {}
    for service, operation, arguments in READS:
        answer = getattr(control_plane.client(service), operation)(**arguments)
        del answer["ResponseMetadata"]
        found[f"{service} {operation}"] = json.dumps(answer, default=str, sort_keys=True)
    return found


def test_it_is_ready_and_says_where(control_plane: Any) -> None:
    ports = {key: control_plane.answer[key] for key in ("port", "endpoints_port")}
    assert control_plane.answer == {"ready": True, **ports}


def test_credentials_are_for_their_owner_only(control_plane: Any) -> None:
    mode = (control_plane.home / "aws-credentials").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_two_starts_and_a_reset_give_the_same_studio(
    control_plane: Any, start_control_plane: Callable[[], Any]
) -> None:
    control_plane.reset()
    first = answers(control_plane)
    control_plane.client("cloudwatch").delete_alarms(AlarmNames=["ai-studio-rds-cpu"])
    control_plane.reset()
    assert answers(control_plane) == first
    assert answers(start_control_plane()) == first


def test_reset_moves_everything_to_another_anchor(fresh_control_plane: Any) -> None:
    fresh_control_plane.control("POST", "reset", {"anchor": "2026-05-01T12:00:00Z"})
    health = fresh_control_plane.control("GET", "health")
    assert health == {"healthy": True, "anchor": "2026-05-01T12:00:00+00:00"}
    group = "/ecs/ai-studio-backend"
    events = fresh_control_plane.client("logs").filter_log_events(logGroupName=group)["events"]
    end_ms = 1777636800000
    assert end_ms - 3_600_000 <= events[0]["timestamp"] <= events[-1]["timestamp"] < end_ms


@pytest.mark.parametrize("time", ["00:00", "01:36", "01:37", "01:50", "02:03", "12:00", "23:59"])
def test_at_any_time_of_day_backups_were_taken_and_copied_before_now(
    fresh_control_plane: Any, time: str
) -> None:
    anchor = datetime.fromisoformat(f"2026-05-01T{time}:00+00:00")
    fresh_control_plane.control("POST", "reset", {"anchor": anchor.isoformat()})

    def ages(region: str) -> list[timedelta]:
        rds = fresh_control_plane.client("rds", region=region)
        found = rds.describe_db_cluster_snapshots()["DBClusterSnapshots"]
        return sorted(anchor - one["SnapshotCreateTime"] for one in found)

    assert len(ages("eu-central-1")) == 9
    assert timedelta(0) <= ages("eu-central-1")[0] < timedelta(days=1)
    newest, before = ages("eu-west-1")
    assert timedelta(0) <= newest < timedelta(days=1) == before - newest


@pytest.mark.parametrize("end", ["stdin", "SIGTERM"])
def test_gone_with_whoever_started_it(start_control_plane: Callable[[], Any], end: str) -> None:
    one = start_control_plane()
    if end == "SIGTERM":
        one.process.terminate()
        assert one.process.wait(timeout=2) == 0
    assert one.stop() == 0
