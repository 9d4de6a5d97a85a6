"""Elastic Load Balancing: rules with fixed ARNs, targets whose health can be set.

Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from studio_sandbox.control_plane.moto_adapter import core

# Hosted zones of the load balancers, by region, as AWS lists them.
_ZONES = {"eu-central-1": "Z215JYRZR1TBD5", "eu-west-1": "Z32O12XQLNTSW2"}


def patch() -> None:
    """A target may be in another state than healthy: plain moto knows only that one for IPs."""
    from moto.elbv2 import models

    health_for = models.FakeTargetGroup.health_for

    def with_state(self: Any, target: dict[str, Any], ec2_backend: Any) -> Any:
        health = health_for(self, target, ec2_backend)
        registered = self.targets.get(target["Id"])
        if registered is None:
            health.status, health.reason = "unused", "Target.NotRegistered"
            health.description = "Target is not registered to the target group"
        elif state := registered.get("sandbox_health"):
            health.status, health.reason, health.description = state
        return health

    models.FakeTargetGroup.health_for = with_state


# Reason and description of each state, as AWS words them.
_STATES: dict[str, tuple[str | None, str | None]] = {
    "initial": ("Elb.RegistrationInProgress", "Target registration is in progress"),
    "unhealthy": (
        "Target.ResponseCodeMismatch",
        "Health checks failed with these codes: [{codes}]",
    ),
    "draining": ("Target.DeregistrationInProgress", "Target deregistration is in progress"),
}


@dataclass(frozen=True)
class Checks:
    """How a target group finds out, and lets go; in AWS's seconds."""

    interval_s: float
    unhealthy_after: int
    drain_s: float


def checks(account: str, region: str, group: str) -> Checks:
    """The health checks of a target group, and its deregistration delay."""
    found = core.backend("elbv2", account, region).target_groups[group]
    return Checks(
        interval_s=float(found.health_check_interval_seconds),
        unhealthy_after=int(found.unhealthy_threshold_count),
        drain_s=float(found.attributes["deregistration_delay.timeout_seconds"]),
    )


def register(account: str, region: str, group: str, address: str, port: int) -> None:
    """Register one address, whose health is not known yet."""
    backend = core.backend("elbv2", account, region)
    if group in backend.target_groups:
        backend.register_targets(group, [{"Id": address, "Port": port}])
        mark(account, region, group, address, "initial")


def mark(account: str, region: str, group: str, address: str, state: str, codes: str = "") -> None:
    """Set the health of one target; `codes` are the answers that made it unhealthy."""
    found = core.backend("elbv2", account, region).target_groups.get(group)
    if not found or address not in found.targets:
        return
    reason, description = _STATES.get(state, (None, None))
    if description:
        description = description.format(codes=codes)
    found.targets[address]["sandbox_health"] = (state, reason, description)


def remove(account: str, region: str, group: str, address: str) -> None:
    """Forget one target, if it is there."""
    found = core.backend("elbv2", account, region).target_groups.get(group)
    if found and address in found.targets:
        found.deregister([{"Id": address}])


@dataclass(frozen=True)
class Rule:
    """What is done with requests that meet all conditions, both as the API describes them."""

    conditions: tuple[dict[str, Any], ...]
    actions: tuple[dict[str, Any], ...]


def find(account: str, region: str, balancer: str) -> str:
    """A load balancer's ARN by its name; empty when there is none."""
    found = core.backend("elbv2", account, region).load_balancers.values()
    return next((str(one.arn) for one in found if one.name == balancer), "")


def at(account: str, region: str, dns_name: str) -> str:
    """The name of the load balancer that a DNS name is of; empty when it is none of this region."""
    plain = dns_name.lower().rstrip(".").removeprefix("dualstack.")
    found = core.backend("elbv2", account, region).load_balancers.values()
    return next((str(one.name) for one in found if one.dns_name.lower() == plain), "")


def rules(account: str, region: str, balancer: str) -> list[Rule]:
    """The rules of a balancer's HTTPS listener as they are tried: the default one is the last."""
    backend = core.backend("elbv2", account, region)
    found = [one for one in backend.load_balancers.values() if one.name == balancer]
    listeners = [each for one in found for each in one.listeners.values()]
    for listener in listeners:
        if listener.protocol == "HTTPS":
            own = sorted(listener._non_default_rules.values(), key=lambda one: int(one.priority))
            return [_rule(one) for one in (*own, *listener._default_rule.values())]
    return []


