"""A new value of a secret is asked for at the cell, hidden, by a real kernel."""

from __future__ import annotations

from typing import Any

from jupyter_client.manager import start_new_kernel

VALUE = "typed-by-a-person-42"
ASK = """
from runbook.studio import secret_values
source = secret_values.asked()
source.refuse_unless_ready("KEY")
value = source.take("KEY")
print(value, len(value.reveal()))
"""


def test_what_is_typed_is_hidden_and_shown_nowhere() -> None:
    manager, client = start_new_kernel(kernel_name="python3")
    asked: list[dict[str, Any]] = []
    sent: list[str] = []

    def answer(message: dict[str, Any]) -> None:
        asked.append(message["content"])
        client.input(VALUE)

    try:
        reply = client.execute_interactive(
            ASK,
            allow_stdin=True,
            stdin_hook=answer,
            output_hook=lambda message: sent.append(str(message["content"])),
            timeout=60,
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

    assert reply["content"]["status"] == "ok", reply["content"]
    assert asked == [{"prompt": "The new value of KEY (not shown): ", "password": True}]
    assert any("[secret KEY] 20" in one for one in sent)
    assert not any(VALUE in one for one in sent)
