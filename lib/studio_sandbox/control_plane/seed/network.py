"""One VPC in three zones, and a security group for each kind of thing in it."""

from __future__ import annotations

from dataclasses import dataclass

from studio_sandbox.control_plane.moto_adapter.ec2 import Networking
from studio_sandbox.control_plane.seed.world import World

_ZONES = ("a", "b", "c")
_FIRST_PORT, _LAST_PORT = 1024, 65_535


@dataclass(frozen=True)
class Network:
    """Ids of what was made; `private` and `public` have one subnet for each of `zones`."""

    vpc: str
    zones: list[str]
    private: list[str]
    public: list[str]
    balancer_group: str
    service_group: str
    database_group: str
    cache_group: str


def seed(world: World, region: str, *, number: int = 20) -> Network:
    """The network of one region, in 10.<number>.0.0/16."""
    network = Networking(world.account, region)
    vpc = network.vpc("ai-studio", f"10.{number}.0.0/16")
    zones = [f"{region}{letter}" for letter in _ZONES]
    balancer = network.security_group(
        "ai-studio-alb", vpc=vpc, port=443, sources=["0.0.0.0/0"], description="HTTPS from anywhere"
    )
    service = network.security_group(
        "ai-studio-services", vpc=vpc, port=0, sources=[balancer], description="From the ALB"
    )
    return Network(
        vpc=vpc,
        zones=zones,
        private=_subnets(network, vpc, "private", zones, f"10.{number}.1{{}}.0/24"),
        public=_subnets(network, vpc, "public", zones, f"10.{number}.{{}}.0/24"),
        balancer_group=balancer,
        service_group=service,
        database_group=network.security_group(
            "ai-studio-database",
            vpc=vpc,
            port=_FIRST_PORT,  # clusters here listen on ports of the machine, and say so
            last=_LAST_PORT,
            sources=[service],
            description="PostgreSQL",
        ),
        cache_group=network.security_group(
            "ai-studio-redis", vpc=vpc, port=6379, sources=[service], description="Redis"
        ),
    )


def _subnets(network: Networking, vpc: str, kind: str, zones: list[str], cidr: str) -> list[str]:
    return [
        network.subnet(f"ai-studio-{kind}-{zone[-1]}", vpc=vpc, cidr=cidr.format(n), zone=zone)
        for n, zone in enumerate(zones)
    ]
