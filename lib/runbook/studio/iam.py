"""IAM: who we are, who administers the account and how, and what protects them.

    found = iam.read(rb.clients)
    found.findings(), found.identity_table(), found.user_table(), found.finding_table()

An admin is whoever is allowed everything, or all of IAM (which can grant the rest): by a policy
of their own, inline or attached, or by a group's. Conditions are taken as met; permission
boundaries, service control policies and roles are not looked at.

Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountAuthorizationDetails.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from runbook.change.plan import Json
from runbook.clients import Clients, Identity
from runbook.headline import Status, in_short, worst
from runbook.settings import Environment
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

_ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
_ALL, _ALL_OF_IAM = ("*", "*:*"), "iam:*"


@dataclass(frozen=True)
class User:
    """An IAM user: by what it is an admin (empty: it is none), and what protects it."""

    name: str
    admin_by: tuple[str, ...] = ()
    console: bool = False
    mfa: bool = False
    key_ages_days: tuple[int, ...] = ()  # of its active access keys


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be, and what to do about it."""

    status: Status
    about: str
    says: str
    do: str


@dataclass(frozen=True)
class Access:
    """The account's people, as of one reading. `summary` is AWS's own of the account."""

    environment: Environment
    identity: Identity
    region: str
    alias: str
    summary: Mapping[str, int]
    users: tuple[User, ...]

    def all_findings(self) -> list[Finding]:
        """Everything that is not as it should be, the worst first. Pure."""
        found = [*self._of_identity(), *self._of_root()]
        found += [finding for user in self.users for finding in self._of_user(user)]
        order = ("critical", "warning", "ok")
        return sorted(found, key=lambda one: (order.index(one.status), one.about))

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        found = self.all_findings()
        admins = [user for user in self.users if user.admin_by]
        return {
            "status": worst(*(one.status for one in found)),
            "says": self._sentence(found, admins),
            "admins": {user.name: list(user.admin_by) for user in admins},
            "admins_without_mfa": [user.name for user in admins if not user.mfa],
            "outside_sso": [user.name for user in self.users if not self._is_known(user)],
            "findings": [[one.status, one.about, one.says] for one in found],
        }

    def identity_table(self) -> Table:
        """Who we are beside who the environment wants, to be read."""
        import pandas as pd

        operators = self.environment.access.operators
        regions = self.environment.regions
        rows = [
            ("account", self.environment.account, self.identity.account),
            ("alias", "", self.alias),
            ("region", f"{regions.current} ({regions.active})", self.region),
            ("we are", ", ".join(operators) or "anybody", self.identity.name),
        ]
        return Table(pd.DataFrame(rows, columns=["what", "the environment's", "found"]))

    def user_table(self) -> Table:
        """Every IAM user, admins first, to be read."""
        import pandas as pd

        rows = [
            {
                "user": user.name,
                "admin_by": "; ".join(user.admin_by),
                "mfa": user.mfa,
                "console": user.console,
                "keys": len(user.key_ages_days),
                "oldest_key_days": max(user.key_ages_days, default=None),
                "known": self._is_known(user),
            }
            for user in sorted(self.users, key=lambda one: (not one.admin_by, one.name))
        ]
        return Table(pd.DataFrame(rows), empty="There is no IAM user: everybody comes by SSO.")

    def finding_table(self) -> Table:
        """Each finding with what to do about it, to be read."""
        import pandas as pd

        return Table(
            pd.DataFrame([vars(one) for one in self.all_findings()]), empty="Nothing to do."
        )

    def _sentence(self, found: list[Finding], admins: list[User]) -> str:
        if found:
            return in_short([f"{one.about} {one.says}" for one in found])
        return (
            f"You are {self.identity.name} in the right account; root has MFA and no keys, "
            f"and all {len(admins)} admins have MFA."
        )

    def _of_identity(self) -> list[Finding]:
        operators = self.environment.access.operators
        mine = self.identity.principal.split(":", 5)[-1]
        if not operators or any(fnmatchcase(mine, pattern) for pattern in operators):
            return []
        return [
            Finding("warning", mine, f"is none of {', '.join(operators)}",
                    "Sign in as the operator of this environment, or name it in access.operators.")
        ]  # fmt: skip

    def _of_root(self) -> list[Finding]:
        found = []
        if not self.summary.get("AccountMFAEnabled"):
            found.append(
                Finding("critical", "root", "has no MFA", "Sign in as root once and register two "
                        "hardware keys; then lock the password away.")
            )  # fmt: skip
        if self.summary.get("AccountAccessKeysPresent"):
            found.append(
                Finding("critical", "root", "has access keys", "Find out in CloudTrail who uses "
                        "them (user name root), then delete them as root.")
            )  # fmt: skip
        return found

    def _of_user(self, user: User) -> list[Finding]:
        found = []
        if user.admin_by and not user.mfa:
            found.append(
                Finding("critical", user.name, f"is an admin without MFA, by {user.admin_by[0]}",
                        "Have them register a device today (aws iam enable-mfa-device), or take "
                        "the rights away.")
            )  # fmt: skip
        elif user.console and not user.mfa:
            found.append(
                Finding("warning", user.name, "may sign in to the console without MFA",
                        "Have them register a device, or delete the password.")
            )  # fmt: skip
        if not self._is_known(user):
            found.append(
                Finding("warning", user.name, "is an IAM user outside SSO",
                        "Give them access by SSO and delete the user; if it has to be, name it in "
                        "access.known_users with the reason.")
            )  # fmt: skip
        oldest, most = max(user.key_ages_days, default=0), self.environment.access.key_max_age_days
        if oldest > most:
            found.append(
                Finding("warning", user.name, f"has an access key of {oldest} days, over {most}",
                        "Make a second key, move whoever uses the first, then delete that.")
            )  # fmt: skip
        return found

    def _is_known(self, user: User) -> bool:
        return user.name in self.environment.access.known_users


def read(clients: Clients) -> Access:
    """Read identity, account and people. Raises WrongAccount before anything else is read."""
    identity, client = clients.identity, clients.aws("iam")
    details = _details(client)
    now = SYSTEM_CLOCK.now()
    return Access(
        clients.environment,
        identity,
        region=clients.region,
        alias=next(iter(client.list_account_aliases()["AccountAliases"]), ""),
        summary=client.get_account_summary()["SummaryMap"],
        users=tuple(_user(client, user, details, now) for user in details["UserDetailList"]),
    )


def admin_rights(document: Json) -> str:
    """What makes whoever has this policy an admin, in words; empty when nothing does. Pure."""
    for statement in _statements(document):
        if statement.get("Effect") != "Allow" or "*" not in _listed(statement.get("Resource")):
            continue
        actions = [action.lower() for action in _listed(statement.get("Action"))]
        if any(action in _ALL for action in actions):
            return "everything"
        if _ALL_OF_IAM in actions:
            return "all of IAM"
        if "NotAction" in statement and not _covers_iam(_listed(statement["NotAction"])):
            return "all of IAM and more"
    return ""


def allows(documents: Iterable[Json], action: str, resource: str) -> bool:
    """Whether policies allow an action on a resource: one says so, and none denies it. Pure.

    Conditions are taken as met; boundaries and resource policies are not looked at.
    """
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _statements(document)
        if _fits(statement, "Action", action.lower(), str.lower)
        and _fits(statement, "Resource", resource, str)
    }
    return effects == {"Allow"}


