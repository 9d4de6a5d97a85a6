"""A link before the real PostgreSQL and Redis: slow, silent, cut, and whole again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import redis
import sqlalchemy
from sqlalchemy.exc import OperationalError

from studio_sandbox.box import Box, environment_variables
from studio_sandbox.faulty_link import FaultyLink


@pytest.fixture
def link(box: Box) -> Iterator[FaultyLink]:
    with FaultyLink.to(environment_variables(box)["REDIS_URL"]) as link:
        yield link


@pytest.fixture
def cache(link: FaultyLink) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(link.url, socket_timeout=1, retry=None) as client:
        client.ping()
        yield client


def test_passes_on_what_is_asked(cache: redis.Redis) -> None:
    cache.set("linked", "x" * 1_000_000, ex=60)
    assert cache.strlen("linked") == 1_000_000


def test_slow_link_makes_each_way_slower(link: FaultyLink, cache: redis.Redis) -> None:
    link.delay(0.2)
    started = time.monotonic()
    assert cache.ping()
    assert time.monotonic() - started >= 0.4


def test_cut_link_ends_connections_until_it_passes_on(link: FaultyLink, cache: redis.Redis) -> None:
    link.cut()
    for _ in range(2):  # the connection that was, and a new one
        with pytest.raises(redis.exceptions.ConnectionError):
            cache.ping()
    link.pass_on()
    assert cache.ping()


def test_silent_link_answers_nothing_and_loses_nothing(
    link: FaultyLink, cache: redis.Redis
) -> None:
    link.silence()
    with pytest.raises(redis.exceptions.TimeoutError):
        cache.set("held-back", "1", ex=60)
    link.pass_on()
    deadline = time.monotonic() + 30
    while not cache.exists("held-back"):
        assert time.monotonic() < deadline


def test_database_session_ends_with_its_link(box: Box) -> None:
    url = environment_variables(box)["DATABASE_URL"]
    with FaultyLink.to(url.replace("postgresql://", "postgresql+psycopg2://")) as link:
        engine = sqlalchemy.create_engine(link.url)
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT 1")) == 1
            link.cut()
            with pytest.raises(OperationalError):
                connection.scalar(sqlalchemy.text("SELECT 1"))
        engine.dispose()


def test_link_leads_to_loopback_only() -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
        FaultyLink.to("redis://cache.example:6379/0")
