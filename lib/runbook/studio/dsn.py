"""Where the Studio's DSN leads: another host and port in a new version of its secret.

The login stays as it is, and is never shown: a restored cluster has the users of its source. The
new version's id stands in the plan and is the client request token, so that it is stored once.

Kinds of change: `dsn-address`, target `secret:NAME`; before and after are the current version's id,
and the host and port that it names. `dsn-cluster`, same target: the id, and the cluster that the
DSN names (null: none of the region's), whose address is looked up when it is applied, since one
that is to be restored first has none yet. A replica becomes a secret of the region's own by it,
since only such a one can have another value; an undo leaves it.

Source: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
"""

from __future__ import annotations

import uuid
from typing import Any
from urllib.parse import SplitResult, urlsplit

from runbook.change.kinds import Judgement, Rows, register
from runbook.change.plan import Change, Json, differences, matches
from runbook.clients import Clients
from runbook.errors import Failed
from runbook.record.journal import Intent
from runbook.secret import Secret

KIND, CLUSTER = "dsn-address", "dsn-cluster"
_PORT = 5432
_CURRENT = "AWSCURRENT"


def read_address(clients: Clients) -> tuple[str, int]:
    """Host and port that the environment's DSN names."""
    found = urlsplit(clients.secret(clients.environment.database.secret).reveal())
    return found.hostname or "", found.port or _PORT


def change_of(clients: Clients, *, host: str, port: int) -> Change:
    """The change that lets the DSN name another host; the version that it will have is new."""
    name = clients.environment.database.secret
    before = _read(clients, f"secret:{name}")
    after = {"version": str(uuid.uuid4()), "address": f"{host}:{port}"}
    return Change(KIND, f"secret:{name}", before, after)


def cluster_of(clients: Clients, *, cluster: str) -> Change:
    """The change that lets the DSN of the clients' region name a cluster there, which is to be
    there by then; the version that it will have is new."""
    target = f"secret:{clients.environment.database.secret}"
    after = {"version": str(uuid.uuid4()), "cluster": cluster, "replica": False}
    return Change(CLUSTER, target, _read_cluster(clients, target), after)


def read_cluster(clients: Clients) -> str:
    """The cluster of the clients' region that its DSN names; empty: none of them."""
    return _cluster_at(clients, read_address(clients))


def _read(clients: Clients, target: str) -> Json:
    client, name = clients.aws("secretsmanager"), target.removeprefix("secret:")
    answer = client.get_secret_value(SecretId=name)
    found = urlsplit(Secret(answer["SecretString"], name=name).reveal())
    address = f"{found.hostname}:{found.port or _PORT}"
    return {"version": answer["VersionId"], "address": address}


def _apply(clients: Clients, change: Change, intent: Intent) -> None:
    """Store the new version, which is then the current one; or make an earlier one current."""
    name = change.target.removeprefix("secret:")
    _store(clients, name, wanted=change.after["version"], address=change.after["address"])


def _read_cluster(clients: Clients, target: str) -> Json:
    name, found = target.removeprefix("secret:"), _read(clients, target)
    host, _, port = found["address"].rpartition(":")
    primary = clients.aws("secretsmanager").describe_secret(SecretId=name).get("PrimaryRegion")
    return {
        "version": found["version"],
        "cluster": _cluster_at(clients, (host, int(port))) or None,
        "replica": bool(primary and primary != clients.region),
    }


def _apply_cluster(clients: Clients, change: Change, intent: Intent) -> None:
    """Make a replica a secret of this region's own, and store the version that names the cluster.

    Twice does the same. Raises Failed: the cluster is not there.
    """
    name, wanted = change.target.removeprefix("secret:"), change.after["cluster"]
    address = next((place for place, one in _clusters(clients) if one == wanted), None)
    if address is None:
        raise Failed(f"There is no cluster {wanted} in {clients.region}: the DSN stays as it is.")
    if _read_cluster(clients, change.target)["replica"]:
        clients.aws("secretsmanager", once=True).stop_replication_to_replica(SecretId=name)
    host, port = address
    _store(clients, name, wanted=change.after["version"], address=f"{host}:{port}")


def _judge_cluster(clients: Clients, change: Change, rows: Rows | None) -> Judgement:
    """To do for as long as nobody has stored another version, also once it is no replica."""
    found = _read_cluster(clients, change.target)
    if matches(change.after, found):
        return Judgement("holds")
    if found["version"] == change.before["version"]:
        return Judgement("to do")
    return Judgement("moved", tuple(differences(change.before, found)))


def _settled_cluster(clients: Clients, change: Change, intent: Intent) -> bool | None:
    state = _judge_cluster(clients, change, None).state
    return {"holds": True, "to do": False}.get(state)


def _cluster_at(clients: Clients, address: tuple[str, int]) -> str:
    return next((name for place, name in _clusters(clients) if place == address), "")


def _clusters(clients: Clients) -> list[tuple[tuple[str, int], str]]:
    """Every cluster of the region with the address that its writer has."""
    pages = clients.aws("rds").get_paginator("describe_db_clusters").paginate()
    return [
        ((one.get("Endpoint", ""), one.get("Port", _PORT)), one["DBClusterIdentifier"])
        for page in pages
        for one in page["DBClusters"]
    ]


def _store(clients: Clients, name: str, *, wanted: str, address: str) -> None:
    """Make a version current that names the address; it is stored unless it was before."""
    client = clients.aws("secretsmanager", once=True)
    stages = client.describe_secret(SecretId=name).get("VersionIdsToStages", {})
    if wanted in _known(client, name):
        now = next(version for version, labels in stages.items() if _CURRENT in labels)
        if now != wanted:
            client.update_secret_version_stage(
                SecretId=name,
                VersionStage=_CURRENT,
                MoveToVersionId=wanted,
                RemoveFromVersionId=now,
            )
        return
    old = urlsplit(clients.secret(name).reveal())
    value = Secret(_moved(old, address), name=name)
    client.put_secret_value(SecretId=name, ClientRequestToken=wanted, SecretString=value.reveal())


def _moved(old: SplitResult, address: str) -> str:
    """The same DSN, with another host and port."""
    login, at, _ = old.netloc.rpartition("@")
    return old._replace(netloc=f"{login}{at}{address}").geturl()


def _known(client: Any, name: str) -> set[str]:
    """Ids of all versions, also of those that no label points to."""
    answer = client.list_secret_version_ids(SecretId=name, IncludeDeprecated=True, MaxResults=100)
    return {one["VersionId"] for one in answer["Versions"]}


register(KIND, read=_read, apply=_apply, measure=lambda change: {"secrets": 1})
register(
    CLUSTER,
    read=_read_cluster,
    apply=_apply_cluster,
    judge=_judge_cluster,
    settled=_settled_cluster,
    measure=lambda change: {"secrets": 1},
    take_back=lambda change, rows, done: None,
    regional=True,
)
