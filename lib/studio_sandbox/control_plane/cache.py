"""The server behind the cache's replication group: its primary can be lost, and replaced.

There is one server, and it plays whichever node is the primary. While that is lost it listens on
a port that nobody knows: clients are cut off and refused, and what is in it is what the replica
that takes over has.
"""

from __future__ import annotations

import socket
import threading
from typing import Any
from urllib.parse import urlsplit

from studio_sandbox import valkey
from studio_sandbox.control_plane.config import Config
from studio_sandbox.folder import passwords


class Cache:
    """Safe between threads."""

    def __init__(self, config: Config) -> None:
        self._home = config.home
        self._port = urlsplit(config.redis_url).port or 0
        self._hidden = 0  # the port while it is lost
        self._lock = threading.Lock()

    @property
    def lost(self) -> bool:
        """Whether nobody reaches it."""
        return bool(self._hidden)

    def lose(self) -> None:
        """Nobody reaches it from now on. Raises redis.RedisError."""
        with self._lock:
            if not self._hidden:
                hidden = _free_port()
                self._listen(self._port, hidden)
                self._hidden = hidden

    def come_back(self) -> None:
        """It answers again where it did. Raises redis.RedisError."""
        with self._lock:
            if self._hidden:
                self._listen(self._hidden, self._port)
                self._hidden = 0

    def _listen(self, now: int, then: int) -> None:
        import redis

        url = valkey.keeper_url(passwords(self._home), now)
        keeper: Any = redis.Redis.from_url(url, socket_timeout=5)
        try:
            keeper.config_set("port", then)
            keeper.client_kill_filter(_type="normal", skipme=True)
        finally:
            keeper.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
