"""The load balancer: HTTPS, rules by host and by path, one target group a service."""

from __future__ import annotations

from dataclasses import dataclass

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter.elbv2 import LoadBalancing, forward
from studio_sandbox.control_plane.seed.facts import SERVICE_FACTS
from studio_sandbox.control_plane.seed.network import Network
from studio_sandbox.control_plane.seed.world import World

# Priority, field, values, service; the frontend is the default.
_RULES = (
    (10, "host-header", (names.API_HOST,), names.BACKEND),
    (20, "host-header", (names.GATEWAY_HOST,), names.GATEWAY),
    (30, "path-pattern", ("/api/v1", "/api/v1/*"), names.BACKEND),
    (40, "path-pattern", ("/gateway/v1", "/gateway/v1/*"), names.GATEWAY),
    (50, "host-header", (names.APP_HOST,), names.FRONTEND),
)
_CONFIG = {"host-header": "HostHeaderConfig", "path-pattern": "PathPatternConfig"}


@dataclass(frozen=True)
class Balancer:
    """ARNs of the load balancer and of each service's target group, and its DNS name."""

    arn: str
    dns_name: str
    dns_zone: str
    groups: dict[str, str]

    @property
    def dimension(self) -> str:
        """How CloudWatch names it: `app/ai-studio-alb/50dc…`."""
        return self.arn.split(":loadbalancer/")[1]

    def group_dimension(self, service: str) -> str:
        """How CloudWatch names a service's target group: `targetgroup/…`."""
        return self.groups[service].rsplit(":", 1)[1]


def seed(world: World, network: Network) -> Balancer:
    """The load balancer with its listeners; targets come with the services."""
    elb = LoadBalancing(world.account, world.region)
    arn = elb.load_balancer(
        names.LOAD_BALANCER,
        subnets=network.public,
        groups=[network.balancer_group],
        created=world.ago(days=411),
    )
    groups = {
        service: elb.target_group(name, vpc=network.vpc, port=SERVICE_FACTS[service].port or 0)
        for service, name in names.TARGET_GROUPS.items()
    }
    certificate = elb.certificate(
        names.DOMAIN, created=world.ago(days=411), renewed=world.ago(days=76)
    )
    _listeners(elb, arn, groups, certificate)
    dns_name, dns_zone = elb.dns_name(arn)
    return Balancer(arn=arn, dns_name=dns_name, dns_zone=dns_zone, groups=groups)


def _listeners(elb: LoadBalancing, balancer: str, groups: dict[str, str], certificate: str) -> None:
    redirect = {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    to_https = {"Type": "redirect", "RedirectConfig": redirect}
    elb.listener(balancer, port=80, certificate="", action=to_https)
    listener = elb.listener(
        balancer,
        port=443,
        certificate=certificate,
        action=forward(groups[names.FRONTEND]),
    )
    for priority, field, values, service in _RULES:
        condition = {"Field": field, _CONFIG[field]: {"Values": list(values)}}
        elb.rule(listener, priority=priority, condition=condition, group=groups[service])
