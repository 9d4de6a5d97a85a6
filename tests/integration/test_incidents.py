"""An incident is opened, the team is told, and what fails on the way stops nobody."""

from __future__ import annotations

import json
import socket
import urllib.request
from typing import Any

import pytest
from tests.integration.test_cli_contract import ask, told

from runbook import settings
from runbook.clients import Clients
from runbook.incident import notify
from runbook.secret import Secret
from runbook.settings import Mail, Notify, Slack
from studio_sandbox.box import Box


def _clients(**notify: Any) -> Clients:
    changed = settings.load("sandbox").model_copy(update={"notify": Notify(**notify)})
    return Clients(changed)


def _said_in_slack(box: Box) -> list[str]:
    with urllib.request.urlopen(f"{box.endpoints_url}/slack/messages", timeout=10) as answer:  # noqa: S310
        return [each["text"] for each in json.load(answer)["messages"]]


def test_slack_and_mail_are_told_without_secrets_or_persons(fresh_box: Box) -> None:
    Secret("hunter2-hunter2", name="DSN")
    clients = Clients(settings.load("sandbox"))
    before = clients.aws("sesv2").get_account()["SendQuota"]["SentLast24Hours"]

    sent = notify.tell(clients, "hunter2-hunter2 of leila@example.org", subject="P1 down")

    assert sent == [notify.Told("slack"), notify.Told("mail")]
    assert _said_in_slack(fresh_box)[-1] == "*P1 down*\n[secret DSN] of [mail address]"
    after = clients.aws("sesv2").get_account()["SendQuota"]["SentLast24Hours"]
    assert after == before + 1


def test_a_slack_that_never_answers_is_said_and_the_rest_is_told(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        webhook = settings.home() / "silent-webhook"
        webhook.write_text(f"http://127.0.0.1:{silent.getsockname()[1]}/services/x")
        mail = Mail(sender="no-reply@pulse-studio.example", to=("oncall@pulse-studio.example",))
        clients = _clients(slack=Slack(file="silent-webhook"), mail=mail, timeout_s=0.5)

        slack, post = notify.tell(clients, "text", subject="subject")

    assert slack.problem
    assert post == notify.Told("mail")


@pytest.mark.parametrize(
    ("sender", "says"),
    [("nobody@unverified.example", "SES refused the mail: MessageRejected")],
)
def test_a_mail_that_is_refused_says_so_in_the_words_of_ses(
    box: Box, sender: str, says: str
) -> None:
    clients = _clients(mail=Mail(sender=sender, to=("oncall@pulse-studio.example",)))

    (sent,) = notify.tell(clients, "text", subject="subject")

    assert sent.problem.startswith(says)


def test_an_incident_is_opened_noted_and_shown_with_the_runs_under_it(fresh_box: Box) -> None:
    opened = told("incident", "open", "Videos do not start")
    assert [each["problem"] for each in opened["told"]] == ["", ""]
    assert ask("incident", "note", opened["id"], "The worker died.").returncode == 0
    ran = told("run", "clear-stuck-jobs", "--incident", opened["id"])

    shown = told("incident", "show", opened["id"])

    assert [each["kind"] for each in shown["events"]] == ["told", "note"]
    assert shown["runs"] == [ran["run_id"]]
    assert opened["id"] in [each["id"] for each in told("incident", "list")]
    assert f"{opened['id']})" in _said_in_slack(fresh_box)[-1]
