"""Slack: one message to a channel, through the channel's incoming webhook."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

from runbook.errors import NotReachable
from runbook.secret import Secret


def post(webhook: Secret, text: str, *, timeout_s: float) -> None:
    """Send a message; the webhook's URL is the secret that allows it.

    Raises NotReachable: nobody answered within the time, or Slack refused (with its own word).
    Source: Slack, Sending messages using incoming webhooks.
    """
    request = urllib.request.Request(  # noqa: S310  the URL is the environment's own
        webhook.reveal(),
        data=json.dumps({"text": text}).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):  # noqa: S310
            return
    except urllib.error.HTTPError as refused:
        word = refused.read(200).decode("utf-8", "replace")
        raise NotReachable(f"Slack refused the message: {refused.code} {word}.") from None
    except (OSError, ValueError) as error:  # no answer, or no URL
        reason = getattr(error, "reason", error)
        raise NotReachable(f"Slack does not answer: {type(reason).__name__}.") from None
