"""What the launcher's second half makes of pip's settings and of the errors that tools report."""

from __future__ import annotations

import errno

import pytest

from runbook.bootstrap import SECTIONS, _about, _why, pip_settings_for_uv


def test_pips_settings_are_handed_to_uv_and_the_variable_wins_over_the_file() -> None:
    listed = "\n".join(
        [
            ":env:.index-url='https://from.variable/simple'",
            "global.index-url='https://from.file/simple'",
            "global.extra-index-url='https://one/simple\\nhttps://two/simple'",
            "install.find-links='/wheels /more'",
            "global.cert='/etc/ssl/own.pem'",
            "global.timeout='60'",
        ]
    )
    assert pip_settings_for_uv(listed) == {
        "UV_DEFAULT_INDEX": "https://from.variable/simple",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/ssl/own.pem",
    }


def test_a_machine_without_pip_settings_hands_over_none() -> None:
    assert pip_settings_for_uv("") == {}


@pytest.mark.parametrize(
    ("log", "remedy"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM", "by its hash"),
        ("error: Hash mismatch for `six==1.16.0`", "by its hash"),
        ("[Errno 111] Connection refused\nNo matching distribution found", "go online"),
        ("error: Could not connect, are you offline?", "go online"),
        ("Temporary failure in name resolution", "go online"),
        ("SSLError(SSLCertVerificationError: certificate verify failed", "cert setting"),
        ("ERROR: No matching distribution found for x==1", "RUNBOOK_PYTHON"),
        ("something that nobody has seen before", "build.log"),
    ],
)
def test_the_cause_in_a_tools_words_becomes_one_sentence_with_its_remedy(
    log: str, remedy: str
) -> None:
    said = _why(["$ a-tool --in /a/folder/that/says/certificate", log], SECTIONS)
    assert remedy in said
    assert "\n" not in said
    assert "run this again" in said


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "make that writable"),
        (errno.EROFS, "make that writable"),
        (errno.ENOLCK, "mend that"),
    ],
)
def test_an_error_of_the_system_becomes_one_sentence_with_its_remedy(
    number: int, remedy: str
) -> None:
    assert remedy in _about(OSError(number, "said by the system", "/there"), SECTIONS)
