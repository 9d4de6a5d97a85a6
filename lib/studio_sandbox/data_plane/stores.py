"""PostgreSQL and Redis, reached by the URLs that tasks were started with."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from studio_sandbox.data_plane.orders import Orders, RedisDown

_TIMEOUT_S = 2
_REDIS_TIMEOUT_S = 1.0
_STATEMENT_TIMEOUT_MS = 3000


class Stores:
    """Connections by URL, kept as a service keeps its pool. Safe between threads."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._caches: dict[str, Any] = {}
        self._lock = threading.Lock()

    @contextmanager
    def database(self, url: str) -> Iterator[Any]:
        """A cursor in a transaction of its own. Raises psycopg2.Error, and undoes it then."""
        with self._lock:
            idle = self._idle[url]
            connection = idle.pop() if idle else None
        connection = connection or connect(url)
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._idle[url].append(connection)

    def redis(self, url: str) -> Any:
        """A client, which connects when it is used.

        Raises ValueError for what is no URL, redis.ConnectionError when the cache is ordered away.
        """
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        if self._orders.first(RedisDown):
            raise redis.ConnectionError("Error 111 connecting to the primary. Connection refused.")
        with self._lock:
            if url not in self._caches:
                self._caches[url] = redis.Redis.from_url(
                    url,
                    decode_responses=True,
                    socket_timeout=_REDIS_TIMEOUT_S,
                    socket_connect_timeout=_REDIS_TIMEOUT_S,
                    retry=Retry(NoBackoff(), 1),  # an idle connection may have been cut since
                )
            return self._caches[url]

    def database_error(self, url: str) -> str:
        """Why the database does not answer, in its driver's words; empty when it does."""
        import psycopg2

        error = ""
        for _ in range(2):  # an idle connection may have been cut since
            try:
                with self.database(url) as cursor:
                    cursor.execute("SELECT 1")
                return ""
            except psycopg2.Error as failed:
                error = " ".join(str(failed).split())
        return error

    def redis_error(self, url: str) -> str:
        """Why Redis does not answer; empty when it does."""
        import redis

        try:
            self.redis(url).ping()
        except (redis.RedisError, ValueError) as failed:
            return " ".join(str(failed).split())
        return ""

    def keep_only(self, urls: set[str]) -> None:
        """Close what no task was started with any more."""
        with self._lock:
            for url in self._idle.keys() - urls:
                for connection in self._idle.pop(url):
                    connection.close()
            for url in self._caches.keys() - urls:
                self._caches.pop(url).close()


def connect(url: str) -> Any:
    """A connection as the product makes them. Raises psycopg2.OperationalError."""
    import psycopg2

    scheme, _, rest = url.partition("://")
    return psycopg2.connect(
        f"{scheme.partition('+')[0]}://{rest}",
        connect_timeout=_TIMEOUT_S,
        application_name="ai-studio",
        options=f"-c timezone=UTC -c statement_timeout={_STATEMENT_TIMEOUT_MS}",
    )
