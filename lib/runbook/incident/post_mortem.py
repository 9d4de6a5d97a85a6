"""The post-mortem: a draft of everything that is known, so that people write only what is not.

    found = post_mortem.read(room)
    found.markdown()        summary, impact, timeline, detection, cause, what to do about it

Nobody is blamed, and nothing is made up: what only people know is asked for in *italics*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runbook.headline import worst
from runbook.incident.notify import fit_to_tell
from runbook.incident.room import Room
from runbook.incident.state import State, in_words
from runbook.incident.timeline import Moment, Timeline
from runbook.record.redaction import mask
from runbook.studio import logs
from runbook.studio.logs.failures import Failures
from runbook.studio.logs.failures import read as read_failures

_ASSESS = "assess"
_LONGEST = 300  # signs of a cell in the timeline
_APART = timedelta(minutes=5)  # trouble that was over for so long is another one's


@dataclass(frozen=True)
class PostMortem:
    """An incident looked back at. `failures` is None where the logs do not answer."""

    state: State
    timeline: Timeline
    failures: Failures | None
    suspects: tuple[Mapping[str, Any], ...]  # of the last run of assess under it
    told: int

    @property
    def raised(self) -> Moment | None:
        """The first alarm that was raised, if one was; not one that was over long before."""
        raised: dict[str, Moment] = {}
        for one in self.timeline.moments:
            if one.source != "alarm":
                continue
            if one.text.endswith("to ALARM"):
                raised.setdefault(_alarm_of(one), one)
            elif self.state.incident.opened_at - one.at > _APART:
                raised.pop(_alarm_of(one), None)
        return min(raised.values(), key=lambda one: one.at, default=None)

    @property
    def began(self) -> datetime:
        """When the trouble began, as far as anything tells: failing requests, an alarm, a word."""
        opened = self.state.incident.opened_at
        seen = [opened]
        if self.failures and (bad := self.failures.bad_since(opened, apart=_APART)):
            seen.append(bad)
        if self.raised:
            seen.append(self.raised.at)
        return min(seen)

    def summary(self) -> str:
        """What happened, in a few sentences."""
        state = self.state
        lasted = in_words(state.until - self.began)
        impact = self.failures.says if self.failures else "how many requests failed is not known"
        over = "and is not over" if state.done("resolve") is None else f"and lasted {lasted}"
        return (
            f"{self._title} ({state.severity}). It began at {self.began:%Y-%m-%d %H:%M} UTC "
            f"{over}; {impact}.{self._mended()}"
        )

    @property
    def _title(self) -> str:
        return self.state.incident.title.rstrip(".")

    def _mended(self) -> str:
        """What brought it to an end, and when, as far as that is known."""
        at = self.state.done("mitigate")
        sections = [run["section"] for run in self.state.applied if run["verdict"] == "succeeded"]
        if at is None or not sections:
            return ""
        after = in_words(at - self.state.incident.opened_at)
        return f" Mended by {', '.join(dict.fromkeys(sections))}, {after} after it was opened."

    def detection(self) -> str:
        """Who or what noticed, and how long that took."""
        opened = self.state.incident.opened_at
        if self.raised is None:
            return (
                f"A person noticed: no alarm was raised in the "
                f"{in_words(opened - self.timeline.since)} before it was opened."
            )
        return (
            f"The alarm {_alarm_of(self.raised)} was raised at {self.raised.at:%H:%M:%S} UTC, "
            f"{_after(self.raised.at - self.began)} the first sign; the incident was opened "
            f"{_after(opened - self.raised.at)} that."
        )

    def went_well(self) -> list[str]:
        """What was in time, and what was done as it should be."""
        state = self.state
        told = [f"{one.name} in time, after {in_words(one.done - state.incident.opened_at)}"
                for one in state.steps if one.done and one.due and one.done <= one.due]  # fmt: skip
        applied = [f"{run['section']} was planned, applied and verified ({run['run_id']})"
                   for run in state.applied if run["verdict"] == "succeeded"]  # fmt: skip
        return [*told, *applied, *(["the team was told"] if self.told else [])]

    def went_badly(self) -> list[str]:
        """What was late, past the runbook, cut off or unseen."""
        state, found = self.state, self.timeline
        late = [f"{one.name}: {one.says(state.now)}" for one in state.steps
                if one.status(state.now) == "critical"]  # fmt: skip
        past = [f"{who} made {_changes(len(actions))} past the runbook: "
                f"{', '.join(dict.fromkeys(actions))}"
                for who, actions in self._past()]  # fmt: skip
        ended = [f"{run['section']} ended {run['verdict']} ({run['run_id']})"
                 for run in state.applied if run["verdict"] != "succeeded"]  # fmt: skip
        gaps = [f"nothing is known of {in_words(end - start)} from {start:%H:%M} UTC on"
                for start, end in found.gaps]  # fmt: skip
        unseen = [f"{source} could not be looked at: {why}"
                  for source, why in found.not_seen.items()]  # fmt: skip
        return [*late, *ended, *past, *gaps, *unseen, *([] if self.told else ["nobody was told"])]

    def _past(self) -> list[tuple[str, list[str]]]:
        """Who went past the runbook while it lasted, and which calls that were."""
        opened = self.state.incident.opened_at
        return _by_whom(one for one in self.timeline.outside if one.at >= opened)

    def _before(self) -> list[tuple[str, list[str]]]:
        """Who changed something past the runbook before it was opened: a cause, if anything."""
        opened = self.state.incident.opened_at
        return _by_whom(one for one in self.timeline.outside if one.at < opened)

    def luck(self) -> list[str]:
        """Where it ended well without anybody's doing: facts that ask for a thought."""
        found = []
        if self.raised is None:
            found.append("No alarm was raised: that somebody looked was luck.")
        elif self.raised.at - self.began > timedelta(minutes=5):
            found.append(f"The alarm came {in_words(self.raised.at - self.began)} after the start.")
        if self.failures and not self.failures.bad_minutes:
            found.append("Hardly a request failed: would it have stayed so at noon?")
        return found

    def proposals(self) -> list[str]:
        """Actions that what went badly asks for."""
        found = []
        if self.raised is None:
            found.append("Raise an alarm on what this incident showed first (check-alarms).")
        if past := self._past():
            actions = sorted({each for _, actions in past for each in actions})
            found.append(f"Give the runbook a way to do what went past it: {', '.join(actions)}.")
        for one in self.state.steps:
            if one.status(self.state.now) == "critical":
                found.append(f"Find out what would have made '{one.name}' faster.")
        return found

    def findings(self) -> dict[str, Any]:
        """The post-mortem as data, with `status` and the sentence `says`."""
        state = self.state
        late = any(one.status(state.now) == "critical" for one in state.steps)
        over = state.done("resolve") is not None
        return {
            "status": worst("ok" if over else "warning", "warning" if late else "ok"),
            "says": self.summary(),
            "incident": state.incident.id,
            "failed_requests": self.failures.failed if self.failures else None,
            "users": self.failures.users if self.failures else None,
            "bad_minutes": self.failures.bad_minutes if self.failures else None,
            "causes": [dict(one) for one in self.suspects[:3]],
            "open_actions": [one.text for one in state.actions if one.open],
        }

    def markdown(self) -> str:
        """The draft: masked, without anybody's address, ready to be completed by its readers."""
        state, incident = self.state, self.state.incident
        parts = [
            f"# Post-mortem: {self._title}",
            f"{incident.id}, {state.severity}, {state.status}. Draft of {state.now:%Y-%m-%d %H:%M} "
            "UTC from the record; *what stands in italics is for people to write*.",
            f"## Summary\n\n{self.summary()}",
            f"## Impact\n\n{self._impact()}",
            f"## Detection\n\n{self.detection()}",
            f"## Cause\n\n{self._cause()}",
            f"## What was done\n\n{_bullets(self._done(), 'Nothing was changed.')}",
            f"## Times\n\n{_grid(state.clock_table().records())}",
            f"## What went well\n\n{_bullets(self.went_well(), '*To be written.*')}",
            f"## What did not\n\n{_bullets(self.went_badly(), 'Nothing that the record shows.')}",
            f"## Where luck helped\n\n{_bullets(self.luck(), '*To be written.*')}",
            f"## Actions\n\n{self._actions()}",
            f"## Timeline\n\n{_grid(self._rows())}",
        ]
        return fit_to_tell(mask("\n\n".join(parts))) + "\n"

    def _impact(self) -> str:
        if self.failures is None:
            return "How many requests failed is not known: the logs did not answer."
        lasted, found = self.failures.of(self.began, self.state.until), self.failures
        since = (
            f" {lasted.failed:,} of them failed among the {lasted.requests:,} requests since it "
            f"began ({lasted.percent:.1f} %)."
        )
        return f"{found.says[0].upper()}{found.says[1:]}.{since if lasted.requests else ''}"

    def _cause(self) -> str:
        changed = _bullets(
            [f"{who}: {_counted(actions)}" for who, actions in self._before()],
            "Nothing that CloudTrail shows.",
        )
        before = f"Changed past the runbook in the time before it was opened:\n\n{changed}"
        return f"{self._suspected()}\n\n{before}"

    def _suspected(self) -> str:
        if not self.suspects:
            return "*To be written: no assessment under this incident named a suspect.*"
        named = [
            f"{number}. **{one.get('cause', '')}** ({one.get('confidence', '')}): "
            f"{'; '.join(map(str, one.get('evidence', ())))}"
            for number, one in enumerate(self.suspects[:3], 1)
        ]
        which = "Was it this" if len(named) == 1 else "Which of these was it"
        asked = f"*{which}, and what let it come so far?*"
        return "Suspects by evidence, the likeliest first:\n\n" + "\n".join([*named, "", asked])

    def _done(self) -> list[str]:
        return [
            f"{datetime.fromisoformat(run['finished_at']):%H:%M:%S} UTC: {run['section']} by "
            f"{run['operator']}: {_changes(run['changes_applied'])}, {run['verdict']} "
            f"(`{run['run_id']}`)"
            for run in self.state.applied
        ]

    def _actions(self) -> str:
        written = [f"[{'x' if not one.open else ' '}] {one.text}"
                   f"{one.owner and f' ({one.owner})'}{one.section and f', section {one.section}'}"
                   f"{one.closed_by and f': closed by {one.closed_by}'}"
                   for one in self.state.actions]  # fmt: skip
        proposed = [f"[ ] *proposed:* {text}" for text in self.proposals()]
        return _bullets([*written, *proposed], "*To be written.*")

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "at": f"{one.at:%Y-%m-%d %H:%M:%S}", "source": one.source, "who": one.who,
                "what": mask(one.text)[:_LONGEST] + (f" (×{one.times})" if one.times > 1 else ""),
                "note": "past the runbook" if one.outside else "",
            }
            for one in self.timeline.moments
        ]  # fmt: skip


