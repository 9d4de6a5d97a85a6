"""Proofs: promises of the runbook, tried many times on the real servers of a sandbox."""
