"""Logs: lines of all services by time, errors by shape, one request through all of them.

    found = logs.find(rb.aws("logs"), rb.environment.logs, window=logs.window(minutes=60))
    found.error_table()             errors by shape: how many, since when, until when
    logs.trace(…, trace_id=…)       one request, hop by hop
    logs.follow(…, seconds=60)      what is written now
    logs.query(…, "stats …")        a query of Logs Insights as a DataFrame, and its price
    logs.search(…)                  the events themselves, one by one, however many

Log groups are only read. What a query looks through is paid for by the GB; the rest is requests.
"""

from runbook.studio.logs.found import Found, find
from runbook.studio.logs.lines import Event, Line, Lines, shape
from runbook.studio.logs.query import Answer, query
from runbook.studio.logs.search import Window, groups_of, missing, search, window
from runbook.studio.logs.tail import follow, tail
from runbook.studio.logs.trace import Trace, trace

__all__ = [
    "Answer", "Event", "Found", "Line", "Lines", "Trace", "Window",
    "find", "follow", "groups_of", "missing", "query", "search", "shape", "tail", "trace", "window",
]  # fmt: skip
