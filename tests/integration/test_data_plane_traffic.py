"""What users do leaves traces: logs, metrics, counters, rows; and what drills order of it."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.moving_studio import Answer, MovingStudio

from studio_sandbox.box import Box
from studio_sandbox.control_plane import names
from studio_sandbox.data_plane.orders import KINDS


@pytest.fixture
def user() -> str:
    """Somebody whom no other test knows."""
    return str(uuid.uuid4())


def chat(studio: MovingStudio, user: str, **headers: str) -> Answer:
    return studio.ask(
        "/v1/chat/complete", host=names.GATEWAY_HOST, method="POST", body={}, X_User_Id=user,
        **headers,
    )  # fmt: skip


def total(studio: MovingStudio, namespace: str, name: str, **dimensions: str) -> float:
    """A metric's sum since a moment ago, when the data of the seed had ended."""
    now = datetime.now(UTC)
    found = studio.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=max(studio.box.anchor, now - timedelta(minutes=5)),
        EndTime=now + timedelta(seconds=1),
        Period=60,
        Statistics=["Sum"],
    )
    return float(sum(point["Sum"] for point in found["Datapoints"]))


def test_one_request_is_seen_in_log_metric_counter_and_table(quiet: MovingStudio) -> None:
    user = quiet.rows("SELECT id::text FROM users WHERE is_active ORDER BY id LIMIT 1")[0][0]
    trace, since = f"1-6b06c0fa-{uuid.uuid4().hex[:24]}", datetime.now(UTC).replace(tzinfo=None)
    key = f"usage:tokens:{user}:{datetime.now(UTC):%Y-%m}"
    before = int(quiet.redis.get(key) or 0)
    found = chat(quiet, user, X_Amzn_Trace_Id=f"Root={trace}")
    assert found.status == 200
    used = found.data()["usage"]["tokens"]
    assert int(quiet.redis.get(key) or 0) in (before + used, total_of(quiet, user))
    (line,) = quiet.until(
        lambda: [
            one
            for one in quiet.lines(names.GATEWAY, f'{{ $.trace_id = "{trace}" }}')
            if "status" in one
        ],
        "the line is there",
    )
    assert (line["message"], line["user_id"]) == ("POST /v1/chat/complete 200", user)
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/chat/complete", 200)
    assert line["model"] == found.data()["model"]
    assert line["latency_ms"] > 0
    mine = "SELECT amount, model FROM usage_logs WHERE user_id = %s AND created_at > %s"
    rows = quiet.until(lambda: quiet.rows(mine, user, since), "the row is written")
    assert rows == [(used, found.data()["model"])]
    assert int(quiet.redis.get(key) or 0) == total_of(quiet, user)
    provider = found.data()["provider"]
    quiet.until(
        lambda: total(quiet, names.GATEWAY_METRICS, "ProviderRequests", Provider=provider) >= 1,
        "the provider's request is counted",
    )


def total_of(studio: MovingStudio, user: str) -> int:
    """What the table has of a user's tokens this month."""
    sums = """
        SELECT coalesce(sum(amount), 0) FROM usage_logs WHERE user_id = %s AND kind = 'tokens'
        AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC')
    """
    return int(studio.rows(sums, user)[0][0])


def test_traffic_adds_up_once_it_stops(moving: MovingStudio) -> None:
    moving.until(lambda: moving.control("GET", "data-plane")["requests"] > 20, "users ask")
    moving.order("traffic-rate", factor=0)
    moving.until(lambda: adds_up(moving), "counters equal the sums of the table")
    written = moving.until(  # some that were asked before may still be under way
        lambda: (
            count if adds_up(moving) and (count := written_rows(moving)) == answered(moving) else 0
        ),
        "all that was answered is in the table",
    )
    requests = [names.GATEWAY_METRICS, "ProviderRequests"]
    moving.until(
        lambda: (
            sum(total(moving, *requests, Provider=p) for p in ("openai", "anthropic", "google"))
            >= written
        ),
        "metrics follow",
    )


