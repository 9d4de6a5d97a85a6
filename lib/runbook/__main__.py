"""`python -m runbook`: what the launcher hands over to."""

from runbook.cli import main

main()
