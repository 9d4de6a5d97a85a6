"""Messages as Celery's Redis transport keeps them. Source: Celery's message protocol, version 2."""

from __future__ import annotations

import base64
import json
from typing import Any

TASKS = {
    "video_gen": ("videos", "app.tasks.videos.generate"),
    "video_edit": ("videos", "app.tasks.videos.edit"),
    "video_finalize": ("videos", "app.tasks.videos.finalize"),
    "payment_webhook": ("payments", "app.tasks.payments.handle_webhook"),
    "analytics_daily": ("analytics", "app.tasks.analytics.daily"),
    "cleanup_files": ("celery", "app.tasks.files.clean_up"),
}
QUEUES = ("celery", "payments", "videos", "analytics")


def message(job_id: str, kind: str, *, attempts: int) -> dict[str, Any]:
    """The message that stands for a job, with the job's id as the task's."""
    queue, task = TASKS[kind]
    body = json.dumps(
        [[job_id], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    )
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": job_id,
            "root_id": job_id,
            "parent_id": None,
            "group": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "retries": attempts - 1,
            "timelimit": [None, None],
            "argsrepr": f"('{job_id}',)",
            "kwargsrepr": "{}",
            "origin": "gen1@ai-studio-backend",
            "ignore_result": False,
        },
        "properties": {
            "correlation_id": job_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": job_id,
        },
    }
