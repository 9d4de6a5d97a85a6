"""A link to PostgreSQL or Redis that tests can make slow, silent or cut.

with FaultyLink.to("redis://…@127.0.0.1:6379/0") as link:
    client = redis.Redis.from_url(link.url)
    link.silence()      # whatever is sent stays on its way, until pass_on()
"""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)  # linger for no time: the other side sees a reset
LOOPBACK = "127.0.0.1"


class FaultyLink:
    """Listens on a port of loopback and hands everything on to a server on loopback.

    It starts passing everything on. All of it ends with `close`.
    """

    def __init__(self, port: int) -> None:
        self._server = (LOOPBACK, port)
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = ""
        self._changed = threading.Condition()
        self._silent = self._cut = self._closed = False
        self._delay_s = 0.0
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, name="link", daemon=True).start()

    @classmethod
    def to(cls, url: str) -> Self:
        """A link to the server of a URL; `url` is the same URL through the link."""
        parts = urlsplit(url)
        if parts.hostname != LOOPBACK or not parts.port:
            raise ValueError("a link leads to a port of 127.0.0.1")
        link = cls(parts.port)
        where = f"{LOOPBACK}:{link.port}"
        user, at, _ = parts.netloc.rpartition("@")
        link.url = urlunsplit(parts._replace(netloc=f"{user}{at}{where}"))
        return link

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def pass_on(self) -> None:
        """Hand everything on at once; what was held back arrives first."""
        self._become()

    def delay(self, seconds: float) -> None:
        """Hand on whatever arrives that much later, in each direction."""
        self._become(delay_s=seconds)

    def silence(self) -> None:
        """Hand nothing on, and close nothing: what a lost network looks like."""
        self._become(silent=True)

    def cut(self) -> None:
        """Reset all connections, and each new one, until `pass_on`."""
        self._become(cut=True)
        self._reset_all()

    def close(self) -> None:
        """End it for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._reset_all()

    def _become(self, *, silent: bool = False, cut: bool = False, delay_s: float = 0.0) -> None:
        with self._changed:
            self._silent, self._cut, self._delay_s = silent, cut, delay_s
            self._changed.notify_all()

    def _reset_all(self) -> None:
        with self._changed:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            _reset(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            with self._changed:
                unwanted = self._cut or self._closed
            if unwanted:
                _reset(client)
                continue
            try:
                server = socket.create_connection(self._server)
            except OSError:
                _reset(client)
                continue
            with self._changed:
                self._sockets |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        """Hand on what one side sends, until either side is gone."""
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if not self._may_send():
                    break
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._changed:
            self._sockets.discard(source)
        source.close()

    def _may_send(self) -> bool:
        """Wait as long as the link makes it wait; False when it was cut or closed meanwhile."""
        with self._changed:
            if self._delay_s:
                self._changed.wait_for(lambda: self._cut or self._closed, self._delay_s)
            self._changed.wait_for(lambda: not self._silent or self._cut or self._closed)
            return not (self._cut or self._closed)


def _reset(one: socket.socket) -> None:
    with suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
