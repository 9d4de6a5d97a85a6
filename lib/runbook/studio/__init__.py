"""The Studio: one module for each thing that is operated. Importing it makes all kinds known."""

from runbook.studio import rows  # noqa: F401  registers sql-rows