def read(room: Room) -> PostMortem:
    """Look back at an incident: its timeline, what it cost, what was suspected. Reads only."""
    clients, state = room.clients, room.state()
    begins = state.incident.opened_at - timedelta(
        minutes=clients.environment.incidents.lead_minutes
    )
    clients.aws("logs")
    with ThreadPoolExecutor(2, thread_name_prefix="post-mortem") as pool:
        told = pool.submit(room.timeline)
        failed = pool.submit(_failures, room, logs.Window(begins, state.until))
        events = room.events()
        return PostMortem(
            state,
            told.result(),
            failed.result(),
            _suspects(room.runs()),
            sum(1 for one in events if one.kind == "told"),
        )


def _failures(room: Room, window: logs.Window) -> Failures | None:
    environment = room.clients.environment
    try:
        return read_failures(
            room.clients.aws("logs"), environment.logs, window=window,
            factor=environment.waits.factor,
        )  # fmt: skip
    except Exception:  # a post-mortem is written, whatever is down: it says what is missing
        return None


def _suspects(runs: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """What the first run of assess that found any suspects made of it: nearest to the trouble."""
    for about in runs:
        found = (about["result"] or {}).get("suspects") if about["section"] == _ASSESS else None
        if found:
            return tuple(found)
    return ()


def _alarm_of(moment: Moment) -> str:
    return moment.text.partition(" ")[0]


def _changes(count: int) -> str:
    return f"{count} change{'' if count == 1 else 's'}"


def _by_whom(moments: Iterable[Moment]) -> list[tuple[str, list[str]]]:
    """Who did it, and which calls that were."""
    found: dict[str, list[str]] = {}
    for one in moments:
        found.setdefault(one.who, []).extend([one.text.partition(" on ")[0]] * one.times)
    return list(found.items())


def _counted(actions: Sequence[str]) -> str:
    """`ecs UpdateService (×4), ecr PutImage`."""
    return ", ".join(
        f"{action} (×{times})" if times > 1 else action
        for action, times in Counter(actions).items()
    )


def _after(length: timedelta) -> str:
    return f"{in_words(length)} after" if length >= timedelta() else f"{in_words(-length)} before"


def _bullets(lines: Sequence[str], otherwise: str) -> str:
    return "\n".join(f"- {line}" for line in lines) or otherwise


def _grid(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "Nothing."
    head = list(rows[0])
    lines = [[str(row[name] if row[name] is not None else "") for name in head] for row in rows]
    cells = [
        " | ".join(_cell(each) for each in line) for line in [head, ["---"] * len(head), *lines]
    ]
    return "\n".join(f"| {line} |" for line in cells)


def _cell(text: str) -> str:
    # before it takes another shape, in which no mask would know it
    return mask(text).replace("|", "\\|").replace("\n", " ")
