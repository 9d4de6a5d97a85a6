"""Writing usage from Redis to the database: by the runbook itself, or by the product's script.

found = sync_usage.read(rb.clients, by="runbook")
found.table(), found.user_table(), found.plan(run=rb.clients.run_id)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from runbook.clients import Clients
from runbook.errors import BadInput
from runbook.studio import usage_script, usage_sync
from runbook.studio.usage_sync import Drifts

WAYS: Mapping[str, Callable[[Clients], Drifts]] = {
    "runbook": usage_sync.read,
    "script": usage_script.read,
}


def read(clients: Clients, *, by: str) -> Drifts:
    """Counters that the table does not add up to: of this month, or for the script of every one.

    Raises BadInput for another way, and Refused when usage is being written without the shared
    lock: by the runbook at once, for the script when its plan is applied.
    """
    if by not in WAYS:
        raise BadInput(f"by: expected {' or '.join(WAYS)}, found {by!r}.")
    return WAYS[by](clients)
