"""Four log groups with the hour's JSON lines, and the few lines that are none."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import logs as adapter
from studio_sandbox.control_plane.moto_adapter.logs import Line
from studio_sandbox.control_plane.seed.traffic import WINDOW_S, Page, Request, Traffic
from studio_sandbox.control_plane.seed.world import World, uuid

_RETENTION_DAYS = 30
_Entry = tuple[float, str]  # seconds since the hour began, text

_JOBS = ("payment_webhook", "video_gen", "video_edit", "video_finalize", "cleanup_files")
_PROMPTS = (
    "اكتب إعلانًا قصيرًا لمتجر عطور في عمّان",
    "لخّص هذا المقال في ثلاث نقاط",
    "صمّم شعارًا لمقهى باسم «ليالي»",
    "ترجم الرسالة إلى الإنجليزية بأسلوب رسمي",
)
# What real containers print besides JSON: ANSI colours, start-up lines, a traceback's pieces.
_PLAIN = (
    '\x1b[32mINFO\x1b[0m:     10.20.10.7:0 - "GET /v1/health HTTP/1.1" \x1b[32m200 OK\x1b[0m',
    "\x1b[33mWARNING\x1b[0m:  StatReload detected no changes",
    "[2025] gunicorn.access worker heartbeat ok",
)


def seed(world: World, traffic: Traffic, tasks: dict[str, list[str]]) -> None:
    """Fill the groups; `tasks` are the ids of the running tasks, one stream each."""
    entries = {
        names.GATEWAY: _gateway(world, traffic.gateway),
        names.BACKEND: _pages(world, names.BACKEND, traffic.backend),
        names.FRONTEND: _pages(world, names.FRONTEND, traffic.frontend),
        names.WORKER: _worker(world, traffic.gateway),
    }
    for service, found in entries.items():
        adapter.put_group(
            world.account,
            world.region,
            names.LOG_GROUPS[service],
            retention_days=_RETENTION_DAYS,
            created=world.ago(days=411),
            lines=_lines(world, service, sorted(found), tasks[service]),
        )


def _lines(world: World, service: str, entries: list[_Entry], tasks: list[str]) -> Iterator[Line]:
    dice = world.dice(f"streams/{service}")
    started_ms = (int(world.anchor.timestamp()) - WINDOW_S) * 1000
    streams = [f"ecs/{names.container(service)}/{task}" for task in tasks]
    for at_s, text in entries:
        yield Line(started_ms + int(at_s * 1000), streams[int(dice.random() * len(streams))], text)


def _json(
    world: World,
    at_s: float,
    level: str,
    message: str,
    trace_id: str | None,
    user_id: str | None,
    **more: object,
) -> _Entry:
    moment = datetime.fromtimestamp(world.anchor.timestamp() - WINDOW_S + at_s, UTC)
    line = {
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "message": message,
        "trace_id": trace_id,
        "user_id": user_id,
        **more,
    }
    return at_s, json.dumps(line, ensure_ascii=False)


def _gateway(world: World, requests: list[Request]) -> Iterator[_Entry]:
    dice = world.dice("logs/gateway")
    for request in requests:
        done = min(request.at_s + request.latency_ms / 1000, WINDOW_S - 0.2)
        common = (request.trace_id, request.user_id)
        yield _json(
            world, done, "ERROR" if request.status >= 500 else "INFO",
            f"{request.method} {request.path} {request.status}", *common,
            method=request.method, path=request.path, status=request.status,
            latency_ms=request.latency_ms, model=request.model,
        )  # fmt: skip
        if request.status >= 500:
            yield _json(world, done, "ERROR", f"provider {request.provider} answered 503", *common,
                        provider=request.provider, model=request.model)  # fmt: skip
        elif request.retried:
            yield _json(world, done, "WARN", f"provider {request.provider} timed out, retried once",
                        *common, provider=request.provider, model=request.model)  # fmt: skip
        elif dice.random() < 0.12:
            yield _json(world, done, "INFO", "usage_meter counted", *common,
                        kind=request.family, amount=request.tokens or 1)  # fmt: skip
        elif dice.random() < 0.02:
            yield _json(world, done, "DEBUG", "prompt accepted", *common,
                        prompt=dice.choice(_PROMPTS))  # fmt: skip
    yield from _plain(dice)


def _pages(world: World, service: str, pages: list[Page]) -> Iterator[_Entry]:
    dice = world.dice(f"logs/{service}")
    for page in pages:
        done = min(page.at_s + page.latency_ms / 1000, WINDOW_S - 0.2)
        yield _json(
            world, done, "ERROR" if page.status >= 500 else "INFO",
            f"{page.method} {page.path} {page.status}", page.trace_id, page.user_id,
            method=page.method, path=page.path, status=page.status, latency_ms=page.latency_ms,
        )  # fmt: skip
        if page.path == "/v1/auth/magic-link":
            yield _json(world, done, "INFO", "SES accepted the magic link", page.trace_id,
                        page.user_id, message_id=uuid(page.trace_id))  # fmt: skip
    if service == names.BACKEND:
        yield _json(world, 1911.4, "WARN", "slow query: 1240 ms, usage by user and month",
                    None, None, duration_ms=1240)  # fmt: skip
        yield from _plain(dice)


def _worker(world: World, requests: list[Request]) -> Iterator[_Entry]:
    """Jobs that start and end, and the video jobs that requests to the gateway left behind."""
    dice = world.dice("logs/worker")
    at, number = 1.5, 0
    while at < WINDOW_S - 45:
        yield from _job(world, dice, at, number, None)
        at, number = at + dice.expovariate(1 / 8.5), number + 1
    for request in requests:
        if request.family == "video" and request.at_s < WINDOW_S - 45:
            yield from _job(world, dice, request.at_s + 0.3, number, request)
            number += 1


def _job(
    world: World, dice: random.Random, at: float, number: int, request: Request | None
) -> Iterator[_Entry]:
    kind = "video_gen" if request else dice.choice(_JOBS)
    began = int(world.anchor.timestamp()) - WINDOW_S + int(at)
    trace = request.trace_id if request else f"1-{began:08x}-{dice.getrandbits(96):024x}"
    user = request.user_id if request else None
    job = uuid(f"log-job/{number}")
    took = dice.uniform(8, 40) if kind.startswith("video") else dice.uniform(0.05, 1.4)
    yield _json(world, at, "INFO", f"job {kind} started", trace, user, job_id=job, kind=kind)
    yield _json(world, at + took, "INFO", f"job {kind} completed", trace, user,
                job_id=job, kind=kind, duration_ms=int(took * 1000))  # fmt: skip


def _plain(dice: random.Random) -> Iterator[_Entry]:
    for at in range(95, WINDOW_S, 211):
        yield at + dice.random(), dice.choice(_PLAIN)