def why_denied(documents: Iterable[Json], action: str, resource: str) -> str:
    """What keeps policies from allowing an action on a resource; empty where they do. Pure."""
    known = list(documents)
    if allows(known, action, resource):
        return ""
    statements = [statement for document in known for statement in _statements(document)]
    for statement in statements:
        denies = statement["Effect"] == "Deny" and _fits(
            statement, "Action", action.lower(), str.lower
        )
        if denies and _fits(statement, "Resource", resource, str):
            return f"the statement {statement.get('Sid', 'without a name')} denies it"
    return f"none of {len(statements)} statements in {len(known)} policies allows it"


def read_role_policies(client: Any, role: str) -> list[Json]:
    """The policies of a role, inline and attached. Raises NoSuchEntityException.

    Source: https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListAttachedRolePolicies.html
    """
    inline = client.get_paginator("list_role_policies").paginate(RoleName=role)
    attached = client.get_paginator("list_attached_role_policies").paginate(RoleName=role)
    found = [
        client.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for page in inline
        for name in page["PolicyNames"]
    ]
    return found + [
        _document(client, policy["PolicyArn"])
        for page in attached
        for policy in page["AttachedPolicies"]
    ]


def _fits(statement: Json, key: str, text: str, form: Callable[[str], str]) -> bool:
    """Whether a statement's `key`, or its opposite `NotKey`, covers this action or resource."""
    if f"Not{key}" in statement:
        patterns = _listed(statement[f"Not{key}"])
        return not any(fnmatchcase(text, form(pattern)) for pattern in patterns)
    return any(fnmatchcase(text, form(pattern)) for pattern in _listed(statement.get(key)))


def _statements(document: Json) -> list[Json]:
    statements = document.get("Statement", []) if isinstance(document, Mapping) else []
    return [statements] if isinstance(statements, Mapping) else list(statements)


def _covers_iam(excepted: Iterable[str]) -> bool:
    """Whether what a statement leaves out has all of IAM in it."""
    return any(action.lower() in (*_ALL, _ALL_OF_IAM) for action in excepted)


def _user(client: Any, found: Mapping[str, Any], details: Mapping[str, Any], now: datetime) -> User:
    name = found["UserName"]
    groups = {group["GroupName"]: group for group in details["GroupDetailList"]}
    ways = list(_ways(client, found, "UserPolicyList", ""))
    for group in found.get("GroupList", ()):
        ways += _ways(client, groups[group], "GroupPolicyList", f"group {group}: ")
    keys = client.list_access_keys(UserName=name)["AccessKeyMetadata"]
    return User(
        name,
        admin_by=tuple(ways),
        console=_has_password(client, name),
        mfa=bool(client.list_mfa_devices(UserName=name)["MFADevices"]),
        key_ages_days=tuple(
            (now - key["CreateDate"]).days for key in keys if key["Status"] == "Active"
        ),
    )


def _ways(client: Any, holder: Mapping[str, Any], inline: str, said: str) -> Iterable[str]:
    """Each policy of a user or a group that makes an admin, in words."""
    for policy in holder.get(inline, ()):
        if rights := admin_rights(policy["PolicyDocument"]):
            yield f"{said}inline {policy['PolicyName']} ({rights})"
    for attached in holder.get("AttachedManagedPolicies", ()):
        if rights := admin_rights(_document(client, attached["PolicyArn"])):
            yield f"{said}attached {attached['PolicyName']} ({rights})"


def _document(client: Any, arn: str) -> Json:
    """The version of a managed policy that is in force."""
    if arn == _ADMINISTRATOR:
        return {"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    version = client.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    answer = client.get_policy_version(PolicyArn=arn, VersionId=version)
    return answer["PolicyVersion"]["Document"]


def _details(client: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {"UserDetailList": [], "GroupDetailList": []}
    paginator = client.get_paginator("get_account_authorization_details")
    for page in paginator.paginate(Filter=["User", "Group"]):
        for key, listed in found.items():
            listed += page[key]
    return found


def _has_password(client: Any, user: str) -> bool:
    try:
        client.get_login_profile(UserName=user)
    except client.exceptions.NoSuchEntityException:
        return False
    return True


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())
