"""Logs Insights: a query to a DataFrame, within a deadline, and what it cost.

Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_StartQuery.html
and https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from runbook import picture
from runbook.clients import Clients
from runbook.errors import BadInput, Failed
from runbook.picture import Picture
from runbook.settings import Logs
from runbook.studio.logs.search import Window, groups_of, missing
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK, DeadlinePassed, Wait

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 10_000  # of one query, as AWS has it
_OPEN = ("Scheduled", "Running")
_POINTER = "@ptr"
_TIMES = re.compile(r"@timestamp|@ingestionTime|bin\(.*\)")
_NO_SUCH = re.compile(r"\bp(\d{1,2}(?:\.\d+)?)\s*\(\s*([@\w.]+)\s*\)")  # the runbook's p95(…)
_BYTES_PER_GB = 1e9
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Answer:
    """What a query came to. Of `frame`: numbers are numbers, times are UTC and naive."""

    frame: pd.DataFrame
    scanned_bytes: float
    scanned_records: float
    matched_records: float
    usd_per_gb: float
    missing: tuple[str, ...] = ()

    @property
    def cost_usd(self) -> float:
        """What AWS charges for it: by the data looked through, whatever was found."""
        return self.scanned_bytes / _BYTES_PER_GB * self.usd_per_gb

    @property
    def says(self) -> str:
        """What it came to, in one sentence."""
        count = len(self.frame)
        told = f"{count:,} {'row' if count == 1 else 'rows'}"
        if count == MOST_ROWS:
            told += ", which is the most that AWS gives: narrow the query"
        lost = f" No log group for {', '.join(self.missing)}." if self.missing else ""
        return (
            f"{told}, from {self.matched_records:,.0f} of {self.scanned_records:,.0f} lines; "
            f"{_size(self.scanned_bytes)} scanned, {self.cost_usd:.6f} USD.{lost}"
        )

    def table(self, *, rows: int = 50) -> Table:
        """The first rows, to be read."""
        return Table(self.frame.head(rows), empty="No line matches.")

    def plot(self) -> Picture:
        """Its numbers: over time where a row has a time, else one bar a row."""
        numbers = _of_one_unit(self.frame.select_dtypes("number"))
        times = self.frame.select_dtypes("datetime")
        figure, axes = picture.strip(height_inches=3.0)
        if numbers.empty:
            axes.text(0.5, 0.5, "no numbers to draw", ha="center", transform=axes.transAxes)
        elif times.columns.size:
            ordered = self.frame.sort_values(times.columns[0])
            for name in numbers:
                axes.plot(ordered[times.columns[0]], ordered[name], marker=".", label=name)
            picture.clock_axis(axes)
        else:
            labels = self.frame[[name for name in self.frame if name not in numbers]]
            named = labels.fillna("none").astype(str).agg(" ".join, axis=1).head(20)
            numbers.head(20).plot.barh(ax=axes)
            axes.set_yticks(range(len(named)), list(named) if labels.columns.size else [])
            axes.invert_yaxis()
        if not numbers.empty:
            axes.legend(frameon=False, fontsize="small")
        return Picture(figure, says=f"{', '.join(map(str, numbers)) or 'nothing'} of each row")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        return {
            "status": "warning" if self.missing else "ok",
            "says": self.says,
            "rows": len(self.frame),
            "scanned_bytes": int(self.scanned_bytes),
            "cost_usd": round(self.cost_usd, 6),
            "first_rows": Table(self.frame.head(20)).records(),
        }


def query(
    logs: Any,
    settings: Logs,
    text: str,
    *,
    window: Window,
    services: str = "",
    deadline_s: float = 60,
    factor: float = 1.0,
) -> Answer:
    """Ask, wait for the answer, and read it whole.

    A query that is not done by the deadline, or whose waiting is interrupted, is stopped at AWS:
    what runs on costs on. Raises BadInput for a malformed query, with where it is wrong and what
    was expected, and Failed for one that was stopped or that AWS gave up.
    """
    groups = groups_of(settings, services)
    lost = missing(logs, groups)
    there = [group for name, group in groups.items() if name not in lost]
    if not there:
        raise BadInput(f"services: no log group exists of {', '.join(groups)}.")
    query_id = _start(logs, text, there, window)
    done = _wait(logs, query_id, deadline_s=deadline_s, factor=factor)
    if done["status"] != "Complete":
        raise Failed(
            f"AWS ended the query as {done['status']}, after {_scanned(done)}.",
            next="Ask again; a shorter time or fewer services take less.",
        )
    counted = done["statistics"]
    return Answer(
        frame_of(done["results"]),
        counted["bytesScanned"],
        counted["recordsScanned"],
        counted["recordsMatched"],
        settings.usd_per_gb_scanned,
        tuple(lost),
    )


def recent(clients: Clients, text: str, *, minutes: float, deadline_s: float) -> pd.DataFrame:
    """What a query over all services finds in the last so many minutes. Raises as `query` does."""
    environment, end = clients.environment, SYSTEM_CLOCK.now()
    return query(
        clients.aws("logs"),
        environment.logs,
        text,
        window=Window(end - timedelta(minutes=minutes), end),
        deadline_s=deadline_s,
        factor=environment.waits.factor,
    ).frame


def frame_of(results: Iterable[Sequence[Mapping[str, str]]]) -> pd.DataFrame:
    """Rows of GetQueryResults as a DataFrame: without pointers, columns as they first come."""
    import pandas as pd

    rows = [
        {cell["field"]: cell["value"] for cell in row if cell["field"] != _POINTER}
        for row in results
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    frame = pd.DataFrame(rows, columns=columns)
    for name in columns:
        if _TIMES.fullmatch(name):
            frame[name] = pd.to_datetime(frame[name])
            continue
        numbers = pd.to_numeric(frame[name], errors="coerce")
        if numbers.notna().sum() == frame[name].notna().sum():
            frame[name] = numbers
    return frame


def explain(text: str, compile_error: Mapping[str, Any], said: str) -> str:
    """A malformed query with a mark below what is wrong, and what AWS expected there. Pure."""
    location = compile_error.get("location") or {}
    start, end = location.get("startCharOffset"), location.get("endCharOffset")
    expected = compile_error.get("message") or said
    lines = [f"AWS cannot read the query: {expected}"]
    if start is not None:
        begin = text.rfind("\n", 0, start) + 1
        shown = text[begin:].split("\n", 1)[0]
        width = max(1, min((end or start + 1), begin + len(shown)) - start)
        lines += [f"  {shown}", f"  {' ' * (start - begin)}{'^' * width}"]
    return "\n".join(lines)


def _of_one_unit(numbers: pd.DataFrame) -> pd.DataFrame:
    """What can share an axis: durations, where there are some, else all."""
    return numbers.filter(regex=r"_ms$") if any(numbers.columns.str.endswith("_ms")) else numbers


def _start(logs: Any, text: str, groups: list[str], window: Window) -> str:
    from botocore.exceptions import ClientError

    try:
        answer = logs.start_query(
            logGroupNames=groups,
            startTime=window.start_ms // 1000,
            endTime=-(-window.end_ms // 1000),
            queryString=text,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "MalformedQueryException":
            raise
        told = error.response.get("queryCompileError", {})
        said = explain(text, told, error.response["Error"]["Message"])
        raise BadInput(said, next=_hint(text)) from error
    return str(answer["queryId"])


def _hint(text: str) -> str:
    found = _NO_SUCH.search(text)
    if found:
        return f"There is no p{found[1]}: write pct({found[2]}, {found[1]})."
    return "Syntax: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html"


def _wait(logs: Any, query_id: str, *, deadline_s: float, factor: float) -> Mapping[str, Any]:
    """The answer, once there is one. Whatever else happens, the query does not run on."""

    def read() -> Mapping[str, Any] | None:
        answer: Mapping[str, Any] = logs.get_query_results(queryId=query_id)
        return None if answer["status"] in _OPEN else answer

    # the deadline is the operator's and holds as it stands; only looking is scaled
    wait = Wait(timeout_s=deadline_s, interval_s=max(0.2, factor))
    try:
        return wait.until(read, what="the query")
    except BaseException as error:
        so_far = _stop(logs, query_id)
        if isinstance(error, DeadlinePassed):
            raise Failed(
                f"The query was not done after {deadline_s:g} s; it was stopped at AWS, "
                f"after {so_far}.",
                next="Give it a longer deadline_s, a shorter time, or fewer services.",
            ) from error
        raise


def _stop(logs: Any, query_id: str) -> str:
    """Stop it, unless it has ended meanwhile; says how much was scanned."""
    from botocore.exceptions import ClientError

    try:
        logs.stop_query(queryId=query_id)
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidParameterException":
            raise
    return _scanned(logs.get_query_results(queryId=query_id))


def _scanned(answer: Mapping[str, Any]) -> str:
    return f"{_size(answer.get('statistics', {}).get('bytesScanned', 0))} scanned"


def _size(count: float) -> str:
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError
