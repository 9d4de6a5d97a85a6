"""IAM and STS: who calls, and people and roles with fixed keys and believable ages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from studio_sandbox.control_plane.aws_error import InvalidToken
from studio_sandbox.control_plane.moto_adapter import core


@dataclass(frozen=True)
class Caller:
    """Who made a call: `name` is the user, or the session of an assumed role."""

    name: str
    arn: str


def patch() -> None:
    """Listed devices say who has them, and no more: plain moto gives their seed away."""
    from moto.iam import responses

    list_devices = responses.IamResponse.list_virtual_mfa_devices

    def list_virtual_mfa_devices(self: Any) -> Any:
        answer = list_devices(self)
        answer.result["VirtualMFADevices"] = [
            {"SerialNumber": d.serial_number, "User": d.user, "EnableDate": d.enable_date}
            for d in answer.result["VirtualMFADevices"]
        ]
        return answer

    responses.IamResponse.list_virtual_mfa_devices = list_virtual_mfa_devices


def caller(account: str, access_key: str, *, protocol: str = "query") -> Caller:
    """Who holds an access key. Raises InvalidToken.

    Plain moto takes any key for `user/moto`.
    """
    sts = core.backend("sts", account, "aws")
    if role := sts.get_assumed_role_from_access_key(access_key):
        return Caller(name=role.arn.rsplit("/", 1)[-1], arn=role.arn)
    user = core.backend("iam", account, "aws").get_user_from_access_key_id(access_key)
    if not user:
        raise InvalidToken(protocol)
    return Caller(name=user.name, arn=user.arn)


def has_role(account: str, arn: str) -> bool:
    """Whether there is such a role."""
    return any(role.arn == arn for role in core.backend("iam", account, "aws").get_roles())


def may(account: str, role: str, action: str, resource: str) -> bool:
    """Whether a role's own policies allow it. Conditions are taken as met; boundaries unread."""
    iam = core.backend("iam", account, "aws")
    found = iam.get_role_by_arn(role)
    documents = [*found.policies.values()]
    documents += [
        version.document
        for policy in found.managed_policies.values()
        for version in policy.versions
        if version.is_default
    ]
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _list(json.loads(document)["Statement"])
        if _fits(statement.get("Action"), action, any_case=True)
        and _fits(statement.get("Resource"), resource)
    }
    return effects == {"Allow"}


def _fits(patterns: Any, text: str, *, any_case: bool = False) -> bool:
    patterns = [one.lower() if any_case else one for one in _list(patterns or [])]
    return any(fnmatchcase(text.lower() if any_case else text, one) for one in patterns)


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


class Identities:
    """IAM of one account, for the seed."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._iam = core.backend("iam", account, "aws")

    def group(self, name: str, *, policy: dict[str, Any]) -> None:
        """A group with one inline policy."""
        self._iam.create_group(name)
        self._iam.put_group_policy(name, name, json.dumps(policy))

    def user(
        self, name: str, *, groups: list[str], created: datetime, console: bool, mfa: bool
    ) -> None:
        """A person, in groups, with a password for the console and an MFA device if said so."""
        user = self._iam.create_user("aws", name)
        user.create_date = created
        for group in groups:
            self._iam.add_user_to_group(group, name)
        if console:
            self._iam.create_login_profile(name, "never used: the sandbox has no console")
            user.password_last_used = None
        if mfa:
            device = self._iam.create_virtual_mfa_device(name, "/")
            self._iam.enable_mfa_device(name, device.serial_number, "000000", "000001")
            user.mfa_devices[device.serial_number].enable_date = device.enable_date = created

    def access_key(self, user: str, *, key_id: str, secret: str, created: datetime) -> None:
        """Give a user a key of our choosing. moto alone draws keys by itself."""
        key = self._iam.create_access_key(user)
        del self._iam.access_keys[key.access_key_id]
        key.access_key_id, key.secret_access_key, key.create_date = key_id, secret, created
        self._iam.access_keys[key_id] = key

    def role(
        self, name: str, *, principal: dict[str, str], policy: dict[str, Any], created: datetime
    ) -> str:
        """A role that `principal` may assume, with one inline policy; gives its ARN."""
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}],
        }
        role = self._iam.create_role(name, json.dumps(trust), "/", None, "", [], "3600")
        role.create_date = created
        self._iam.put_role_policy(name, name, json.dumps(policy))
        return str(role.arn)

    def account_settings(self, *, alias: str) -> None:
        """An alias, MFA on the root user, and a password policy."""
        self._iam.create_account_alias(alias)
        self._iam.account_summary._account_mfa_enabled = 1
        self._iam.update_account_password_policy(True, False, 90, 14, 24, True, True, True, True)
