"""What alarms went through: DescribeAlarmHistory, which moto lacks, from the states it keeps.

Source: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from studio_sandbox.control_plane.moto_adapter import alarm_composites


def patch(response: Any) -> None:
    """Give moto's CloudWatch the operation."""
    response.describe_alarm_history = _describe_alarm_history


def _describe_alarm_history(self: Any) -> Any:
    from moto.core.responses import ActionResult

    name, kind = self._get_param("AlarmName"), self._get_param("HistoryItemType")
    alarms = [
        alarm
        for alarm in self.cloudwatch_backend.alarms.values()
        if name in (None, "", alarm.name) and alarm_composites.wanted(self, alarm)
    ]
    start, end = self._get_param("StartDate"), self._get_param("EndDate")
    items = [
        item
        for alarm in alarms
        for item in _changes(alarm)
        if kind in (None, "", item["HistoryItemType"]) and _within(item["Timestamp"], start, end)
    ]
    oldest_first = self._get_param("ScanBy") == "TimestampAscending"
    items.sort(key=lambda item: item["Timestamp"], reverse=not oldest_first)
    found, token = alarm_composites.page(self, items)
    return ActionResult({"AlarmHistoryItems": found} | ({"NextToken": token} if token else {}))


def _changes(alarm: Any) -> Iterator[dict[str, Any]]:
    """Each change of state. moto keeps, at each change, the state before it."""
    now = (
        "StateUpdate",
        alarm.state_reason,
        alarm.state_reason_data,
        alarm.state_value,
        alarm.state_updated_timestamp,
    )
    for before, after in itertools.pairwise([*alarm.history, now]):
        if before[3] != after[3]:
            yield {
                "AlarmName": alarm.name,
                "AlarmType": alarm_composites.kind(alarm),
                "Timestamp": after[4],
                "HistoryItemType": "StateUpdate",
                "HistorySummary": f"Alarm updated from {before[3]} to {after[3]}",
                "HistoryData": json.dumps(
                    {"version": "1.0", "oldState": _state(before), "newState": _state(after)}
                ),
            }


def _state(kept: tuple[str, str, str, str, datetime]) -> dict[str, Any]:
    _, reason, data, value, _ = kept
    return {
        "stateValue": value,
        "stateReason": reason,
        "stateReasonData": json.loads(data) if data else None,
    }


def _within(moment: datetime, start: datetime | None, end: datetime | None) -> bool:
    moment = _aware(moment)
    return (start is None or moment >= _aware(start)) and (end is None or moment <= _aware(end))


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
