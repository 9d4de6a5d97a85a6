"""The calls that the sections stand on, each with what AWS documents that comes of it.

Where the words of the answer do not matter, a probe reduces it to what a section would read.
"""

from __future__ import annotations

from studio_sandbox.proofs import probe_monitoring, probe_services, probe_stores
from studio_sandbox.proofs.probing import Probe

PROBES: tuple[Probe, ...] = (
    *probe_services.PROBES,
    *probe_monitoring.PROBES,
    *probe_stores.PROBES,
)
