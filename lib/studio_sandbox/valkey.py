"""Valkey of the sandbox: a Redis that keeps nothing on disk."""

from __future__ import annotations

from pathlib import Path

from studio_sandbox.folder import Passwords

KEEPER = "sandbox"  # ours, to seed and to mend, whatever becomes of the product's password


def configuration(passwords: Passwords, *, port: int, folder: Path) -> str:
    """What the server reads on stdin: passwords never stand in a command line or a file."""
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {passwords.redis}",
            f"user {KEEPER} on >{passwords.superuser} ~* &* +@all",
            f'dir "{folder}"',
            'save ""',
            "appendonly no",
            "databases 16",
            "maxmemory 256mb",
            "maxmemory-policy noeviction",
            "daemonize no",
            "",
        ]
    )


def product_url(passwords: Passwords, port: int) -> str:
    """How the product connects."""
    # the name is said: redis-cli sends an empty one where there is none, and is refused
    return f"redis://default:{passwords.redis}@127.0.0.1:{port}/0"


def keeper_url(passwords: Passwords, port: int) -> str:
    """How the sandbox itself connects."""
    return f"redis://{KEEPER}:{passwords.superuser}@127.0.0.1:{port}/0"
