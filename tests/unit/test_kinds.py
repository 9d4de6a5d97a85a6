"""A kind of change has one owner: two modules of one name would apply each other's changes."""

from __future__ import annotations

import pytest

from runbook import studio  # noqa: F401  makes all kinds known
from runbook.change.kinds import register


def test_a_kind_that_another_module_owns_is_refused() -> None:
    with pytest.raises(TypeError, match="both own it"):
        register("ecs-service", read=lambda clients, target: None, apply=lambda *given: None)
