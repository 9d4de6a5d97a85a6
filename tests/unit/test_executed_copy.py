"""What a cell's outputs become before they are written."""

from __future__ import annotations

import nbformat
import pytest

from runbook.run.executed import joined


def _stream(name: str, text: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def test_chunks_of_one_stream_become_one_output_in_its_first_place() -> None:
    shown = nbformat.v4.new_output("display_data", {"text/plain": "a table"})
    outputs = [_stream("stdout", "one "), shown, _stream("stderr", "!"), _stream("stdout", "two")]

    kept = joined(outputs)

    assert [each.output_type for each in kept] == ["stream", "display_data", "stream"]
    assert kept[0].text == "one two"
    assert kept[2].text == "!"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("10 %\r50 %\r100 %\n", "100 %\n"),
        ("10 %\r100 %\r", "100 %"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("plain", "plain"),
    ],
)
def test_of_a_line_that_was_written_over_the_last_state_is_kept(written: str, shown: str) -> None:
    assert joined([_stream("stdout", written)])[0].text == shown


def test_a_line_of_two_million_characters_is_joined_at_once() -> None:
    """In nbclient the time grows with the square of the line: for this one, hours."""
    chunks = [_stream("stdout", "x" * 100_000) for _ in range(20)]

    assert len(joined(chunks)[0].text) == 2_000_000
