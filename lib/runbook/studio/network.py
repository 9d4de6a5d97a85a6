"""Security groups: whether one group's members may reach another's on a port, and by which rule.

Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def read_groups(ec2: Any, ids: Iterable[str]) -> list[Mapping[str, Any]]:
    """Security groups in AWS's words; those that there are."""
    wanted = sorted(set(ids))
    if not wanted:
        return []
    only = [{"Name": "group-id", "Values": wanted}]
    pages = ec2.get_paginator("describe_security_groups").paginate(Filters=only)
    return [one for page in pages for one in page["SecurityGroups"]]


def opening(groups: Iterable[Mapping[str, Any]], *, sources: Iterable[str], port: int) -> str:
    """The rule of `groups` that lets a member of `sources` in on a TCP port; empty: none. Pure.

    Addresses are not looked at: a rule for a range of them counts as one that lets nobody in.
    """
    allowed = set(sources)
    for group in groups:
        for rule in group.get("IpPermissions", ()):
            named = {pair.get("GroupId") for pair in rule.get("UserIdGroupPairs", ())}
            if allowed & named and _covers(rule, port):
                return f"{group['GroupName']} lets {', '.join(sorted(allowed & named))} in"
    return ""


def _covers(rule: Mapping[str, Any], port: int) -> bool:
    if rule.get("IpProtocol") == "-1":
        return True
    first, last = rule.get("FromPort", 0), rule.get("ToPort", 65535)
    return bool(rule.get("IpProtocol") == "tcp" and first <= port <= last)
