"""moto in process: started fast, predictable, and emptied without a restart."""

from __future__ import annotations

import importlib
import inspect
import os
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

WsgiApp = Callable[[dict[str, Any], Any], Any]

# moto is not safe between threads: whoever touches its state holds this.
LOCK = threading.RLock()

_PATCHED_SERVICES = (
    "autoscaling",
    "cloudwatch",
    "ecs",
    "elasticache_changes",
    "elbv2",
    "iam",
    "logs",
    "rds",
    "route53_changes",
    "s3",
    "secretsmanager",
    "ses",
)


def start(*, account: str, regions: tuple[str, ...]) -> None:
    """Import moto for one account, in well under the two seconds that it takes by itself."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]  # a profile or an endpoint of the caller's is none of ours
    os.environ.update(
        MOTO_ACCOUNT_ID=account,
        MOTO_EC2_LOAD_DEFAULT_AMIS="false",  # 0.25 s for machine images that Fargate never uses
        MOTO_DISABLE_GLOBAL_CORS="true",
    )
    _read_endpoints_once()
    _load_only(regions)
    _keep_no_instances()
    for service in _PATCHED_SERVICES:
        importlib.import_module(f"{__package__}.{service}").patch()


def application() -> WsgiApp:
    """moto's own WSGI application, one Flask app a service, made when first asked for."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    dispatcher: WsgiApp = DomainDispatcherApplication(create_backend_app)
    return dispatcher


def request_handler() -> type[Any]:
    """moto's handler of HTTP requests: it keeps underscores in S3's metadata headers."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler

    handler: type[Any] = MotoRequestHandler
    return handler


def backend(service: str, account: str, region: str) -> Any:
    """moto's state of one service in one region; global services live in `aws`."""
    from moto.backends import get_backend

    regions = get_backend(service)[account]
    return regions[region] if region in regions else regions["aws"]


def empty() -> None:
    """Drop all state in all services, as if moto had just started."""
    from moto.core.base_backend import BackendDict
    from moto.logs.models import LogEvent

    BackendDict.reset()
    LogEvent._event_id = 0


def seed_ids(seed: int | None) -> None:
    """Make the ids that moto draws from now on repeatable, or unpredictable again with None."""
    from moto.moto_api._internal import mock_random

    mock_random.seed(secrets.randbits(64) if seed is None else seed)


def _read_endpoints_once() -> None:
    """Share one session for the list of regions.

    moto makes boto3 sessions while it is imported and when it is first used, and each of them
    parses endpoints.json again: 0.08 s, six times before the Studio is seeded.
    """
    import botocore.session

    shared = botocore.session.Session()
    original = botocore.session.Session.get_available_regions

    def get_available_regions(
        self: Any, service_name: str, partition_name: str = "aws", allow_non_regional: bool = False
    ) -> Any:
        return original(shared, service_name, partition_name, allow_non_regional)

    partitions = shared.get_available_partitions()
    botocore.session.Session.get_available_regions = get_available_regions
    botocore.session.Session.get_available_partitions = lambda self: list(partitions)


def _load_only(regions: tuple[str, ...]) -> None:
    """EC2's offerings of instance types for our regions only: 90 files otherwise, at import."""
    from moto.utilities import utils

    original = utils.load_resource

    def load_resource(resource: str) -> Any:
        if "instance_type_offerings" in resource and not any(one in resource for one in regions):
            return []
        return original(resource)

    utils.load_resource = load_resource
    importlib.import_module("moto.ec2.models")
    utils.load_resource = original


def _keep_no_instances() -> None:
    """moto keeps every object it ever made for its dashboard: that would be a leak here."""
    from moto.core.common_models import BaseModel

    BaseModel.__new__ = lambda cls, *args, **kwargs: object.__new__(cls)


def call(function: Callable[..., Any], **given: Any) -> Any:
    """Call one of moto's many-parameter functions; what is not given is None, as in a request."""
    parameters = inspect.signature(function).parameters.values()
    unset = {
        p.name: None
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    return function(**(unset | given))


def naive(moment: datetime) -> datetime:
    """A time as moto keeps it: UTC without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def now() -> datetime:
    """The time, as moto keeps it."""
    return naive(datetime.now(UTC))


def from_ms(milliseconds: int) -> datetime:
    """A time as moto keeps it, from milliseconds since the epoch."""
    return naive(datetime.fromtimestamp(milliseconds / 1000, UTC))
