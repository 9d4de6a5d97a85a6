"""Loading this loads what commands and the kernels of sections need: for who is forked from us."""

from __future__ import annotations

import importlib
import os

from runbook.run.waiting import EVERY_KERNEL

# a pool of threads would be in the way of forking, and for tables of ours it gains nothing
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

COMMANDS = ("runbook.cli", "papermill", "runbook.run.engine")
SECTIONS = (
    *EVERY_KERNEL,
    "pandas",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "psycopg2",
    "redis",
    "runbook.picture",
    "matplotlib.backends.backend_agg",
    "matplotlib.dates",
    "matplotlib.figure",
    "matplotlib.font_manager",
)

for _name in (*COMMANDS, *SECTIONS):
    importlib.import_module(_name)
