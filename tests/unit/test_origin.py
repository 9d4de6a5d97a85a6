"""A run says from where it was started: CI, JupyterLab, a terminal, and by whom."""

from __future__ import annotations

import pytest

from runbook.record import origin


@pytest.mark.parametrize(
    ("variables", "via", "job"),
    [
        (
            {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7"},
            "ci",
            "GitHub Actions 7",
        ),
        ({"CI": "true"}, "ci", "CI"),
        ({"CI": "false", "JPY_SESSION_NAME": "/lab/clear-stuck-jobs.ipynb"}, "jupyterlab", None),
    ],
)
def test_the_origin_is_read_from_what_each_system_sets(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], via: str, job: str | None
) -> None:
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "JPY_SESSION_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = origin.origin()
    assert found["via"] == via
    assert job is None or found["job"] == job


def test_whoever_called_sudo_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "amal")
    assert origin.os_user().startswith("amal as ")
