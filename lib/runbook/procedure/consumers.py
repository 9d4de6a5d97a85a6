"""Who reads a secret: the services whose live task definitions name it, never a list."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.clients import Clients
from runbook.studio import ecs, secretsmanager
from runbook.studio.ecs import Reference, Service
from runbook.table import Table


@dataclass(frozen=True)
class Consumers:
    """Services in the order of a deployment, and as what each of them reads the secret."""

    services: tuple[Service, ...]
    references: tuple[Reference, ...]

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.services]

    @property
    def short(self) -> list[str]:
        """Those that lack tasks."""
        return [one.name for one in self.services if one.running_count < one.desired_count]

    def table(self) -> Table:
        """The services that read the secret, and as which setting, to be read."""
        import pandas as pd

        rows = [
            {
                "service": one.name,
                "revision": one.task_definition,
                "setting": ", ".join(
                    sorted({each.name for each in self.references if each.service == one.name})
                ),
                "running": one.running_count,
                "desired": one.desired_count,
            }
            for one in self.services
        ]
        return Table(pd.DataFrame(rows), empty="No live service reads it.")


def read(clients: Clients, secret: str) -> Consumers:
    """Who reads a secret now."""
    client, manager = clients.aws("ecs"), clients.aws("secretsmanager")
    known = [one for one in secretsmanager.read_secrets(manager) if secret in (one.name, one.arn)]
    services = ecs.read_services(client, cluster=clients.environment.ecs.cluster)
    references = tuple(
        one
        for one in ecs.read_references(client, services)
        if secretsmanager.referred(known, one.value_from)
    )
    readers = {one.service for one in references}
    found = (one for one in services if one.name in readers)
    return Consumers(ecs.in_order(found, clients.environment.ecs.order), references)
