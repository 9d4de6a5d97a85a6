"""EC2: the network that everything else stands in."""

from __future__ import annotations

from typing import Any

from studio_sandbox.control_plane.moto_adapter import core


class Networking:
    """VPC, subnets and security groups of one region, for the seed."""

    def __init__(self, account: str, region: str) -> None:
        self._ec2 = core.backend("ec2", account, region)

    def vpc(self, name: str, cidr: str) -> str:
        """A VPC that gives its addresses names; gives its id."""
        vpc = self._ec2.create_vpc(cidr, tags=_name(name))
        self._ec2.modify_vpc_attribute(vpc.id, "enable_dns_hostnames", True)
        return str(vpc.id)

    def subnet(self, name: str, *, vpc: str, cidr: str, zone: str) -> str:
        """A subnet in one availability zone; gives its id."""
        tags = {"Name": name}
        subnet = self._ec2.create_subnet(vpc, cidr, availability_zone=zone, tags=tags)
        return str(subnet.id)

    def security_group(
        self,
        name: str,
        *,
        vpc: str,
        port: int,
        sources: list[str],
        description: str,
        last: int = 0,
    ) -> str:
        """A group that lets `sources` (CIDRs or group ids) in on one TCP port, or on those up to
        `last`; gives its id."""
        group = self._ec2.create_security_group(name, description, vpc, tags={"Name": name})
        self._ec2.authorize_security_group_ingress(
            group.id,
            "tcp",
            port,
            last or port,
            [{"CidrIp": one} for one in sources if "/" in one],
            source_groups=[{"GroupId": one} for one in sources if "/" not in one],
            vpc_id=vpc,
        )
        return str(group.id)


def _name(name: str) -> list[dict[str, Any]]:
    return [{"Key": "Name", "Value": name}]
