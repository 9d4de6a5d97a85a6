"""The sandbox that moves: one for all tests of what happens by itself, beside the session's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.moving_studio import MovingStudio, start_moving


@pytest.fixture(scope="session")
def moving_studio() -> Iterator[MovingStudio]:
    """Started when it is first asked for; whoever changes it puts it back."""
    yield from start_moving()
