"""Assess: one look at everything, within a minute, and the causes that the evidence speaks for.

    found = assess.read(rb.clients)
    found.findings()                result.suspects[] with confirm and mend, result.not_seen[]
    found.suspect_table(), found.evidence_table(), found.symptom_table(), …

Three steps that know nothing of each other: `gather` asks and judges nothing, `rules` turn what was
seen into suspects and ask nobody, `suspect.rank` orders them by their evidence.
"""

from runbook.procedure.assess.page import Assessment, judge, read

__all__ = ["Assessment", "judge", "read"]
