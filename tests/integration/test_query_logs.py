"""query-logs on the sandbox: the same rows as the `aws` command has, and its ends."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.integration.test_clear_stuck_jobs import runbook
from tests.integration.test_other_clients import exported, installed, say  # noqa: F401

from runbook import settings
from runbook.errors import BadInput, Failed
from runbook.studio import logs
from studio_sandbox.box import Box

SETTINGS = settings.load("sandbox").logs
QUERY = (
    "filter ispresent(latency_ms) | stats count(*) as n, pct(latency_ms, 95) as p95 by status "
    "| sort status asc"
)


def ask(logs_client: Any, text: str, **how: Any) -> logs.Answer:
    return logs.query(logs_client, SETTINGS, text, window=logs.window(minutes=600), **how)


def test_rows_are_those_of_the_aws_command(
    box: Box, logs_client: Any, exported: dict[str, str]  # noqa: F811
) -> None:  # fmt: skip
    aws = installed("aws")
    when = logs.window(minutes=600)
    where = ["--log-group-names", *SETTINGS.groups.values(), "--query-string", QUERY]
    where += ["--start-time", str(when.start_ms // 1000), "--end-time", str(when.end_ms // 1000)]
    asked = json.loads(say(aws, "logs", "start-query", *where, env=exported))
    deadline = time.monotonic() + 60
    while True:
        told = say(aws, "logs", "get-query-results", "--query-id", asked["queryId"], env=exported)
        theirs = json.loads(told)
        if theirs["status"] == "Complete":
            break
        assert time.monotonic() < deadline
    ours = ask(logs_client, QUERY)
    assert [
        [float(cell["value"]) for cell in row if cell["field"] != "@ptr"]
        for row in theirs["results"]
    ] == ours.frame.to_numpy().tolist()
    assert ours.scanned_bytes == theirs["statistics"]["bytesScanned"] > 0
    assert ours.cost_usd == pytest.approx(ours.scanned_bytes / 1e9 * SETTINGS.usd_per_gb_scanned)


def test_the_runbooks_p95_is_refused_with_the_right_name(box: Box, logs_client: Any) -> None:
    with pytest.raises(BadInput) as refused:
        ask(logs_client, "stats avg(latency_ms), p95(latency_ms)")
    assert "^^^" in refused.value.message
    assert refused.value.next == "There is no p95: write pct(latency_ms, 95)."


def test_a_query_past_its_deadline_is_stopped_at_aws(box: Box, logs_client: Any) -> None:
    class Slow:
        """The sandbox's client, whose query goes on and on for whoever looks."""

        exceptions = logs_client.exceptions
        stopped: list[str] = []  # noqa: RUF012

        def __getattr__(self, name: str) -> Any:
            return getattr(logs_client, name)

        def get_query_results(self, queryId: str) -> Any:  # noqa: N803
            answer = logs_client.get_query_results(queryId=queryId)
            return answer if self.stopped else {**answer, "status": "Running"}

        def stop_query(self, queryId: str) -> Any:  # noqa: N803
            self.stopped.append(queryId)
            return logs_client.stop_query(queryId=queryId)

    slow = Slow()
    with pytest.raises(Failed, match=r"not done after 0.5 s; it was stopped at AWS"):
        ask(slow, "stats count(*)", deadline_s=0.5)
    assert len(slow.stopped) == 1


def test_the_section_runs_headless(box: Box) -> None:
    told = runbook("run", "query-logs", "-p", "minutes", "600")
    assert (told.code, told.json["verdict"]) == (0, "succeeded"), told.err
    assert told.json["result"]["rows"] == len(told.json["result"]["first_rows"]) > 2
    assert told.json["result"]["cost_usd"] > 0
    refused = runbook("run", "query-logs", "-p", "query", "this is not a query")
    assert (refused.code, refused.json["verdict"]) == (2, "refused")
    assert "AWS cannot read the query" in refused.json["error"]["message"]
