"""How much faster than AWS the sandbox's tasks start, pass checks and drain: one factor.

Every duration in the data plane is written as AWS has it, or read from the target group that
sets it, and divided here. Times that are shown are real: only waits are shorter.
"""

from __future__ import annotations

FACTOR = 60  # a minute on AWS is a second here
MAIL_REVIEW_S = 60.0  # AWS says within 24 hours, which would be 24 minutes here
ALARM_FACTOR = 2.5  # periods of alarms are shorter by this only: see docs/adr/0011

TICK_S = 0.1  # how often the scheduler looks while anything is in flight


def seconds(on_aws: float) -> float:
    """How long what takes `on_aws` seconds there takes here."""
    return on_aws / FACTOR
