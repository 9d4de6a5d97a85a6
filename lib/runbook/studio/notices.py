"""Notices to users: one mail to each, in one text of two languages, within SES's quota and rate.

Addresses are looked up when the mail is sent: they are in no plan and in no record, users' ids
are. Who has been told is marked in Redis as soon as SES has taken the mail, so that a run that is
resumed goes on where it was cut off; at worst one user gets the mail twice.

Kind of change: `mail-notice`, a set of rows, one a user; target `mail:notice/NAME`. A mail that
was sent cannot be taken back.

Source: https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runbook.change.kinds import Judgement, Rows, Steps, register
from runbook.change.plan import Change, Json, RowSet
from runbook.clients import Clients
from runbook.errors import BadInput, NotVerified
from runbook.record.journal import Intent
from runbook.studio import ses
from runbook.studio.pieces import in_chunks
from runbook.wait import Pace

KIND = "mail-notice"
CHUNK = 100  # mails of one step
_MARKED_FOR_S = 14 * 86_400
# Who can use the Studio and can be reached; no mail goes to a name that cannot exist.
_AUDIENCE = r"""
    SELECT id::text FROM users
    WHERE is_active AND email !~* '\.(invalid|example|test|localhost)$' ORDER BY id
"""
_ADDRESSES = "SELECT id::text, email FROM users WHERE is_active AND id = ANY (CAST(:ids AS uuid[]))"


@dataclass(frozen=True)
class Quota:
    """What SES lets the account send: mails left of today, and mails a second."""

    left: int
    each_second: float

    def refuse_unless_enough(self, mails: int) -> None:
        """Raise BadInput when so many mails are more than today's rest."""
        if mails > self.left:
            raise BadInput(
                f"{mails:,} mails are to be sent, and SES lets this account send {self.left:,} "
                "more within the day.",
                next="Send tomorrow, or have the quota raised (restore-mail, the AWS console).",
            )


def read_quota(sesv2: Any) -> Quota:
    """What SES lets the account send now."""
    found = sesv2.get_account()["SendQuota"]
    return Quota(int(found["Max24HourSend"] - found["SentLast24Hours"]), found["MaxSendRate"])


def read_audience(clients: Clients) -> tuple[str, ...]:
    """Ids of all users who can use the Studio and can be reached."""
    import sqlalchemy

    with clients.database.connect() as connection:
        return tuple(connection.execute(sqlalchemy.text(_AUDIENCE)).scalars())


def change_of(
    name: str, *, sender: str, subject: str, text: str, audience: Sequence[str]
) -> Change:
    """The change that tells all of them; `name` is what is marked: the same one is sent once."""
    rows = [{"key": user, "before": {"told": 0}, "after": {"told": 1}} for user in audience]
    header = {"name": name, "sender": sender, "subject": subject, "text": text}
    return Change(
        KIND,
        f"mail:notice/{name}",
        before={"told": 0, "rows": len(rows)},
        after={"told": len(rows), "rows": len(rows)},
        reversible=False,
        rows=RowSet.of(header, rows),
    )


def told(clients: Clients, name: str) -> int:
    """How many users have been told."""
    found: Any = clients.redis.scard(_mark(name))
    return int(found)


def _mark(name: str) -> str:
    return f"runbook:notice:{name}"


def _apply(clients: Clients, change: Change, rows: Rows, steps: Steps) -> Mapping[str, Json]:
    """Tell everybody who has not been told, a chunk at a time, no faster than SES wants it."""
    quota = read_quota(clients.aws("sesv2"))
    pace, name = Pace(quota.each_second), rows.header["name"]
    total, seen = (change.rows.count if change.rows else 0), 0
    for chunk in in_chunks((row["key"] for row in rows), CHUNK):
        waiting = _waiting(clients, name, chunk)
        if waiting:
            with steps.step({"users": waiting}) as step:
                _tell(clients, rows.header, waiting, pace)
                step.left["told"] = len(waiting)
        seen += len(chunk)
        steps.progress(seen, total)
    left = [one for chunk in in_chunks((row["key"] for row in rows), CHUNK)
            for one in _waiting(clients, name, chunk)]  # fmt: skip
    if left:
        raise NotVerified(f"{len(left):,} of {total:,} users have not been told.")
    return {"told": total, "rows": total, "as_left": total}


def _tell(clients: Clients, header: Mapping[str, Any], users: Sequence[str], pace: Pace) -> None:
    import sqlalchemy

    with clients.database.connect() as connection:
        asked = {"ids": list(users)}
        found = connection.execute(sqlalchemy.text(_ADDRESSES), asked)
        addresses = {str(user): str(address) for user, address in found}
    for user in users:
        if user in addresses:  # who has left since needs no notice
            pace.turn()
            ses.send(
                clients.aws("sesv2"),
                sender=header["sender"],
                to=[addresses[user]],
                subject=header["subject"],
                text=header["text"],
            )
        clients.redis.sadd(_mark(header["name"]), user)
    clients.redis.expire(_mark(header["name"]), _MARKED_FOR_S)


def _waiting(clients: Clients, name: str, users: Sequence[str]) -> list[str]:
    found: Any = clients.redis.smismember(_mark(name), list(users))
    return [user for user, there in zip(users, found, strict=True) if not there]


def _judge(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    if rows is None:
        return Judgement("moved", ("its users are not on record",))
    name = rows.header["name"]
    for chunk in in_chunks((row["key"] for row in rows), CHUNK):
        if _waiting(clients, name, chunk):
            return Judgement("to do")
    return Judgement("holds")


def _settled(clients: Clients, change: Change, intent: Intent) -> bool | None:
    name = change.target.rpartition("/")[2]
    return not _waiting(clients, name, intent.detail["users"])


register(
    KIND,
    read=lambda clients, target: {"told": told(clients, target.rpartition("/")[2])},
    apply_pieces=_apply,
    judge=_judge,
    settled=_settled,
    measure=lambda change: {"mails": change.rows.count if change.rows else 0},
)