def written_rows(studio: MovingStudio) -> int:
    since = studio.box.anchor.replace(tzinfo=None)
    live = "SELECT count(*) FROM usage_logs WHERE meta_json ->> 'route' <> '' AND created_at > %s"
    return int(studio.rows(live, since)[0][0])


def answered(studio: MovingStudio) -> int:
    """How many requests the gateway's log says were answered."""
    lines = studio.lines(names.GATEWAY, "{ $.status = 200 }")
    return sum(datetime.fromisoformat(one["timestamp"]) >= studio.box.anchor for one in lines)


def adds_up(studio: MovingStudio) -> bool:
    """Whether every counter is what the table says, with nothing on its way."""
    if studio.control("GET", "data-plane")["usage_unwritten"]:
        return False
    month = f"{datetime.now(UTC):%Y-%m}"
    kinds = {"tokens": "tokens", "images": "images", "video": "videos"}
    sums = studio.rows(
        "SELECT user_id::text, kind, sum(amount) FROM usage_logs "
        "WHERE created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') GROUP BY 1, 2"
    )
    expected = {f"usage:{kinds[kind]}:{user}:{month}": int(amount) for user, kind, amount in sums}
    keys = list(studio.redis.scan_iter(f"usage:*:*:{month}", count=5000))
    values: Any = studio.redis.mget(keys)
    found = dict(zip(keys, map(int, values), strict=True))
    return found == expected


def test_usage_of_somebody_who_is_not_there_holds_up_nobody_elses(
    quiet: MovingStudio, user: str
) -> None:
    key = f"usage:tokens:{user}:{datetime.now(UTC):%Y-%m}"
    assert chat(quiet, user).status == 200
    quiet.until(
        lambda: quiet.control("GET", "data-plane")["usage_unwritten"] == 0, "nothing is on its way"
    )
    assert total_of(quiet, user) == 0
    assert quiet.redis.get(key) == "0"


def test_counter_that_was_cleared_begins_where_the_database_is(quiet: MovingStudio) -> None:
    busiest = "SELECT user_id::text FROM usage_logs GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
    user = quiet.rows(busiest)[0][0]
    key = f"usage:tokens:{user}:{datetime.now(UTC):%Y-%m}"
    quiet.redis.unlink(key)
    assert chat(quiet, user).status == 200
    quiet.until(
        lambda: (
            not quiet.control("GET", "data-plane")["usage_unwritten"]
            and int(quiet.redis.get(key) or 0) == total_of(quiet, user)
        ),
        "the counter is rebuilt",
    )


def test_who_is_blocked_gets_403_and_who_floods_429(quiet: MovingStudio, user: str) -> None:
    quiet.redis.set(f"ratelimit:block:{user}", 1, ex=60)
    assert chat(quiet, user).status == 403
    quiet.redis.delete(f"ratelimit:block:{user}")
    quiet.redis.set(f"ratelimit:{user}:chat", 60, ex=60)
    found = chat(quiet, user)
    assert found.status == 429
    assert 1 <= int(found.headers["Retry-After"]) <= 60
    assert quiet.ask("/gateway/v1/chat/complete", method="POST", body={}).status == 401


def test_abusive_user_runs_into_the_limit_and_stands_out_in_the_log(
    quiet: MovingStudio, user: str
) -> None:
    quiet.order("abusive-user", user_id=user, per_s=60)
    pattern = f'{{ $.user_id = "{user}" && $.status = 429 }}'
    quiet.until(lambda: quiet.lines(names.GATEWAY, pattern), "the limit is enforced")
    assert 0 < quiet.redis.ttl(f"ratelimit:{user}:chat") <= 60


