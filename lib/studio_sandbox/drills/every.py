"""All drills, in the order of the runbook's chapters."""

from __future__ import annotations

from studio_sandbox.drills.abusive_user import ABUSIVE_USER
from studio_sandbox.drills.alarms_drifted import ALARMS_DRIFTED
from studio_sandbox.drills.bad_deploy import BAD_DEPLOY
from studio_sandbox.drills.bucket_deleted import BUCKET_DELETED
from studio_sandbox.drills.capacity_short import CAPACITY_SHORT
from studio_sandbox.drills.data_corrupted import DATA_CORRUPTED
from studio_sandbox.drills.database_unreachable import DATABASE_UNREACHABLE
from studio_sandbox.drills.drill import Drill
from studio_sandbox.drills.image_missing import IMAGE_MISSING
from studio_sandbox.drills.key_revoked import KEY_REVOKED
from studio_sandbox.drills.mail_sandboxed import MAIL_SANDBOXED
from studio_sandbox.drills.objects_deleted import OBJECTS_DELETED
from studio_sandbox.drills.redis_down import REDIS_DOWN
from studio_sandbox.drills.region_lost import REGION_LOST
from studio_sandbox.drills.secret_denied import SECRET_DENIED
from studio_sandbox.drills.sick_deploy import SICK_DEPLOY
from studio_sandbox.drills.slow_provider import SLOW_PROVIDER
from studio_sandbox.drills.slow_query import SLOW_QUERY
from studio_sandbox.drills.stuck_jobs import STUCK_JOBS
from studio_sandbox.drills.usage_drift import USAGE_DRIFT
from studio_sandbox.drills.webhook_lost import WEBHOOK_LOST

EVERY: tuple[Drill, ...] = (
    BAD_DEPLOY,
    SICK_DEPLOY,
    SECRET_DENIED,
    IMAGE_MISSING,
    DATABASE_UNREACHABLE,
    STUCK_JOBS,
    ABUSIVE_USER,
    CAPACITY_SHORT,
    KEY_REVOKED,
    SLOW_PROVIDER,
    SLOW_QUERY,
    REDIS_DOWN,
    USAGE_DRIFT,
    WEBHOOK_LOST,
    MAIL_SANDBOXED,
    DATA_CORRUPTED,
    OBJECTS_DELETED,
    BUCKET_DELETED,
    REGION_LOST,
    ALARMS_DRIFTED,
)
