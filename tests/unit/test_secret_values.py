"""Where new values come from, and what is refused of them without being shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.errors import BadInput
from runbook.secret import Secret
from runbook.settings import Provider, Providers
from runbook.studio import providers, secret_values
from runbook.studio.ecs import Deployment, Service
from runbook.studio.secretsmanager import Versions

SERVICE = Service(
    "cluster", "web", "web:7", 2, 2, 0,
    (Deployment("ecs-svc/1", "PRIMARY", "web:7", "COMPLETED", "", 2, 2, 0, None),),
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text("  a-key-of-some-length\n")
    return file


def test_a_private_file_gives_its_word_and_is_gone_once_that_is_stored(file: Path) -> None:
    source = secret_values.from_file(str(file))

    source.refuse_unless_ready("KEY")
    assert source.take("KEY").reveal() == "a-key-of-some-length"
    assert file.exists()
    source.forget(Secret("another-key-that-was-stored", name="KEY"))
    assert file.exists()  # what it holds is stored nowhere
    source.forget(Secret("a-key-of-some-length", name="KEY"))
    assert not file.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(BadInput, match="mode 0600"):
        secret_values.check_file(str(file))
    with pytest.raises(BadInput, match="mode 0600"):
        secret_values.from_file(str(file)).take("KEY")


def test_a_link_to_a_file_and_a_path_that_is_not_whole_are_refused(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with pytest.raises(BadInput, match="mode 0600"):
        secret_values.check_file(str(link))
    with pytest.raises(BadInput, match="whole path"):
        secret_values.check_file("key")


def test_a_file_may_come_later_but_not_after_it_is_wanted(tmp_path: Path) -> None:
    missing = str(tmp_path / "not-yet")
    secret_values.check_file(missing)
    with pytest.raises(BadInput, match="there is no such file"):
        secret_values.from_file(missing).refuse_unless_ready("KEY")


@pytest.mark.parametrize("text", ["short", "two words that are long", "né-une-clé-qui-est-longue"])
def test_what_cannot_be_a_key_is_refused_and_not_shown(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(BadInput, match=f"has {len(text)} letters") as refused:
        secret_values.from_file(str(file)).take("KEY")
    assert text not in str(refused.value)


def test_without_a_person_nobody_is_asked() -> None:
    with pytest.raises(BadInput, match="Nobody can be asked"):
        secret_values.asked().refuse_unless_ready("KEY")


def test_what_is_drawn_has_so_many_bits_and_is_another_each_time() -> None:
    first, second = (secret_values.drawn(256).take("KEY") for _ in range(2))
    assert len(bytes.fromhex(first.reveal())) == 32
    assert first != second


def test_the_next_version_is_named_by_those_that_are_there() -> None:
    nothing, other = Versions("KEY", ()), Versions("OTHER", ())
    assert secret_values.next_version(nothing) == secret_values.next_version(nothing)
    assert secret_values.next_version(nothing) != secret_values.next_version(other)
    assert 32 <= len(secret_values.next_version(nothing)) <= 64  # as a client token has to be


def test_a_service_is_planned_to_read_a_version() -> None:
    change = secret_values.plan_read(SERVICE, secret="KEY", now="one", then="two")
    assert (change.before["reads KEY"], change.after["reads KEY"]) == ("one", "two")


def test_a_secret_belongs_to_the_provider_that_names_it() -> None:
    known = {"some": Provider(secret="KEY", try_url="/some")}
    found = providers.of_secret(Providers(known=known), "KEY")
    assert found
    assert found[0] == "some"
    assert providers.of_secret(Providers(known=known), "OTHER") is None
