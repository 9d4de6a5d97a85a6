"""Telling the team, in Slack and by mail: masked, side by side, and never in the way of the work.

What is told leaves the company's own systems, so it holds no secret and nobody's personal data:
addresses of mail and telephone numbers are taken out as well. A channel that fails is reported
and nothing more: whoever mends the Studio does not wait for Slack.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from dataclasses import dataclass
from functools import partial

from runbook import settings
from runbook.clients import Clients
from runbook.errors import RunbookError
from runbook.record import redaction
from runbook.studio import ses, slack

_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_TELEPHONE = re.compile(r"(?<![\w.+-])\+\d[\d ()-]{7,}\d\b")


@dataclass(frozen=True)
class Told:
    """How it went with one channel: `slack` or `mail`; `problem` is empty when it was told."""

    channel: str
    problem: str = ""


def tell(clients: Clients, text: str, *, subject: str) -> list[Told]:
    """Tell every channel that the environment names; gives how each went, and never raises.

    Waits for `notify.timeout_s` at most. `subject` is the mail's, and Slack's first line.
    """
    shown, title = fit_to_tell(text), fit_to_tell(subject)
    channels = _channels(clients, title, shown)
    pool = ThreadPoolExecutor(max(1, len(channels)), thread_name_prefix="notify")
    asked = {name: pool.submit(send) for name, send in channels.items()}
    told = []
    for name, answer in asked.items():
        try:
            answer.result(timeout=clients.environment.notify.timeout_s)
            told.append(Told(name))
        except RunbookError as error:
            told.append(Told(name, redaction.mask(error.message)))
        except TooLate:
            told.append(Told(name, f"no answer in {clients.environment.notify.timeout_s:g} s"))
        except Exception as error:  # telling must never stop the work
            told.append(Told(name, redaction.mask(f"{type(error).__name__}: {error}")))
    pool.shutdown(wait=False, cancel_futures=True)
    return told


def fit_to_tell(text: str) -> str:
    """The text without secrets, and without what names a person."""
    text = redaction.mask(text)
    return _TELEPHONE.sub("[telephone number]", _MAIL.sub("[mail address]", text))


def _channels(clients: Clients, subject: str, text: str) -> dict[str, Callable[[], None]]:
    wanted = clients.environment.notify
    channels: dict[str, Callable[[], None]] = {}
    if wanted.slack:
        channels["slack"] = partial(_to_slack, clients, wanted.slack, f"*{subject}*\n{text}")
    if wanted.mail:
        channels["mail"] = partial(_by_mail, clients, wanted.mail, subject, text)
    return channels


def _to_slack(clients: Clients, wanted: settings.Slack, text: str) -> None:
    timeout_s = clients.environment.notify.timeout_s
    slack.post(clients.kept(wanted, "SLACK_WEBHOOK"), text, timeout_s=timeout_s)


def _by_mail(clients: Clients, wanted: settings.Mail, subject: str, text: str) -> None:
    client = clients.aws("sesv2")
    ses.send(client, sender=wanted.sender, to=wanted.to, subject=subject, text=text)
