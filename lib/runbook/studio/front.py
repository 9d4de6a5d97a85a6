"""The front: every way in that a caller has, whether it answers, where it leads, how long it holds.

    found = front.read(rb.clients)
    found.findings(), found.endpoint_table(), found.dns_table(), found.certificate_table()

The certificate is the one that was spoken with; where there was no TLS on the way, the one that
the load balancer's listener has for the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from runbook.clients import Clients
from runbook.headline import Status, in_short, worst
from runbook.settings import Endpoints
from runbook.studio import alb, endpoints, route53
from runbook.studio.alb import Certificate
from runbook.studio.endpoints import Answer
from runbook.studio.route53 import Record, plain
from runbook.table import Table
from runbook.wait import SYSTEM_CLOCK

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Front:
    """What was found, as of `now`. `records` by host; `alb_name` is the load balancer's own."""

    settings: Endpoints
    answers: tuple[Answer, ...]
    records: Mapping[str, tuple[Record, ...]]
    certificates: tuple[Certificate, ...]
    alb_name: str
    now: datetime

    def endpoints(self) -> pd.DataFrame:
        """Columns: status, service, what, by, url, answer, says, took."""
        import pandas as pd

        rows = []
        for answer in self.answers:
            status, says = judge(answer, self.settings)
            asked = answer.question
            rows.append(
                {
                    "status": status,
                    "service": asked.service,
                    "what": asked.what,
                    "by": asked.by,
                    "url": asked.url,
                    "answer": answer.status,
                    "says": says,
                    "took": answer.took_words,
                }
            )
        return pd.DataFrame(rows)

    def dns(self) -> pd.DataFrame:
        """Columns: status, host, record, target, says."""
        import pandas as pd

        rows = []
        for host in self._hosts():
            records = self.records.get(host, ())
            status, says = judge_records(records, self.alb_name)
            rows.append(
                {
                    "status": status,
                    "host": host,
                    "record": ", ".join(f"{r.type}{' alias' if r.alias else ''}" for r in records),
                    "target": ", ".join(target for r in records for target in r.targets),
                    "says": says,
                }
            )
        return pd.DataFrame(rows)

    def tls(self) -> pd.DataFrame:
        """Columns: status, host, until (UTC), days_left, seen, says."""
        import pandas as pd

        rows = []
        for host in self._hosts():
            until, seen = self._certificate_until(host)
            status, says = judge_certificate(until, self.now, self.settings)
            rows.append(
                {
                    "status": status,
                    "host": host,
                    "until": until.astimezone(UTC).replace(tzinfo=None) if until else None,
                    "days_left": (until - self.now).days if until else None,
                    "seen": seen,
                    "says": says,
                }
            )
        return pd.DataFrame(rows)

    def endpoint_table(self) -> Table:
        """Every way in, to be read."""
        return Table(self.endpoints(), empty="The environment names no service.")

    def dns_table(self) -> Table:
        """Where each host's name leads, to be read."""
        return Table(self.dns(), empty="The environment names no host.")

    def certificate_table(self) -> Table:
        """How long each host's certificate holds, to be read."""
        return Table(self.tls(), empty="The environment names no host.")

    def findings(self) -> dict[str, Any]:
        """What was found, as data, with `status` and the sentence `says`."""
        frames = (self.endpoints(), self.dns(), self.tls())
        statuses: list[Status] = [s for frame in frames if len(frame) for s in frame.status]
        return {
            "status": worst(*statuses) if statuses else "warning",
            "says": self._sentence(),
            "endpoints": {one.question.url: one.status for one in self.answers},
            "dns": {host: [t for r in records for t in r.targets]
                    for host, records in self.records.items()},
            "certificate_days_left": {
                row["host"]: row["days_left"] for row in self.tls().to_dict("records")
            },
        }  # fmt: skip

    def _sentence(self) -> str:
        frames = ((self.endpoints(), "url"), (self.dns(), "host"), (self.tls(), "host"))
        told = [
            f"{row[name]}: {row['says']}"
            for status in ("critical", "warning")
            for frame, name in frames
            for row in frame.to_dict("records")
            if row["status"] == status
        ]
        if told:
            return in_short(told)
        if not self.answers:
            return "The environment names no service, so nothing was asked."
        days = [row["days_left"] for row in self.tls().to_dict("records")]
        return (
            f"All {len(self.answers)} ways in answer, {len(self.records)} hosts lead to the load "
            f"balancer, certificates hold for {min(days):,.0f} days."
        )

    def _hosts(self) -> list[str]:
        return sorted({one.host for one in self.settings.services.values()})

    def _certificate_until(self, host: str) -> tuple[datetime | None, str]:
        """Until when, and where that was seen."""
        spoken = [
            answer.certificate_until
            for answer in self.answers
            if answer.question.certificate_of == host and answer.certificate_until
        ]
        if spoken:
            return min(spoken), "in the handshake"
        listed = [one.until for one in self.certificates if covers(one.names, host)]
        return (max(listed), "at the listener") if listed else (None, "")


def read(clients: Clients) -> Front:
    """Ask every way in, DNS and the load balancer. Raises BadInput for a balancer that is not."""
    settings, elbv2 = clients.environment.endpoints, clients.aws("elbv2")
    alb_name = alb.read_balancer(elbv2, settings.load_balancer)["DNSName"]
    asked = endpoints.questions(settings, alb_name=alb_name, what=["health", "docs"])
    hosts = sorted({one.host for one in settings.services.values()})
    return Front(
        settings,
        answers=tuple(endpoints.ask(clients, asked)),
        records={host: route53.read_records(clients.aws("route53"), host) for host in hosts},
        certificates=alb.read_certificates(elbv2, clients.aws("acm"), settings.load_balancer),
        alb_name=alb_name,
        now=SYSTEM_CLOCK.now(),
    )


def judge(answer: Answer, settings: Endpoints) -> tuple[Status, str]:
    """As `endpoints.judge`; but nobody is without service where only the docs are. Pure."""
    status, says = endpoints.judge(answer, settings)
    if answer.question.what == "docs" and status == "critical":
        return "warning", says
    return status, says


def judge_records(records: Iterable[Record], alb_name: str) -> tuple[Status, str]:
    """A host has to lead to the load balancer, and to nothing else. Pure."""
    targets = {target for record in records for target in record.targets}
    if not targets:
        return "critical", "no record leads anywhere"
    elsewhere = sorted(targets - {plain(alb_name)})
    if elsewhere:
        return "warning", f"leads to {elsewhere[0]}, not to the load balancer"
    return "ok", "the load balancer"


def judge_certificate(
    until: datetime | None, now: datetime, settings: Endpoints
) -> tuple[Status, str]:
    """Days left against the environment's. Pure."""
    if until is None:
        return "critical", "no certificate covers this host"
    days = (until - now).total_seconds() / 86_400
    if days <= 0:
        return "critical", "has expired"
    if days <= settings.tls_days_left.critical:
        return "critical", f"ends in {days:.1f} days"
    if days <= settings.tls_days_left.warning:
        return "warning", f"ends in {days:.0f} days, and was not renewed"
    return "ok", "holds"


def covers(names: Iterable[str], host: str) -> bool:
    """Whether a certificate with these names is good for a host: a star is one label. Pure."""
    return any(fnmatchcase(host, name) and host.count(".") == name.count(".") for name in names)
