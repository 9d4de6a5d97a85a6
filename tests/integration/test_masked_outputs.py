"""A section that shows a secret shows its name: in every channel of a real kernel."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from runbook import settings
from runbook.clients import Clients
from runbook.record.runs import runs, store_of
from runbook.run.kernel import SectionKernel
from studio_sandbox.box import Box

BEGIN = """
from runbook import Runbook
rb = Runbook("clear-stuck-jobs", "sandbox")
value = rb.clients.secret("AI_STUDIO_DATABASE_URL").reveal()
"""
CELLS = {
    "stdout": "print('it is', value)",
    "stderr": "import sys; print(value, file=sys.stderr)",
    "logging": "import logging; logging.warning('dsn %s', value)",
    "result": "value",
    "nested result": "{'dsn': [value]}",
    "base64": "import base64; base64.b64encode(value.encode()).decode()",
    "frame": "import pandas; pandas.set_option('display.max_colwidth', None); "
    "pandas.DataFrame({'dsn': [value]})",
    "html": "from IPython.display import HTML; HTML('<b title=' + repr(value) + '>x</b>')",
    "json": "from IPython.display import JSON, display; display(JSON({'dsn': value}))",
    "exception": "raise ValueError(f'cannot reach {value}')",
    "traceback": "dict(dsn=value)['missing' + value]",
    "found": "rb.found(dsn=value)",
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    cells = [new_code_cell(source) for source in (BEGIN, *CELLS.values())]
    notebook = new_notebook(cells=cells)
    NotebookClient(
        notebook,
        kernel_manager_class=SectionKernel,
        allow_errors=True,
        shutdown_kernel="immediate",
        resources={"metadata": {"path": str(tmp_path_factory.mktemp("cwd"))}},
    ).execute()
    return notebook


@pytest.mark.parametrize("channel", CELLS)
def test_the_value_is_nowhere_and_its_name_is_there(box: Box, executed: Any, channel: str) -> None:
    outputs = executed.cells[1 + list(CELLS).index(channel)].outputs
    text = json.dumps(outputs)
    password = box.database_url.split(":")[2].split("@")[0]
    encoded = base64.b64encode(box.database_url.encode()).decode()[4:40]
    assert password not in text
    assert encoded not in text
    assert channel == "found" or "[secret AI_STUDIO_DATABASE_URL]" in text


def test_the_record_does_not_hold_it_either(box: Box, executed: Any) -> None:
    password = box.database_url.split(":")[2].split("@")[0]
    root = Path(settings.home()) / "record" / "sandbox"
    files = [path for path in root.rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if password.encode() in path.read_bytes()] == []
    latest = next(runs(store_of(settings.load("sandbox"))))
    assert latest["result"]["dsn"] == "[secret AI_STUDIO_DATABASE_URL]"


def test_what_the_notebook_looks_like_is_valid(executed: Any) -> None:
    nbformat.validate(executed)
    assert executed.cells[0].outputs == []
    assert Clients(settings.load("sandbox")).secret("AI_STUDIO_JWT_SECRET").name
