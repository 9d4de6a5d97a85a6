"""GitHub as the library asks it: lines of the file of deployments, runs, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from runbook import settings
from runbook.clients import Clients
from runbook.errors import NotReachable
from runbook.procedure import deploy
from runbook.secret import known
from runbook.settings import Environment
from runbook.studio import github
from studio_sandbox.box import Box


def with_github(**changed: Any) -> Clients:
    content = settings.load("sandbox").model_dump()
    content["github"] = {**content["github"], **changed}
    return Clients(Environment.model_validate(content), run_id="20261128T120000Z-deploy-0a1b2c")


def test_a_line_is_told_once_for_a_run(fresh_box: Box) -> None:
    clients = with_github()
    before = github.read_activity(clients)

    assert github.note(clients, "- deployed something (runbook X)", mark="runbook X")
    assert not github.note(clients, "- deployed something (runbook X)", mark="runbook X")

    assert github.read_activity(clients) == f"{before}- deployed something (runbook X)\n"


def test_the_token_is_one_of_the_values_that_are_masked(box: Box) -> None:
    github.read_runs(with_github())

    assert "GITHUB_TOKEN" in known().values()


def test_what_github_refuses_is_said_in_its_own_words(box: Box) -> None:
    with pytest.raises(NotReachable, match=r"GitHub answers 404 to GET .*: Not Found"):
        github.read_runs(with_github(workflow="other.yml"))


@pytest.mark.parametrize(
    "changed", [{"api": "http://127.0.0.1:9"}, {"token": {"file": "nowhere/token"}}], ids=str
)
def test_a_deployment_counts_where_nobody_can_be_told(box: Box, changed: dict[str, Any]) -> None:
    found = deploy.read(Clients(settings.load("sandbox")), sha="", services="", by="directly")

    told = found.note(with_github(**changed), applied=True)

    assert told.status == "warning"
    assert told.says.startswith("The deployment counts, and ACTIVITY.md does not tell of it")
    assert f"deployed `{found.choose()}` to " in told.says