def _rule(rule: Any) -> Rule:
    actions = sorted(rule.actions, key=lambda one: int(one.data.get("Order") or 0))
    return Rule(tuple(rule.conditions), tuple(action.data for action in actions))


def targets(account: str, region: str) -> dict[str, dict[str, str]]:
    """For each target group its registered addresses, and the state of each."""
    groups = core.backend("elbv2", account, region).target_groups.values()
    return {
        group.arn: {
            address: target.get("sandbox_health", ("healthy",))[0]
            for address, target in group.targets.items()
        }
        for group in groups
    }


class LoadBalancing:
    """Load balancer, listeners and target groups of one region, for the seed."""

    def __init__(self, account: str, region: str) -> None:
        self._elb = core.backend("elbv2", account, region)
        self._account, self._region = account, region

    def load_balancer(
        self, name: str, *, subnets: list[str], groups: list[str], created: datetime
    ) -> str:
        """An application load balancer that is active; gives its ARN."""
        made = self._elb.create_load_balancer(name, groups, subnets)
        made.activate()
        made.canonical_hosted_zone_id = _ZONES.get(self._region, made.canonical_hosted_zone_id)
        made.created_time = core.naive(created)
        return str(made.arn)

    def dns_name(self, arn: str) -> tuple[str, str]:
        """Where DNS aliases point to: the name and its hosted zone."""
        balancer = self._elb.load_balancers[arn]
        return balancer.dns_name, balancer.canonical_hosted_zone_id

    def target_group(self, name: str, *, vpc: str, port: int) -> str:
        """A group of IP targets, checked every 30 s at `/v1/health`; gives its ARN."""
        made = self._elb.create_target_group(
            name,
            vpc_id=vpc,
            protocol="HTTP",
            protocol_version="HTTP1",
            port=port,
            target_type="ip",
            healthcheck_path="/v1/health",
            healthcheck_interval_seconds=30,
            healthcheck_timeout_seconds=5,
            healthy_threshold_count=2,
            unhealthy_threshold_count=3,
            matcher={"HttpCode": "200"},
        )
        made.attributes["deregistration_delay.timeout_seconds"] = "30"
        return str(made.arn)

    def certificate(self, domain: str, *, created: datetime, renewed: datetime) -> str:
        """A certificate for `domain` and all below it, good for 395 days; gives its ARN."""
        acm = core.backend("acm", self._account, self._region)
        arn = core.call(acm.request_certificate, domain_name=domain, idempotency_token=domain,
                        subject_alt_names=[f"*.{domain}"], tags=[])  # fmt: skip
        made = acm._certificates[arn]
        made.created_at = core.naive(created)
        made._not_valid_before = lambda _certificate: core.naive(renewed)
        made._not_valid_after = lambda _certificate: core.naive(renewed + timedelta(days=395))
        return str(arn)

    def listener(
        self, balancer: str, *, port: int, certificate: str, action: dict[str, Any]
    ) -> str:
        """A listener (HTTPS when there is a certificate) with its default action; its ARN."""
        made = self._elb.create_listener(
            balancer,
            "HTTPS" if certificate else "HTTP",
            port,
            "ELBSecurityPolicy-TLS13-1-2-2021-06" if certificate else "",
            certificate or None,
            [action],
        )
        for rule in made._default_rule.values():  # moto names it after its address in memory
            number = hashlib.sha256(made.arn.encode()).hexdigest()[:16]
            rule.arn = f"{made.arn.replace(':listener/', ':listener-rule/')}/{number}"
        return str(made.arn)

    def rule(self, listener: str, *, priority: int, condition: dict[str, Any], group: str) -> None:
        """Forward what fits one condition to a target group."""
        self._elb.create_rule(listener, [condition], priority, [forward(group)])
        target_group = self._elb.target_groups[group]  # moto names the balancer once per rule
        target_group.load_balancer_arns = list(dict.fromkeys(target_group.load_balancer_arns))

    def register(self, group: str, address: str, port: int) -> None:
        """Register one address; it is healthy at once."""
        self._elb.register_targets(group, [{"Id": address, "Port": port}])


def forward(group: str) -> dict[str, Any]:
    """The action that sends requests to one target group."""
    return {
        "Type": "forward",
        "TargetGroupArn": group,
        "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": group, "Weight": 1}]},
    }
