"""The four services in figures: what their task definitions, targets, logs and metrics agree on.

Source: the product's own facts, as the runbook takes them for granted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from studio_sandbox.control_plane import names


@dataclass(frozen=True)
class ServiceFacts:
    """One service. `port` is None where nothing listens; CPU units and MiB as Fargate has them."""

    desired: int
    cpu: int
    memory_mib: int
    port: int | None
    secrets: tuple[str, ...]
    actions: list[str]  # what its own code may do
    revisions: int
    first_revision: int
    scale_to: int
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    cpu_percent: float = 30.0  # where its CPU idles along
    memory_percent: float = 50.0


_COMMON = {"ENVIRONMENT": "production", "LOG_FORMAT": "json", "AWS_XRAY_TRACING": "enabled"}

SERVICE_FACTS: dict[str, ServiceFacts] = {
    names.FRONTEND: ServiceFacts(
        desired=2, cpu=512, memory_mib=1024, port=3000, secrets=(),
        actions=["xray:PutTraceSegments"], revisions=8, first_revision=31, scale_to=6,
        command=("node", "server.js"), cpu_percent=18, memory_percent=46,
        environment=_COMMON | {"NEXT_PUBLIC_API_URL": f"https://{names.API_HOST}/v1"},
    ),
    names.BACKEND: ServiceFacts(
        desired=3, cpu=1024, memory_mib=2048, port=8080,
        secrets=(names.DATABASE_URL, names.REDIS_URL, names.JWT_SECRET),
        actions=["ses:SendEmail", "s3:GetObject", "s3:PutObject", "xray:PutTraceSegments"],
        revisions=12, first_revision=38, scale_to=10,
        command=("uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8080"),  # noqa: S104
        cpu_percent=34, memory_percent=58,
        environment=_COMMON | {"ASSETS_BUCKET": names.ASSETS_BUCKET,
                               "MAIL_FROM": names.MAIL_SENDER,
                               "JWT_LIFETIME_MINUTES": "60"},
    ),
    names.GATEWAY: ServiceFacts(
        desired=3, cpu=1024, memory_mib=2048, port=8081,
        secrets=(names.OPENAI_KEY, names.ANTHROPIC_KEY, names.GOOGLE_KEY, names.REDIS_URL),
        actions=["s3:PutObject", "cloudwatch:PutMetricData", "xray:PutTraceSegments"],
        revisions=11, first_revision=36, scale_to=12,
        command=("uvicorn", "gateway.main:app", "--host", "0.0.0.0", "--port", "8081"),  # noqa: S104
        cpu_percent=41, memory_percent=52,
        environment=_COMMON | {"PROVIDER_CHAT": "openai", "PROVIDER_CHAT_FALLBACK": "anthropic",
                               "PROVIDER_IMAGE": "openai", "PROVIDER_IMAGE_FALLBACK": "google",
                               "PROVIDER_VIDEO": "google", "PROVIDER_VIDEO_FALLBACK": "openai",
                               "RATE_LIMIT_REQUESTS": "60", "RATE_LIMIT_SECONDS": "60"},
    ),
    names.WORKER: ServiceFacts(
        desired=2, cpu=512, memory_mib=1024, port=None,
        secrets=(names.DATABASE_URL, names.REDIS_URL, names.HYPERPAY_KEY),
        actions=["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "xray:PutTraceSegments"],
        revisions=9, first_revision=29, scale_to=6,
        command=("celery", "-A", "app.worker", "worker", "-Q", "celery,payments,videos,analytics"),
        cpu_percent=27, memory_percent=61,
        environment=_COMMON | {"CELERY_CONCURRENCY": "4"},
    ),
}  # fmt: skip
