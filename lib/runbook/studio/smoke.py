"""Smoke tests: each service is made to do something, as a caller does, and nothing is left of it.

What is asked stands in the settings: a request to a host, and the status that a healthy service
answers. A 401 or a 404 of the application's own is as good as a 200: it has read the request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException

from runbook.clients import Clients
from runbook.settings import Smoke
from runbook.table import Table


@dataclass(frozen=True)
class Tried:
    """One test and what came of it. `got` is None when nothing did, and `error` says why."""

    test: Smoke
    got: int | None
    error: str = ""

    @property
    def passed(self) -> bool:
        return self.got == self.test.expect


def run(clients: Clients) -> tuple[Tried, ...]:
    """All tests of the environment, side by side, each once."""
    tests = clients.environment.maintenance.smoke
    with ThreadPoolExecutor(max(1, len(tests))) as pool:
        return tuple(pool.map(lambda test: _try(clients, test), tests))


def passed(tried: Iterable[Tried]) -> bool:
    """Whether all passed."""
    return all(one.passed for one in tried)


def table(tried: Iterable[Tried]) -> Table:
    """Each test, to be read."""
    import pandas as pd

    rows = [
        {
            "status": "ok" if one.passed else "critical",
            "service": one.test.service,
            "asked": f"{one.test.method} {one.test.host}{one.test.path}",
            "expected": str(one.test.expect),
            "found": str(one.got or one.error),
        }
        for one in tried
    ]
    return Table(pd.DataFrame(rows), empty="The environment names no smoke test.")


def _try(clients: Clients, test: Smoke) -> Tried:
    connection = clients.http(test.host)
    headers = {"Host": test.host, "User-Agent": f"runbook/{clients.run_id}"}
    body = None
    if test.body:
        body, headers["Content-Type"] = json.dumps(dict(test.body)), "application/json"
    try:
        connection.request(test.method, test.path, body=body, headers=headers)
        return Tried(test, connection.getresponse().status)
    except (OSError, HTTPException) as error:
        return Tried(test, None, " ".join(str(error).split()) or type(error).__name__)
    finally:
        connection.close()
