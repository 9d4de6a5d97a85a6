"""The application load balancer: which rule a request meets, and which target gets it.

Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
"""

from __future__ import annotations

import ipaddress
import random
import re
from typing import Any

from studio_sandbox.control_plane.aws_error import NotInSandbox
from studio_sandbox.data_plane.http import Request, Response, page
from studio_sandbox.data_plane.picture import Picture, Replica

IDLE_TIMEOUT_S = 60.0  # for a target that says nothing
_STATUS_WORDS = {
    502: "Bad Gateway",
    503: "Service Temporarily Unavailable",
    504: "Gateway Time-out",
}


def route(picture: Picture, request: Request, dice: random.Random) -> Response | Replica:
    """The task that gets a request, or what the load balancer answers by itself.

    Raises NotInSandbox for conditions and actions that are not played here.
    """
    for rule in picture.rules:
        if all(_meets(request, condition) for condition in rule.conditions):
            (action,) = rule.actions[-1:]  # what comes before it only authenticates
            return _act(picture, request, action, dice)
    return own_error(503)  # no HTTPS listener at all


def own_error(status: int) -> Response:
    """The page that the load balancer has for an error of its own."""
    return page(status, f"{status} {_STATUS_WORDS[status]}")


def _act(
    picture: Picture, request: Request, action: dict[str, Any], dice: random.Random
) -> Response | Replica:
    match action["Type"]:
        case "forward":
            return _target(picture, _group(action, dice), dice) or own_error(503)
        case "fixed-response":
            fixed = action["FixedResponseConfig"]
            body, kind = fixed.get("MessageBody") or "", fixed.get("ContentType") or "text/plain"
            return Response(int(fixed["StatusCode"]), body.encode(), f"{kind}; charset=utf-8")
        case "redirect":
            return _redirect(request, action["RedirectConfig"])
    raise NotInSandbox(f"a listener's action {action['Type']}")


def _group(action: dict[str, Any], dice: random.Random) -> str:
    groups = action.get("ForwardConfig", {}).get("TargetGroups") or [action]
    weights = [float(one.get("Weight", 1)) for one in groups]
    if not any(weights):
        return ""
    return str(dice.choices(groups, weights)[0]["TargetGroupArn"])


def _target(picture: Picture, group: str, dice: random.Random) -> Replica | None:
    """A healthy target; where none is, any of the others that are registered.

    Source: "if a target group contains only unhealthy registered targets, the load balancer
    routes requests to all those targets", in the documentation of target group health.
    """
    found = picture.targets.get(group, {})
    for states in (("healthy",), ("unhealthy", "initial")):
        addresses = [address for address, state in found.items() if state in states]
        replicas = [one for address in addresses if (one := picture.at(address))]
        if replicas:
            return dice.choice(replicas)
    return None


def _redirect(request: Request, wanted: dict[str, Any]) -> Response:
    given = {"host": request.host, "path": request.path.lstrip("/"), "query": request.query}
    given |= {"protocol": "HTTPS", "port": "443"}

    def filled(name: str) -> str:
        template = wanted.get(name.capitalize()) or {"path": "/#{path}"}.get(name, f"#{{{name}}}")
        return re.sub(r"#\{(\w+)\}", lambda found: given[found[1]], template)

    scheme, port = filled("protocol").lower(), filled("port")
    place = filled("host") if port == {"https": "443", "http": "80"}[scheme] else ""
    place = place or f"{filled('host')}:{port}"
    query = filled("query")
    url = f"{scheme}://{place}{filled('path')}{'?' if query else ''}{query}"
    return Response(int(wanted["StatusCode"].removeprefix("HTTP_")), headers={"Location": url})


def _meets(request: Request, condition: dict[str, Any]) -> bool:
    field = condition["Field"]
    match field:
        case "host-header":
            values = _values(condition, "HostHeaderConfig")
            return any(_like(request.host.lower(), value.lower()) for value in values)
        case "path-pattern":
            return any(_like(request.path, one) for one in _values(condition, "PathPatternConfig"))
        case "http-request-method":
            return request.method in _values(condition, "HttpRequestMethodConfig")
        case "http-header":
            config = condition["HttpHeaderConfig"]
            found = request.headers.get(config["HttpHeaderName"].lower(), "").lower()
            return any(_like(found, one.lower()) for one in _values(condition, "HttpHeaderConfig"))
        case "source-ip":
            source = ipaddress.ip_address(request.source_ip)
            ranges = _values(condition, "SourceIpConfig")
            return any(source in ipaddress.ip_network(one, strict=False) for one in ranges)
        case "query-string":
            return any(_asks(request, one) for one in condition["QueryStringConfig"]["Values"])
    raise NotInSandbox(f"a rule's condition {field}")


def _values(condition: dict[str, Any], config: str) -> list[str]:
    """What is compared with; an old spelling has it beside the field's name."""
    found = condition.get(config, {}).get("Values") or condition.get("Values")
    if not found:
        raise NotInSandbox(f"a rule's condition {condition['Field']} without plain values")
    return list(found)


def _asks(request: Request, wanted: dict[str, str]) -> bool:
    key, value = wanted.get("Key"), wanted["Value"].lower()
    return any(
        (key is None or _like(k.lower(), key.lower())) and _like(v.lower(), value)
        for k, v in request.pairs()
    )


def _like(text: str, pattern: str) -> bool:
    """`*` stands for any characters, `?` for one."""
    parts = [{"*": ".*", "?": "."}.get(sign, re.escape(sign)) for sign in pattern]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None
