"""What the seeded Studio is called: names only, for whoever needs to find it.

The names are the runbook's; a section reads them from its environment, never from here.
"""

from __future__ import annotations

CLUSTER = "ai-studio-cluster"
FRONTEND, BACKEND, GATEWAY, WORKER = (
    "ai-studio-frontend",
    "ai-studio-backend",
    "ai-studio-gateway",
    "ai-studio-worker",
)
SERVICES = (FRONTEND, BACKEND, GATEWAY, WORKER)

DATABASE_URL = "AI_STUDIO_DATABASE_URL"
REDIS_URL = "AI_STUDIO_REDIS_URL"
JWT_SECRET = "AI_STUDIO_JWT_SECRET"  # noqa: S105  the secret's name
OPENAI_KEY = "OPENAI_API_KEY"
ANTHROPIC_KEY = "ANTHROPIC_API_KEY"
GOOGLE_KEY = "GOOGLE_API_KEY"
HYPERPAY_KEY = "HYPERPAY_API_KEY"
SECRETS = (
    DATABASE_URL,
    REDIS_URL,
    JWT_SECRET,
    OPENAI_KEY,
    ANTHROPIC_KEY,
    GOOGLE_KEY,
    HYPERPAY_KEY,
)

# Profiles of the credentials file, and the IAM users behind them.
ONCALL, APPROVER = "oncall", "approver"
ADMIN_GROUP = "ai-studio-admins"
DEPLOY_ROLE = "github-actions-deploy"  # the workflow app.yml; it registered every revision

LOAD_BALANCER = "ai-studio-alb"
DOMAIN = "pulse-studio.example"
APP_HOST, API_HOST, GATEWAY_HOST = f"app.{DOMAIN}", f"api.{DOMAIN}", f"gateway.{DOMAIN}"
TARGET_GROUPS = {
    FRONTEND: "ai-studio-frontend-tg",
    BACKEND: "ai-studio-backend-tg",
    GATEWAY: "ai-studio-gateway-tg",
}

DATABASE_CLUSTER = "ai-studio-db"
DATABASE_WRITER, DATABASE_READER = "ai-studio-db-writer", "ai-studio-db-reader"
REDIS_GROUP = "ai-studio-redis"

ASSETS_BUCKET = "ai-studio-assets"
BACKUP_BUCKET = "ai-studio-backup-assets"
QUARANTINE_BUCKET = "ai-studio-quarantine"
STATE_BUCKET = "ai-studio-tfstate"
BUCKETS = (ASSETS_BUCKET, BACKUP_BUCKET, QUARANTINE_BUCKET, STATE_BUCKET)

LOG_GROUPS = {service: f"/ecs/{service}" for service in SERVICES}
GATEWAY_METRICS = "AIStudio/Gateway"

ALARM_5XX = "ai-studio-alb-5xx-errors"
ALARM_UNHEALTHY = "ai-studio-ecs-unhealthy-tasks"
ALARM_RDS_CPU = "ai-studio-rds-cpu"
ALARM_REDIS_CPU = "ai-studio-redis-cpu"
ALARM_DISK = "ai-studio-disk-space"
ALARM_PROVIDER = "ai-studio-openai-api-errors"
ALARMS = (
    ALARM_5XX,
    ALARM_UNHEALTHY,
    ALARM_RDS_CPU,
    ALARM_REDIS_CPU,
    ALARM_DISK,
    ALARM_PROVIDER,
)
ALARM_TOPIC = "ai-studio-alarms"

DASHBOARDS = (
    "ai-studio-service-health",
    "ai-studio-usage",
    "ai-studio-latency",
    "ai-studio-costs",
)

MAIL_DOMAIN = DOMAIN
MAIL_SENDER = f"no-reply@{DOMAIN}"
ONCALL_MAIL = f"oncall@{DOMAIN}"


def repository(service: str) -> str:
    """The ECR repository of a service's images."""
    return service


def container(service: str) -> str:
    """The one container of a service's tasks: `ai-studio-backend` runs `backend`."""
    return service.removeprefix("ai-studio-")


def scaling_policy(service: str) -> str:
    """The target tracking policy of a service: `gateway-cpu-scaling`."""
    return f"{container(service)}-cpu-scaling"
