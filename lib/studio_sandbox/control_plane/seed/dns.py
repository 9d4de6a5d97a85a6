"""The hosted zone: three hosts that follow the load balancer, and what mail needs."""

from __future__ import annotations

from studio_sandbox.control_plane import names
from studio_sandbox.control_plane.moto_adapter import route53
from studio_sandbox.control_plane.seed.load_balancer import Balancer
from studio_sandbox.control_plane.seed.mail import DKIM_TOKENS
from studio_sandbox.control_plane.seed.world import World


def seed(world: World, balancer: Balancer) -> None:
    """The zone of the product's domain."""
    hosts = (names.APP_HOST, names.API_HOST, names.GATEWAY_HOST)
    aliases = [route53.alias(host, balancer.dns_name, balancer.dns_zone) for host in hosts]
    signing = [
        route53.record(
            f"{token}._domainkey.{names.DOMAIN}", "CNAME", [f"{token}.dkim.amazonses.com"]
        )
        for token in DKIM_TOKENS
    ]
    policies = [
        route53.record(names.DOMAIN, "TXT", ['"v=spf1 include:amazonses.com -all"']),
        route53.record(
            f"_dmarc.{names.DOMAIN}",
            "TXT",
            [f'"v=DMARC1; p=quarantine; rua=mailto:dmarc@{names.DOMAIN}"'],
        ),
    ]
    route53.zone(
        world.account,
        names.DOMAIN,
        comment="Pulse AI Studio",
        records=[*aliases, *signing, *policies],
    )