def test_revoked_key_means_errors_until_tasks_start_with_a_new_one(
    moving: MovingStudio, user: str
) -> None:
    moving.order("key-revoked", provider="openai")
    errors = [names.GATEWAY_METRICS, "ProviderErrors"]
    moving.until(lambda: total(moving, *errors, Provider="openai") > 3, "errors are counted")
    moving.until(lambda: state(moving, names.ALARM_PROVIDER) == "ALARM", "the alarm is raised")
    assert moving.lines(names.GATEWAY, '"provider openai answered 401"')
    secrets = moving.client("secretsmanager")
    old = secrets.get_secret_value(SecretId=names.OPENAI_KEY)["SecretString"]
    new = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
    assert [models(moving, key) for key in (old, new, "nonsense")] == [401, 200, 401]
    secrets.put_secret_value(SecretId=names.OPENAI_KEY, SecretString=new)
    moving.update(names.GATEWAY, forceNewDeployment=True)
    moving.until_steady(names.GATEWAY)
    moving.until(
        lambda: chat(moving, user).data().get("provider") == "openai", "the new key is used"
    )


def models(studio: MovingStudio, key: str) -> int:
    return studio.ask("/openai/v1/models", Authorization=f"Bearer {key}").status


def state(studio: MovingStudio, alarm: str) -> str:
    found = studio.client("cloudwatch").describe_alarms(AlarmNames=[alarm])
    return str(found["MetricAlarms"][0]["StateValue"])


def test_slow_provider_is_seen_in_latencies_and_on_its_status_page(
    quiet: MovingStudio, user: str
) -> None:
    assert quiet.ask("/openai/status").data()["status"]["indicator"] == "none"
    quiet.order("provider-slow", provider="openai", factor=20)
    assert quiet.ask("/openai/status").data()["status"]["indicator"] == "minor"
    chat(quiet, user)
    (line, *_) = quiet.until(
        lambda: quiet.lines(names.GATEWAY, f'{{ $.user_id = "{user}" && $.status > 0 }}'),
        "the line is there",
    )
    assert line["latency_ms"] > 3000


def test_settings_of_the_gateway_choose_the_provider(moving: MovingStudio, user: str) -> None:
    moving.hush()
    running = moving.service(names.GATEWAY)["taskDefinition"]
    found = moving.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
    settings = found["containerDefinitions"][0]["environment"]
    switched = [one | {"value": "anthropic"} if one["name"] == "PROVIDER_CHAT" else one
                for one in settings]  # fmt: skip
    revision = moving.revise(names.GATEWAY, environment=switched)
    assert chat(moving, user).data()["provider"] == "openai"
    moving.update(names.GATEWAY, taskDefinition=revision)
    moving.until_steady(names.GATEWAY)
    assert chat(moving, user).data()["provider"] == "anthropic"


@pytest.mark.parametrize(("how", "status"), [("cut", 502), ("silent", 504), ("error", 500)])
def test_failing_tasks_are_answered_for_as_by_the_load_balancer(
    quiet: MovingStudio, user: str, how: str, status: int
) -> None:
    quiet.order("task-fault", service=names.BACKEND, how=how)
    assert quiet.ask("/api/v1/users/me", X_User_Id=user).status == status
    assert quiet.ask("/api/v1/health").status == 200


def test_unknown_orders_are_refused_and_a_reset_takes_all_back(moving: MovingStudio) -> None:
    for name, about in (("no-such", {}), ("provider-slow", {"provider": "nobody"})):
        with pytest.raises(Exception, match="400"):
            moving.order(name, **about)
    told = moving.order("key-revoked", provider="openai")
    assert told["ordered"] == [{"order": "key-revoked", "provider": "openai"}]
    assert set(told["kinds"]) == set(KINDS)
    moving.reset()
    assert moving.control("GET", "data-plane")["ordered"] == []


def test_every_order_says_what_it_does() -> None:
    for kind in KINDS.values():
        assert (kind.__doc__ or "").strip().split("\n")[0].endswith((".", ":", "ordered."))


def test_still_sandbox_neither_asks_nor_counts(box: Box, user: str) -> None:
    still = MovingStudio(box)
    before = still.control("GET", "data-plane")["requests"]
    assert chat(still, user).status == 200
    assert still.control("GET", "data-plane")["requests"] == before == 0
    assert not list(itertools.islice(still.redis.scan_iter(f"usage:*:{user}:*"), 1))
    still.redis.delete(f"ratelimit:{user}:chat")
