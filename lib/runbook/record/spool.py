"""The spool: runs that were put on record on this machine while the shared record did not answer.

spool/<environment>/ in the state folder is a record like any other. The next command that reaches
the shared record moves the sealed runs there, with the plans they made, and chains them.
"""

from __future__ import annotations

import logging
import shutil

from runbook.errors import RecordUnavailable
from runbook.record.ledger import GROWS, chain
from runbook.record.runs import Run, running, spool_of, store_of
from runbook.record.store import AlreadyThere, FolderStore, Store, exclusive
from runbook.settings import Environment

_LOG = logging.getLogger(__name__)


def at_hand(environment: Environment) -> Store:
    """The environment's record; while it does not answer, what this machine has spooled."""
    store = store_of(environment)
    if isinstance(store, FolderStore):
        return store
    try:
        next(iter(store.keys("running")), None)
    except RecordUnavailable as error:
        spool = spool_of(environment)
        _LOG.warning("%s Until it does, this is the spool: %s", error.message, spool.root)
        return spool
    drain(environment)
    return store


def drain(environment: Environment) -> list[str]:
    """Move every sealed run from the spool into the record; returns their ids."""
    spool, store = spool_of(environment), store_of(environment)
    if not spool.names("runs"):
        return []
    with exclusive(spool.root):
        at_work = {run.id for run in running(spool)}
        ready = [name for name in spool.names("runs") if name not in at_work]
        for name in ready:
            _move(spool, name, Run(store, name))
            _LOG.warning("Run %s has been moved from the spool into the record.", name)
    return ready


def _move(here: FolderStore, name: str, kept: Run) -> None:
    """Copy the run, chain it, then remove it here. After a crash it is done over."""
    kept.mark()
    plans = [key for key in here.keys("plans") if key.split("/")[2] == name]
    files = list(here.keys(f"runs/{name}"))
    # run.json is the last: without it nobody takes what is there for a whole run
    for key in sorted([*plans, *files], key=lambda key: key == kept.key("run.json")):
        _copy(here, kept.store, key)
    chain(kept)
    kept.ended()
    for folder in {f"runs/{name}", *(key.rpartition("/")[0] for key in plans)}:
        shutil.rmtree(here.root / folder)


def _copy(here: Store, there: Store, key: str) -> None:
    stored = here.read(key)
    data = stored.data if stored else b""
    if key.endswith(f"/{GROWS}"):
        kept = there.read(key)
        for line in data[len(kept.data) if kept else 0 :].splitlines():
            there.append(key, line)
        return
    try:
        there.create(key, data)
    except AlreadyThere:
        return
