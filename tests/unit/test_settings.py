"""One environment's YAML: validated whole, every error at once, names and never secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook import settings
from runbook.errors import BadInput

WHOLE = """
account: "123456789012"
regions: {primary: eu-central-1, backup: eu-west-1}
database: {secret: A_DSN}
redis: {secret: A_URL}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "somewhere.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_committed_environment_is_valid() -> None:
    assert set(settings.environments()) == {"sandbox", "staging", "production"}
    for name in settings.environments():
        assert settings.load(name).name == name


def test_every_error_is_told_at_once_with_file_key_and_value(tmp_path: Path) -> None:
    text = (
        WHOLE.replace('"123456789012"', '"12"') + "plans: {expire_after_minutes: -1}\nlokcs: {}\n"
    )
    with pytest.raises(BadInput) as told:
        settings.load_file(write(tmp_path, text))
    message = told.value.message
    assert message.startswith("somewhere.yaml has 3 errors:")
    for expected in ("account:", "found '12'", "plans.expire_after_minutes:", "found -1", "lokcs:"):
        assert expected in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (WHOLE + "account: '1'\n", "the key 'account' is given twice"),
        ("- a list", "expected keys with values, found list"),
        ("a: [1", "is not readable as YAML"),
        ("", "expected keys with values, found NoneType"),
    ],
)
def test_what_is_not_a_mapping_with_keys_given_once_is_refused(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(BadInput) as refused:
        settings.load_file(write(tmp_path, text))
    assert told in refused.value.message
    assert "somewhere.yaml" in refused.value.message


def test_an_unknown_environment_names_those_that_exist() -> None:
    with pytest.raises(BadInput, match="there are: production, sandbox, staging"):
        settings.load("prod")


def test_approvals_without_a_shared_record_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"record\.single_machine"):
        settings.load_file(write(tmp_path, WHOLE + "approval: {risks: [high]}\n"))


def test_settings_cannot_be_changed_once_read(tmp_path: Path) -> None:
    found = settings.load_file(write(tmp_path, WHOLE))
    with pytest.raises(Exception, match="frozen"):
        found.account = "999999999999"


def test_the_current_region_follows_what_is_active(tmp_path: Path) -> None:
    moved = WHOLE.replace("backup: eu-west-1", "backup: eu-west-1, active: backup")
    assert settings.load_file(write(tmp_path, WHOLE)).regions.current == "eu-central-1"
    assert settings.load_file(write(tmp_path, moved)).regions.current == "eu-west-1"


def test_state_is_in_the_checkout_or_where_runbook_home_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_HOME", str(tmp_path))
    assert settings.home() == tmp_path
    monkeypatch.delenv("RUNBOOK_HOME")
    monkeypatch.chdir(tmp_path)
    assert settings.home() == settings.checkout() / "var"


def test_a_table_of_alarms_may_be_a_file_beside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "environments"
    folder.mkdir()
    path = write(folder, WHOLE + "alarms: table.yaml\n")
    with pytest.raises(BadInput, match=r"alarms names table\.yaml, which is not there"):
        settings.load_file(path)
    table = tmp_path / "table.yaml"
    table.write_text("cpu: {title: CPU, when: '> 1', section: x, settings: {Threshold: 1}}\n")
    assert settings.load_file(path).alarms["cpu"].settings == {"Threshold": 1}
    table.write_text("cpu: {title: CPU}\n")
    with pytest.raises(BadInput, match=r"alarms\.cpu\.when: Field required"):
        settings.load_file(path)
