"""One sandbox that moves for all drills: each leaves it as healthy as it found it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg2
import pytest
from tests.moving_studio import MovingStudio

from studio_sandbox.control_plane import names
from studio_sandbox.drills import drill as drills
from studio_sandbox.drills.studio import Studio

_MENDED_WITHIN_S = 180.0
Begin = Callable[..., AbstractContextManager["Broken"]]


class Broken:
    """The Studio while a drill runs, and what the drill's judge says of it."""

    def __init__(self, studio: MovingStudio, running: drills.Running) -> None:
        self.studio, self.running = studio, running

    @property
    def details(self) -> dict[str, Any]:
        return self.running.details

    def judge(self) -> drills.Judgement:
        """As `drill judge` does, from what is written down."""
        return drills.judge(self.studio.box, drills.pick(self.studio.box, self.running.drill.name))

    def findings(self) -> list[str]:
        """What is still wrong, and no more of what a judge has to say."""
        return self.running.drill.judge(Studio(self.studio.box), self.details)

    def until_mended(self) -> drills.Judgement:
        """Wait until the judge has nothing to say any more."""
        deadline = time.monotonic() + _MENDED_WITHIN_S
        while found := self.findings():
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        told = self.judge()
        assert told.mended, told
        return told


@pytest.fixture(scope="module", autouse=True)
def _put_back(moving_studio: MovingStudio) -> Iterator[None]:
    """Nothing that was made here is left for the tests that follow on the same sandbox."""
    yield
    moving_studio.put_back()


@pytest.fixture
def studio(moving_studio: MovingStudio, request: pytest.FixtureRequest) -> Iterator[MovingStudio]:
    """The sandbox; it is put back only where a test has failed."""
    failed = request.session.testsfailed
    yield moving_studio.lent()
    if request.session.testsfailed > failed or drills.running(moving_studio.box):
        moving_studio.put_back()


@pytest.fixture
def begin(studio: MovingStudio) -> Begin:
    """Break the Studio with a drill; it is judged not mended, and ended afterwards."""

    @contextmanager
    def broken(name: str, seed: int = 1) -> Iterator[Broken]:
        with together(studio, {name: seed}) as found:
            yield found[name]

    return broken


@contextmanager
def together(studio: MovingStudio, seeds: dict[str, int]) -> Iterator[dict[str, Broken]]:
    """Break the Studio with several drills at once: their waits overlap."""
    with ThreadPoolExecutor(len(seeds)) as pool:
        started = pool.map(lambda name: drills.start(studio.box, name, seeds[name]), seeds)
        broken = {one.drill.name: Broken(studio, one) for one in list(started)}
        for one, told in zip(broken.values(), pool.map(Broken.judge, broken.values()), strict=True):
            assert not told.mended, one.running
            assert told.findings
            assert told.unneeded == ()
        yield broken
        list(pool.map(lambda one: drills.end(studio.box, one.running), broken.values()))
    studio.until(lambda: not unwell(studio), f"healthy after {', '.join(seeds)}")
    assert not drills.running(studio.box)


def unwell(studio: MovingStudio) -> list[str]:
    """What a client that knows nothing of drills finds wrong."""
    found = []
    for name in names.SERVICES:
        service = studio.service(name)
        if [one["rolloutState"] for one in service["deployments"]] != ["COMPLETED"]:
            found.append(f"{name} is being deployed")
        if service["runningCount"] != service["desiredCount"]:
            found.append(f"{name} is short of tasks")
        if name in names.TARGET_GROUPS and set(studio.healths(name)) != {"healthy"}:
            found.append(f"{name} has sick targets")
    for host in (names.API_HOST, names.GATEWAY_HOST, names.APP_HOST):
        if studio.ask("/v1/health", host=host).status != 200:
            found.append(f"{host} does not answer")
    try:
        psycopg2.connect(secret(studio, names.DATABASE_URL), connect_timeout=3).close()
        studio.redis.ping()
    except Exception as error:
        found.append(f"a store does not answer: {error}")
    ordered = studio.control("GET", "faults"), studio.control("GET", "data-plane")["ordered"]
    if ordered != ({"faults": [], "behaviours": []}, []):
        found.append(f"something is still ordered: {ordered}")
    return found


def secret(studio: MovingStudio, name: str) -> str:
    found = studio.client("secretsmanager").get_secret_value(SecretId=name)
    return str(found["SecretString"])
