"""Workers take jobs from the real queues and the real table; what was paid becomes active."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.moving_studio import MovingStudio

from studio_sandbox.control_plane import names
from studio_sandbox.data_plane import hyperpay
from studio_sandbox.seed import celery

KEY = {"Authorization": "Bearer any-key-that-looks-like-one"}


def put_job(studio: MovingStudio, kind: str, *, message: bool, **payload: Any) -> str:
    job = str(uuid.uuid4())
    user = studio.rows("SELECT id::text FROM users WHERE is_active ORDER BY id LIMIT 1")[0][0]
    studio.rows(
        "INSERT INTO jobs (id, user_id, kind, payload_json) VALUES (%s, %s, %s, %s)",
        job, user, kind, json.dumps({"attempts": 1, **payload}),
    )  # fmt: skip
    if message:
        text = json.dumps(celery.message(job, kind, attempts=1))
        studio.redis.lpush(celery.TASKS[kind][0], text)
    return job


def status(studio: MovingStudio, job: str) -> str:
    return str(studio.rows("SELECT status FROM jobs WHERE id = %s", job)[0][0])


@pytest.mark.parametrize("message", [True, False], ids=["from its queue", "from the table"])
def test_worker_completes_a_job_and_leaves_its_file(quiet: MovingStudio, message: bool) -> None:
    job = put_job(quiet, "video_gen", message=message, seconds=8, prompt="قطة")
    quiet.until(lambda: status(quiet, job) == "completed", "the job is done")
    ((kind, size),) = quiet.rows(
        "SELECT files.kind, bytes FROM files JOIN jobs ON result_file_id = files.id "
        "WHERE jobs.id = %s", job,
    )  # fmt: skip
    assert (kind, size > 0) == ("video", True)
    quiet.until(lambda: not quiet.redis.hexists("unacked", job), "it is acknowledged")
    lines = quiet.until(
        lambda: (
            found
            if len(found := quiet.lines(names.WORKER, f'{{ $.job_id = "{job}" }}')) == 2
            else None
        ),
        "both lines are there",
    )
    assert [line["message"] for line in lines] == [
        "job video_gen started",
        "job video_gen completed",
    ]


def test_all_seeded_jobs_are_done_in_the_end(quiet: MovingStudio) -> None:
    open_jobs = "SELECT count(*) FROM jobs WHERE status IN ('pending', 'processing')"
    quiet.until(lambda: quiet.rows(open_jobs)[0][0] == 0, "nothing is open")
    quiet.until(lambda: quiet.redis.hlen("unacked") == 0, "nothing is unacknowledged")
    assert [int(quiet.redis.llen(queue)) for queue in celery.QUEUES] == [0] * len(celery.QUEUES)


def test_row_that_somebody_holds_is_passed_over(quiet: MovingStudio) -> None:
    import psycopg2

    held = put_job(quiet, "cleanup_files", message=False)
    with psycopg2.connect(quiet.box.database_url) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT FROM jobs WHERE id = %s FOR UPDATE", (held,))
        other = put_job(quiet, "cleanup_files", message=True)
        quiet.until(lambda: status(quiet, other) == "completed", "the other is done")
        assert status(quiet, held) == "pending"
    connection.close()
    quiet.until(lambda: status(quiet, held) == "completed", "then this one too")


def test_jobs_wait_while_no_worker_runs_or_workers_hang(quiet: MovingStudio) -> None:
    quiet.order("workers-hang")
    taken = put_job(quiet, "cleanup_files", message=True)
    quiet.until(lambda: status(quiet, taken) in ("processing", "pending"), "it is there")
    quiet.update(names.WORKER, desiredCount=0)
    quiet.until(lambda: not quiet.tasks(names.WORKER), "no worker is left")
    waiting = put_job(quiet, "cleanup_files", message=True)
    quiet.control("DELETE", "data-plane?order=workers-hang")
    assert status(quiet, waiting) == "pending"
    quiet.update(names.WORKER, desiredCount=2)
    both = [taken, waiting]
    quiet.until(lambda: {status(quiet, job) for job in both} == {"completed"}, "both are done")


def test_job_that_others_have_taken_over_is_left_to_them(quiet: MovingStudio) -> None:
    quiet.until(lambda: not quiet.redis.hlen("unacked"), "the workers have nothing in hand")
    quiet.order("workers-hang")
    job = put_job(quiet, "cleanup_files", message=True)
    quiet.until(lambda: status(quiet, job) == "processing", "a worker holds it")
    quiet.rows(
        "UPDATE jobs SET updated_at = updated_at - interval '2 hours' WHERE id = %s RETURNING id",
        job,
    )
    quiet.control("DELETE", "data-plane?order=workers-hang")
    quiet.until(lambda: not quiet.redis.hexists("unacked", job), "the worker has let go of it")
    assert status(quiet, job) == "processing"


def test_job_that_cannot_be_written_fails_and_holds_up_no_other(quiet: MovingStudio) -> None:
    payment = quiet.rows("SELECT external_id FROM payments WHERE status = 'completed' LIMIT 1")
    quiet.rows("""UPDATE payments SET meta_json = '{"subscription_id": "none"}'
                  WHERE external_id = %s""", payment[0][0])  # fmt: skip
    broken = put_job(quiet, "payment_webhook", message=True, external_id=payment[0][0],
                     event="payment.completed")  # fmt: skip
    quiet.until(lambda: status(quiet, broken) == "failed", "it fails")
    good = put_job(quiet, "cleanup_files", message=True)
    quiet.until(lambda: status(quiet, good) == "completed", "and the next one is done")


def test_message_that_nobody_knows_is_dropped_and_told(quiet: MovingStudio) -> None:
    quiet.redis.lpush("celery", "{}")
    quiet.until(lambda: quiet.lines(names.WORKER, "unknown"), "it is told")
    job = put_job(quiet, "cleanup_files", message=True)
    quiet.until(lambda: status(quiet, job) == "completed", "and the next one done")


def checkout(studio: MovingStudio) -> str:
    """Somebody pays; gives the payment's id at the provider."""
    before = len(studio.ask("/hyperpay/v1/payments", **KEY).data()["payments"])
    asked = studio.ask(
        "/api/v1/payments/checkout", method="POST", body={}, X_User_Id=str(uuid.uuid4())
    )
    assert asked.status == 200
    paid = studio.until(
        lambda: (
            found
            if len(found := studio.ask("/hyperpay/v1/payments", **KEY).data()["payments"]) > before
            else None
        ),
        "it is paid",
    )
    return str(paid[0]["id"])


