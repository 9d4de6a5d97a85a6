"""The error tree. The class answers the operator's first question: *did anything change?*

    RunbookError
    ├── Refused                     nothing was changed; exit 2
    │   ├── BadInput                a parameter, a settings file, a name that does not exist
    │   ├── WrongAccount            the credentials belong to another account or region
    │   ├── NotReachable            what the section needs does not answer
    │   ├── PlanUnknown             no saved plan has this digest
    │   ├── PlanExpired             the plan is too old to be applied
    │   ├── PlanStale               what the plan was based on has moved
    │   ├── GuardrailHit            over a limit, protected, frozen or outside the window
    │   ├── ApprovalMissing         another identity has to approve the digest first
    │   ├── LockHeld                somebody else is working on the target
    │   ├── Unresolved              an earlier intent on the target has no result yet
    │   ├── RecordUnavailable       the record cannot be written, so nothing may be changed
    │   └── Declined                the engineer did not type the digest
    ├── Failed                      an error; the journal says what was changed before it; exit 1
    │   ├── NotVerified             applied, but the world does not read as planned
    │   ├── StaleMidway             the world moved after the first change was made
    │   └── LockLost                the lease ran out or was taken over after the first change
    └── Unknown                     cut off between intent and result; exit 3

Every message has what was expected, what was found, and (`next`) the way on.
"""

from __future__ import annotations


class RunbookError(Exception):
    """What a section, a command or the library says when it cannot go on.

    `next` is the way on: a command to type or a section to open; one sentence, may be empty.
    """

    exit_code = 1
    verdict = "failed"

    def __init__(self, message: str, *, next: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next = next

    def __str__(self) -> str:
        return f"{self.message} {self.next}".strip()

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the sentence and the way on. Frames would bury them."""
        return [f"{type(self).__name__}: {self.message}", *([self.next] if self.next else [])]


class Refused(RunbookError):
    """Nothing was changed."""

    exit_code = 2
    verdict = "refused"


class BadInput(Refused):
    """A parameter, a settings file or a name is not what it has to be."""


class WrongAccount(Refused):
    """The credentials belong to another account or region than the environment's."""


class NotReachable(Refused):
    """A service that is needed before anything can be done does not answer."""


class PlanUnknown(Refused):
    """No saved plan has this digest."""


class PlanExpired(Refused):
    """The saved plan is older than the environment lets a plan be."""


class PlanStale(Refused):
    """What the plan was based on has moved since it was made."""


class GuardrailHit(Refused):
    """The plan is over a limit of the environment, or its target or time is protected."""


class ApprovalMissing(Refused):
    """The environment wants another identity to approve this digest first."""


class LockHeld(Refused):
    """Somebody else holds the lock of a target."""


class Unresolved(Refused):
    """An earlier change of the same target was cut off and has not been reconciled."""


class RecordUnavailable(Refused):
    """The record cannot be written; without an intent on record nothing is changed."""


class Declined(Refused):
    """The engineer was asked and did not confirm."""


class Failed(RunbookError):
    """An error after work began; the journal says what was changed before it."""


class NotVerified(Failed):
    """The change was applied and the world does not read as planned."""


class StaleMidway(Failed):
    """The world moved after the first change of the plan was made."""


class LockLost(Failed):
    """The lease ran out or was taken over after the first change was made."""


class Unknown(RunbookError):
    """Cut off between an intent and its result: something may have changed."""

    exit_code = 3
    verdict = "unknown"
