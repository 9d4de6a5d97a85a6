"""The Studio that moves, for sections that change it: put back where a test has failed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.moving_studio import MovingStudio


@pytest.fixture(scope="module", autouse=True)
def _put_back(moving_studio: MovingStudio) -> Iterator[None]:
    """Nothing that was made here is left for the tests that follow on the same sandbox."""
    yield
    moving_studio.put_back()


@pytest.fixture
def studio(moving_studio: MovingStudio, request: pytest.FixtureRequest) -> Iterator[MovingStudio]:
    failed = request.session.testsfailed
    yield moving_studio.lent()
    if request.session.testsfailed > failed:
        moving_studio.put_back()


@pytest.fixture
def put_back(studio: MovingStudio) -> Iterator[MovingStudio]:
    """The same, put back whatever a test has made of it."""
    yield studio
    studio.put_back()
