"""SNS: the topic that alarms notify."""

from __future__ import annotations

from studio_sandbox.control_plane.moto_adapter import core


def topic(account: str, region: str, name: str, *, mail: str) -> str:
    """A topic with one confirmed subscriber by mail; gives its ARN."""
    sns = core.backend("sns", account, region)
    made = sns.create_topic(name)
    sns.subscribe(made.arn, mail, "email")
    return str(made.arn)
