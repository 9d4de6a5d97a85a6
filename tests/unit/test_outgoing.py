"""What a kernel sends: nothing of a secret, however it is cut, and not more than a reader wants."""

from __future__ import annotations

from typing import Any

import pytest

from runbook import secret
from runbook.record import outgoing

VALUE = "s3cret-that-is-cut-into-pieces"
PARENT = {"header": {"msg_id": "cell-1"}}


class Session:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def send(self, _stream: Any, message: Any, content: Any = None, **_more: Any) -> None:
        kind = message if isinstance(message, str) else message["header"]["msg_type"]
        self.sent.append((kind, content if isinstance(message, str) else message["content"]))

    def text(self) -> str:
        return "".join(content["text"] for kind, content in self.sent if kind == "stream")


@pytest.fixture
def session() -> Session:
    secret.remember(VALUE, name="CUT")
    made = Session()
    outgoing.guard(made)
    return made


def write(session: Session, text: str) -> None:
    session.send(None, "stream", {"name": "stdout", "text": text}, parent=PARENT)


def end(session: Session) -> None:
    session.send(None, "status", {"execution_state": "idle"}, parent=PARENT)


def test_a_secret_is_masked_wherever_a_stream_is_cut(session: Session) -> None:
    for at in range(1, len(VALUE)):
        write(session, f"before {VALUE[:at]}")
        write(session, f"{VALUE[at:]} after\n")
    end(session)
    assert session.text() == "before [secret CUT] after\n" * (len(VALUE) - 1)


def test_a_secret_that_comes_letter_by_letter_in_colours_is_masked(session: Session) -> None:
    for letter in VALUE:
        write(session, f"\x1b[31m{letter}")
    end(session)
    assert "[secret CUT]" in session.text()
    assert VALUE[4:] not in session.text().replace("\x1b[31m", "")


def test_what_only_began_like_a_secret_is_sent_when_the_cell_ends(session: Session) -> None:
    write(session, f"half: {VALUE[:7]}")
    assert session.text() == "half: "
    end(session)
    assert session.text() == f"half: {VALUE[:7]}"


def test_what_was_held_back_is_sent_for_the_same_cell(session: Session) -> None:
    message = {
        "header": {"msg_type": "stream", "msg_id": "chunk-1"},
        "parent_header": PARENT["header"],
        "content": {"name": "stdout", "text": f"half: {VALUE[:7]}"},
    }
    sent: list[Any] = []
    outgoing.guard(session)._send = lambda _stream, given, *_rest, **_more: sent.append(given)
    session.send(None, message)
    end(session)
    first, second, _status = sent
    assert second["parent_header"] == first["parent_header"]
    assert second["content"]["text"] == VALUE[:7]
    assert second["header"]["msg_id"] != first["header"]["msg_id"]


def test_of_a_hundred_megabytes_what_a_cell_may_show_is_kept_and_the_rest_counted(
    session: Session,
) -> None:
    for _ in range(100):
        write(session, "x" * 1_000_000)
    end(session)
    assert len(session.text()) < outgoing.MOST + 100
    assert "98,000,000 more characters of output were not kept" in session.text()


def test_a_result_that_is_too_large_is_replaced_by_a_note(session: Session) -> None:
    data = {"text/plain": "y" * (outgoing.MOST + 1)}
    session.send(None, "execute_result", {"data": data, "metadata": {}}, parent=PARENT)
    (_, content), *_ = session.sent
    assert "were not kept" in content["data"]["text/plain"]


def test_a_traceback_is_cut_and_never_left_out(session: Session) -> None:
    content = {"ename": "ValueError", "evalue": "z" * 500_000, "traceback": ["z" * 500_000]}
    session.send(None, "error", content, parent=PARENT)
    (_, sent), *_ = session.sent
    assert sent["ename"] == "ValueError"
    assert len(sent["evalue"]) < 110_000
