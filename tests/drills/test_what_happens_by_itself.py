"""Drills of users, providers, usage and payments: seen in logs, Redis and rows, mended there."""

from __future__ import annotations

import uuid

from tests.drills.conftest import Begin, together
from tests.moving_studio import MovingStudio

from studio_sandbox.control_plane import names

_INSERT = """
    INSERT INTO usage_logs (id, user_id, kind, amount, model)
    VALUES (%s, %s, 'tokens', %s, 'gpt-4o-mini')
"""
_SUM = """
    SELECT coalesce(sum(amount), 0)::bigint FROM usage_logs
    WHERE user_id = %s AND kind = 'tokens'
      AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC')
"""
_ACTIVATE = """
    UPDATE subscriptions SET status = 'active', renews_at = (now() AT TIME ZONE 'UTC') + %s
    WHERE id::text = ANY (%s) RETURNING id
"""

_WITHDRAW = "UPDATE subscriptions SET status = 'pending' WHERE id::text = ANY (%s)"


def test_abusive_user_is_mended_by_a_block_and_not_by_is_active(begin: Begin) -> None:
    with begin("abusive-user") as one:
        studio, user = one.studio, one.details["user"]
        pattern = f'{{ $.user_id = "{user}" && $.status = 429 }}'
        studio.until(lambda: studio.lines(names.GATEWAY, pattern), "the log tells who it is")
        studio.rows("UPDATE users SET is_active = false WHERE id = %s", user)
        assert one.findings()  # the token that the user has is still good
        bystander = str(uuid.uuid4())
        studio.redis.set(f"ratelimit:block:{bystander}", 1, ex=600)
        studio.redis.set(f"ratelimit:block:{user}", 1, ex=600)
        told = one.until_mended()
        assert told.unneeded == (f"block {bystander}: nothing became True",)
        studio.redis.delete(f"ratelimit:block:{bystander}")
        pattern = f'{{ $.user_id = "{user}" && $.status = 403 }}'
        studio.until(lambda: studio.lines(names.GATEWAY, pattern), "the user is refused")


def test_a_revoked_key_and_a_slow_provider_are_mended_by_the_gateways_next_revision(
    studio: MovingStudio,
) -> None:
    with together(studio, {"key-revoked": 1, "slow-provider": 1}) as broken:
        key, slow = broken["key-revoked"], broken["slow-provider"]
        secret, provider = key.details["secret"], slow.details["provider"]
        secrets = studio.client("secretsmanager")
        old = secrets.get_secret_value(SecretId=secret)["SecretString"]
        asked = studio.ask(f"/{key.details['provider']}/v1/models", Authorization=f"Bearer {old}")
        assert asked.status == 401
        status = studio.ask(f"/{provider}/status").data()["status"]
        assert status["indicator"] == "minor"
        secrets.put_secret_value(SecretId=secret, SecretString=f"{old[:-6]}rotate")
        assert key.findings()  # the gateway has not been given it yet
        running = studio.service(names.GATEWAY)["taskDefinition"]
        found = studio.ecs.describe_task_definition(taskDefinition=running)["taskDefinition"]
        settings = found["containerDefinitions"][0]["environment"]
        other = {"openai": "google", "google": "openai"}[provider]
        switched = [
            one | {"value": "anthropic" if one["name"] == "PROVIDER_CHAT" else other}
            if one["name"].startswith("PROVIDER_") and one["value"] == provider
            else one
            for one in settings
        ]
        revision = studio.revise(names.GATEWAY, environment=switched)
        studio.update(names.GATEWAY, taskDefinition=revision)
        assert key.until_mended().unneeded == ()
        assert slow.until_mended().unneeded == ()
        studio.update(names.GATEWAY, taskDefinition=running)


def test_usage_drift_is_mended_when_what_was_used_is_in_the_table_once(begin: Begin) -> None:
    with begin("usage-drift") as one:
        studio, month = one.studio, one.details["month"]
        keys = {user: f"usage:tokens:{user}:{month}" for user in one.details["expected"]}
        counters = {user: int(studio.redis.get(key) or 0) for user, key in keys.items()}
        studio.redis.delete(*keys.values())  # "to force a sync": the usage is lost
        assert f"{len(one.details['unwritten'])} users have used more" in one.findings()[0]
        for user, counter in counters.items():
            missing = counter - studio.rows(_SUM, user)[0][0]
            if missing > 0:
                studio.rows(_INSERT, str(uuid.uuid4()), user, missing)
        assert not one.findings()
        twice = next(iter(one.details["unwritten"]))
        row = str(uuid.uuid4())
        studio.rows(_INSERT, row, twice, 1)
        assert "written twice" in one.findings()[0]
        studio.rows("DELETE FROM usage_logs WHERE id = %s", row)
        assert one.until_mended().unneeded == ()


def test_webhook_lost_is_mended_by_activating_what_was_paid_for_and_nothing_else(
    begin: Begin,
) -> None:
    with begin("webhook-lost") as one:
        studio = one.studio
        paid = [checkout["id"] for checkout in one.details["paid"]]
        given_up = [checkout["id"] for checkout in one.details["given_up"]]
        known = studio.ask("/hyperpay/v1/payments", Authorization=f"Bearer {'k' * 32}").data()
        lost = [pay["id"] for pay in known["payments"] if pay["webhook"] == "lost"]
        assert set(lost) == {checkout["external_id"] for checkout in one.details["paid"]}
        studio.rows(_ACTIVATE, "30 days", [*paid, *given_up])  # everything of these users
        assert f"{len(given_up)} subscriptions are active that nobody" in one.findings()[0]
        studio.rows(
            "UPDATE subscriptions SET status = 'pending' WHERE id::text = ANY (%s)", given_up
        )
        assert one.until_mended().unneeded == ()
