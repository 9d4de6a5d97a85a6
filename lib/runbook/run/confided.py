"""What a kernel confides to its runner: the secrets that it holds, over a pipe of their own.

Messages of a kernel are seen by whoever is connected to it, a browser for one; this pipe has two
ends and no more. A value is in it before the code that asked for it gets it, so that the runner
knows it before it sees any output that could hold it. The first line says that the kernel is
listening at all: without it the runner believes nothing of what it is shown.
"""

from __future__ import annotations

import json
import os
import threading

from runbook import secret

VARIABLE = "RUNBOOK_CONFIDES_TO"  # the number of the file descriptor, for the kernel
_BEGINS = "confiding"


class Confided:
    """The runner's end. Secrets that arrive are known to this process from then on."""

    def __init__(self) -> None:
        self._end, self.kernels_end = os.pipe()
        self._lock = threading.Lock()
        self._rest = b""
        self._begun = False
        self._closed = False
        os.set_blocking(self._end, False)
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def begun(self) -> bool:
        """Whether the kernel has said that it confides; all that it has sent by now is known."""
        self._take()
        return self._begun

    def started(self) -> None:
        """The kernel has its end: ours is closed, so that its death is the end of the pipe."""
        os.close(self.kernels_end)

    def close(self) -> None:
        """Take what is left, and let go."""
        self._take()
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._end)

    def _listen(self) -> None:
        """A pipe that nobody empties would stop the kernel."""
        import select

        while not self._closed:
            try:
                select.select([self._end], [], [], 1.0)
            except (OSError, ValueError):
                return
            if not self._take():
                return

    def _take(self) -> bool:
        """Read all that is there; False when there will be no more."""
        with self._lock:
            while not self._closed:
                try:
                    data = os.read(self._end, 65536)
                except BlockingIOError:
                    return True
                if not data:
                    return False
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
            return False

    def _hear(self, said: dict[str, str]) -> None:
        if said.get("says") == _BEGINS:
            self._begun = True
        else:
            secret.remember(said["value"], name=said["name"])


def confide() -> None:
    """In the kernel: tell the runner of every secret from now on. Without a runner do nothing."""
    number = os.environ.pop(VARIABLE, "")
    if not number:
        return
    end = int(number)
    os.set_inheritable(end, False)

    def tell(value: str, name: str) -> None:
        _say(end, {"name": name, "value": value})

    _say(end, {"says": _BEGINS})
    secret.listen(tell)


def _say(end: int, said: dict[str, str]) -> None:
    line = json.dumps(said).encode() + b"\n"
    while line:
        line = line[os.write(end, line) :]