def subscription_of(studio: MovingStudio, external_id: str) -> tuple[Any, ...]:
    ((found,),) = [
        studio.rows(
            "SELECT s.status, p.status, s.renews_at FROM payments p JOIN subscriptions s "
            "ON s.id = (p.meta_json ->> 'subscription_id')::uuid WHERE external_id = %s",
            external_id,
        )
    ]
    return found


def test_webhook_of_a_payment_activates_its_subscription(quiet: MovingStudio) -> None:
    paid = checkout(quiet)
    quiet.until(lambda: subscription_of(quiet, paid)[0] == "active", "it is active")
    active, completed, renews_at = subscription_of(quiet, paid)
    assert (active, completed) == ("active", "completed")
    assert 29 <= (renews_at - datetime.now(UTC).replace(tzinfo=None)).days <= 30
    assert quiet.ask(f"/hyperpay/v1/payments/{paid}", **KEY).data()["webhook"] == "delivered"


def test_lost_webhook_leaves_it_paid_and_pending_until_it_is_sent_again(
    quiet: MovingStudio,
) -> None:
    quiet.order("webhooks-lost")
    paid = checkout(quiet)
    assert subscription_of(quiet, paid)[:2] == ("pending", "completed")
    again = quiet.ask(f"/hyperpay/v1/payments/{paid}/webhook", method="POST", **KEY)
    assert again.data()["webhook"] == "delivered"
    quiet.until(lambda: subscription_of(quiet, paid)[0] == "active", "it is active")


def test_webhook_goes_where_it_is_registered_and_nowhere_else(quiet: MovingStudio) -> None:
    url = {"url": f"https://{names.API_HOST}/v1/payments/webhook/hyperpayy"}
    assert quiet.ask("/hyperpay/v1/webhooks", **KEY).data()["url"] == hyperpay.WEBHOOK_URL
    quiet.ask("/hyperpay/v1/webhooks", method="PUT", body=url, **KEY)
    paid = checkout(quiet)
    assert quiet.ask(f"/hyperpay/v1/payments/{paid}", **KEY).data()["webhook"] == "answered 404"
    assert subscription_of(quiet, paid)[0] == "pending"
    right = {"url": hyperpay.WEBHOOK_URL}
    assert quiet.ask("/hyperpay/v1/webhooks", method="PUT", body=right, **KEY).status == 200


def test_webhook_with_a_wrong_signature_fails_and_activates_nothing(quiet: MovingStudio) -> None:
    quiet.order("webhooks-lost")
    paid = checkout(quiet)
    content = {"external_id": paid, "event": "payment.completed", "signature": "0" * 64}
    path = "/v1/payments/webhook/hyperpay"
    job = quiet.ask(path, host=names.API_HOST, method="POST", body=content).data()["job_id"]
    quiet.until(lambda: status(quiet, job) == "failed", "the job fails")
    quiet.until(lambda: quiet.lines(names.WORKER, "signature"), "it is told")
    assert subscription_of(quiet, paid)[0] == "pending"
