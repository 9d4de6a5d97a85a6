"""What customers rely on: kept in a whole Studio, and each seen to be broken by what breaks it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import psycopg2
import pytest
import redis

from runbook.clients import Clients
from runbook.studio import promises
from studio_sandbox.box import Box
from studio_sandbox.control_plane import names

JOB = """
    UPDATE jobs SET status = 'processing', updated_at = now() AT TIME ZONE 'UTC' - interval '2 h'
    WHERE id = (SELECT id FROM jobs WHERE status = 'completed' LIMIT 1)
"""
PAID = """
    UPDATE subscriptions SET status = 'pending' WHERE id::text = (
        SELECT meta_json ->> 'subscription_id' FROM payments
        WHERE status = 'completed' AND created_at < now() - interval '2 h' LIMIT 1
    )
"""
FREE = """
    UPDATE payments SET amount_jod = 0
    WHERE id = (SELECT id FROM payments WHERE status = 'completed' LIMIT 1)
"""
NOBODY = """
    UPDATE users SET email = 'x@nowhere.invalid' WHERE id = (SELECT id FROM users LIMIT 1)
"""


def write(box: Box, statement: str) -> None:
    with closing(psycopg2.connect(box.database_url)) as connection, connection:
        cursor = connection.cursor()
        cursor.execute(statement)
        assert cursor.rowcount == 1


def broken(clients: Clients) -> dict[str, str]:
    return {one.name: one.says for one in promises.read(clients).broken}


def test_all_of_them_are_kept_in_a_whole_studio(clients: Clients, box: Box) -> None:
    assert broken(clients) == {}


@pytest.mark.parametrize(
    ("statement", "name", "says"),
    [
        (JOB, "jobs are finished", "1 jobs are in processing for more than 60 minutes"),
        (
            PAID,
            "who has paid has a subscription",
            "were paid for, and are not active after 30 minutes",
        ),
        (FREE, "payments fit their plans", "1 are of nothing"),
        (NOBODY, "users can be reached", "1 have an address that cannot exist"),
    ],
)
def test_one_row_that_is_not_as_it_should_be_breaks_its_own(
    clients: Clients, fresh_box: Box, statement: str, name: str, says: str
) -> None:
    write(fresh_box, statement)

    found = broken(clients)

    assert list(found) == [name]
    assert says in found[name]


def test_usage_mail_and_files_are_seen_to_be_broken(clients: Clients, fresh_box: Box) -> None:
    usage = redis.Redis.from_url(fresh_box.redis_url, decode_responses=True)
    month = f"{datetime.now(UTC):%Y-%m}"
    more, less = sorted(usage.scan_iter(f"usage:tokens:*:{month}"))[:2]
    usage.incrby(more, 500)
    usage.decrby(less, 1)
    clients.aws("sesv2").put_account_sending_attributes(SendingEnabled=False)
    s3 = clients.aws("s3")
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket=names.ASSETS_BUCKET)["Contents"]]
    gone = [{"Key": key} for key in keys[:5]]
    s3.delete_objects(Bucket=names.ASSETS_BUCKET, Delete={"Objects": gone})

    assert broken(clients) == {
        "usage is written down": "1 users used more than the table has, 1 less",
        "mail goes out": "sending is switched off",
        "files are there": "5 objects of the copy are gone from 295",
    }
