"""The Studio: one module for each thing that is operated. Importing it makes all kinds known."""

from runbook.studio import (  # noqa: F401  each registers its kinds of change
    alb,
    autoscaling,
    cloudwatch,
    ecs,
    redis_cache,
    rows,
    secretsmanager,
)
