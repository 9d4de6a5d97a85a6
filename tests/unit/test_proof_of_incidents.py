"""What an incident came to is read from its runs: nothing that assess had not found counts."""

from __future__ import annotations

from typing import Any

from studio_sandbox.drills.drill import drills
from studio_sandbox.proofs import incidents
from studio_sandbox.proofs.incidents import INCIDENTS, Answered, Incidents


def run(section: str, changed: int = 0, result: Any = None, **parameters: Any) -> dict[str, Any]:
    return {"section": section, "changes_applied": changed, "parameters": parameters,
            "result": result}  # fmt: skip


def suspects(*mends: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    found = [{"mend": {"section": section, "parameters": given}} for section, given in mends]
    return {"suspects": found}


SEEN = suspects(("roll-back", {"services": "web"}), ("end-query", {"pid": 7}))
TOLD = {"mended": True, "seconds": 61.0, "findings": (), "unneeded": ["service web: revision"]}


def answered(*runs: dict[str, Any], title: str = "ALB 5xx Errors > 10 in 5 min") -> Answered:
    return incidents.read("sick-deploy", TOLD, title, runs, "closed")


def test_an_incident_is_told_by_its_sections_and_by_what_assess_had_found() -> None:
    one = answered(
        run("acknowledge"), run("assess", result=SEEN), run("roll-back", services="web", to=""),
        run("roll-back", 2, services="web", to=""), run("resolve"), run("post-mortem"),
    )  # fmt: skip
    assert one.sections == ["acknowledge", "assess", "roll-back", "resolve", "post-mortem"]
    assert one.found == ["roll-back services=web"]
    assert one.noticed == "ALB 5xx Errors > 10 in 5 min"
    assert one.holds


def test_what_was_changed_with_other_parameters_than_assess_found_does_not_hold() -> None:
    guessed = answered(run("assess", result=SEEN), run("roll-back", 1, services="api"))
    before = answered(run("roll-back", 1, services="web"), run("assess", result=SEEN))
    for one in (guessed, before):
        assert one.found == []
        assert not one.holds


def test_all_have_to_be_mended_and_closed() -> None:
    whole = answered(run("assess", result=SEEN), run("end-query", 1, pid=7))
    open_still = incidents.read("redis-down", TOLD, "x", (), "mitigated")
    assert Incidents([whole]).holds
    assert not Incidents([]).holds
    assert not Incidents([whole, open_still]).holds
    assert "| **mitigated** |" in Incidents([whole, open_still]).table()
    assert "| yes; not needed: service web: revision |" in Incidents([whole]).table()
    assert "1 of 2 incidents" in Incidents([whole, open_still]).table()


def test_what_a_person_said_is_told_as_such_and_every_incident_is_a_drill() -> None:
    known = drills()
    symptom = known["sick-deploy"].symptom
    assert answered(title=symptom).noticed == "a person"
    assert len(set(INCIDENTS)) == 15
    assert set(INCIDENTS) <= {name for name, drill in known.items() if drill.mend}
