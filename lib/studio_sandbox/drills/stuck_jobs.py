"""stuck-jobs: a worker died while it held jobs; nobody will ever finish them."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from studio_sandbox.drills.drill import Details, Drill, RunSection
from studio_sandbox.drills.studio import Studio

# Jobs like those of the last days, taken up shortly before the worker died and never finished:
# whole minutes before, so that their ages in minutes do not depend on how fast a machine is.
_BREAK = """
    INSERT INTO jobs (id, user_id, kind, status, payload_json, created_at, updated_at)
    SELECT md5(%(seed)s || id)::uuid, user_id, kind, 'processing',
           payload_json || jsonb_build_object('attempts', CASE WHEN n %% 7 = 0 THEN 3 ELSE 1 END),
           died - make_interval(mins => 15, secs => n),
           died - make_interval(mins => (n * 37 %% 10)::int)
    FROM (
        SELECT id, user_id, kind, payload_json,
               row_number() OVER (PARTITION BY kind ORDER BY md5(%(seed)s || id)) AS n,
               %(died)s::timestamp AS died
        FROM jobs WHERE status = 'completed' AND %(kinds)s::jsonb ? kind
    ) AS like_these
    WHERE n <= (%(kinds)s::jsonb ->> kind)::int
    RETURNING id::text
"""
_BYSTANDERS = "SELECT id::text FROM jobs WHERE status = 'processing'"
_NOW = """
    SELECT id::text, kind, status, updated_at <= %(died)s::timestamp
    FROM jobs WHERE id = ANY (%(ids)s::uuid[])
"""
_VIDEO = ("video_gen", "video_edit", "video_finalize")


def _draw(studio: Studio, dice: random.Random) -> Details:
    return {
        "minutes": dice.randint(75, 540),
        "which": str(dice.random()),
        "kinds": {kind: dice.randint(9, 90) for kind in _kinds(dice)},
    }


def _start(studio: Studio, details: Details) -> None:
    # a still Studio has its data as of the anchor, so that ages do not vary
    now = studio.box.anchor if studio.box.still else datetime.now(UTC)
    died = now.replace(tzinfo=None) - timedelta(minutes=details["minutes"])
    details |= {"died": died.isoformat(), "victims": []}
    details["alive"] = _column(studio.rows(_BYSTANDERS))
    broken = studio.rows(
        _BREAK,
        seed=details["which"],
        died=details["died"],
        kinds=json.dumps(details["kinds"]),
    )
    details["victims"] = _column(broken)


def _kinds(dice: random.Random) -> list[str]:
    """Whatever the worker did, payments are among it: giving up those is the trap."""
    return ["payment_webhook", *sorted(dice.sample(_VIDEO, k=2))]


def _judge(studio: Studio, details: Details) -> list[str]:
    """Every job of the dead worker is in good hands again, and nobody else's was touched."""
    ids = details["victims"] + details["alive"]
    found = {row[0]: row[1:] for row in studio.rows(_NOW, died=details["died"], ids=ids)}
    victims = [found[job] for job in details["victims"] if job in found]
    alive = [found[job] for job in details["alive"] if job in found]
    wrong = {
        "are still in processing since the worker died": sum(
            status == "processing" and untouched for _, status, untouched in victims
        ),
        "payment webhooks were given up: somebody has paid": sum(
            kind == "payment_webhook" and status == "failed" for kind, status, _ in victims
        ),
        "are gone": len(details["victims"]) - len(victims),
        "were taken from workers that were alive": sum(
            status in ("pending", "failed") for _, status, _ in alive
        ),
    }
    return [f"{count} jobs {what}" for what, count in wrong.items() if count]


def _clean_up(studio: Studio, details: Details) -> None:
    studio.rows("DELETE FROM jobs WHERE id = ANY (%(ids)s::uuid[])", ids=details.get("victims", []))


def _mend(run: RunSection) -> None:
    planned = run("clear-stuck-jobs")
    run("clear-stuck-jobs", apply=planned["plan"]["digest"])


def _column(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(row[0] for row in rows)


STUCK_JOBS = Drill(
    name="stuck-jobs",
    symptom="Customers write that their videos have been 'in progress' for hours.",
    draw=_draw,
    start=_start,
    judge=_judge,
    clean_up=_clean_up,
    mend=_mend,
)
