"""What an AWS request asks for: service, operation, region, access key, protocol.

Each protocol says it in another place: JSON in `X-Amz-Target`, query in the form's `Action`,
smithy's CBOR in the path, REST in method and path, which only the service's model can tell.
Source: https://smithy.io/2.0/aws/protocols/
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl

# Operations that change nothing, by the verb that AWS names them with.
_READS = re.compile(
    r"^(Get|List|Describe|Lookup|Filter|Head|BatchGet|BatchCheck|Search|Scan|Query|Test|Simulate"
    r"|Select|StartQuery|StopQuery|StartLiveTail|Estimate|Decode|Validate|AssumeRole"
    r"|GenerateCredentialReport)"
)
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/")
_CBOR_PATH = re.compile(r"^/service/[^/]+/operation/(\w+)$")
_REST_MODELS = {"s3": "s3", "route53": "route53", "ses": "sesv2"}


@dataclass(frozen=True)
class AwsRequest:
    """One call as its signature and its body describe it."""

    service: str
    action: str
    region: str
    access_key: str
    protocol: str
    user_agent: str
    source_ip: str
    parameters: dict[str, Any] = field(repr=False)

    @property
    def read_only(self) -> bool:
        """Whether the operation changes nothing."""
        return bool(_READS.match(self.action))


def read(environ: dict[str, Any], body: bytes) -> AwsRequest | None:
    """The call in a WSGI request, or None when nothing in it is signed for AWS."""
    signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", "")) or _CREDENTIAL.search(
        parse_qs(environ.get("QUERY_STRING", "")).get("X-Amz-Credential", [""])[0]
        and "Credential=" + parse_qs(environ["QUERY_STRING"])["X-Amz-Credential"][0]
    )
    if not signed:
        return None
    key, region, service = signed.groups()
    protocol, action, parameters = _operation(environ, service, body)
    return AwsRequest(
        service=service,
        action=action,
        region=region,
        access_key=key,
        protocol=protocol,
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        source_ip=environ.get("REMOTE_ADDR", ""),
        parameters=parameters,
    )


def _operation(
    environ: dict[str, Any], service: str, body: bytes
) -> tuple[str, str, dict[str, Any]]:
    path = environ.get("PATH_INFO", "/")
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return "json", target.rsplit(".", 1)[-1], _json(body)
    if cbor := _CBOR_PATH.match(path):
        return "cbor", cbor[1], {}
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        form = dict(parse_qsl(body.decode("utf-8", "replace")))
        form.pop("Version", None)
        return ("ec2" if service == "ec2" else "query"), form.pop("Action", ""), form
    model = _REST_MODELS.get(service, service)
    headers = {_header(key) for key in environ if key.startswith("HTTP_")}
    query = environ.get("QUERY_STRING", "")
    action, parameters = rest_operation(
        model, environ["REQUEST_METHOD"], path, query, headers=headers
    )
    protocol = {"s3": "s3", "route53": "rest-xml"}.get(service, "rest-json")
    return protocol, action, parameters | (_json(body) if protocol == "rest-json" else {})


def _json(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body or b"{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


@dataclass(frozen=True)
class _Route:
    method: str
    path: re.Pattern[str]
    query: dict[str, str]  # literal: the operation's own marks, such as ?versioning
    required: frozenset[str]  # parameters of the query, and headers, that it never goes without
    action: str


def _header(key: str) -> str:
    return key.removeprefix("HTTP_").replace("_", "-").lower()


def rest_operation(
    service: str, method: str, path: str, query: str, *, headers: Collection[str] = ()
) -> tuple[str, dict[str, Any]]:
    """The operation that a request means in a service's model, and what path and query tell it.

    "" if it means none.

    `headers` are the names of the request's headers, in lower case.
    """
    given = dict(parse_qsl(query, keep_blank_values=True))
    fits = [
        route
        for route in _routes(service)
        if route.method == method
        and route.path.fullmatch(path)
        and all(name in given and given[name] == value for name, value in route.query.items())
        and all(name in given or name in headers for name in route.required)
    ]
    # the most literal one: more marks, then the longer pattern
    best = max(
        fits, key=lambda r: (len(r.query), len(r.required), len(r.path.pattern)), default=None
    )
    found = best and best.path.fullmatch(path)
    if not (best and found):
        return "", {}
    asked = {name: value for name, value in given.items() if name not in best.query}
    return best.action, {**asked, **found.groupdict()}


@cache
def _routes(service: str) -> tuple[_Route, ...]:
    from botocore.exceptions import UnknownServiceError
    from botocore.loaders import Loader

    try:
        model = Loader().load_service_model(service, "service-2")
    except UnknownServiceError:
        return ()
    return tuple(
        _route(name, operation["http"], _required(model["shapes"], operation))
        for name, operation in model["operations"].items()
    )


def _required(shapes: dict[str, Any], operation: dict[str, Any]) -> frozenset[str]:
    shape = shapes.get(operation.get("input", {}).get("shape", ""), {})
    members = (shape["members"][name] for name in shape.get("required", ()))
    return frozenset(
        one["locationName"].lower() if one["location"] == "header" else one["locationName"]
        for one in members
        if one.get("location") in ("header", "querystring")
    )


def _route(action: str, http: dict[str, str], required: frozenset[str]) -> _Route:
    path, _, query = http["requestUri"].partition("?")
    pattern = "".join(_part(part) for part in re.split(r"(\{[^}]+\})", path))
    return _Route(
        method=http["method"],
        path=re.compile(pattern + "/?"),
        query=dict(parse_qsl(query, keep_blank_values=True)),
        required=required,
        action=action,
    )


def _part(part: str) -> str:
    if part.startswith("{"):
        return f"(?P<{part[1:-2]}>.+)" if part.endswith("+}") else f"(?P<{part[1:-1]}>[^/]+)"
    return re.escape(part)
