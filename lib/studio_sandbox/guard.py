"""The process that owns a sandbox: it starts the servers, fills them, and ends with any of them.

`python -m studio_sandbox.guard` reads its order as one JSON line on stdin and answers one JSON
line on stdout: `{"ready": true}`, or what went wrong. Until it then reads `keep` it ends as soon
as stdin does, that is, with the command that starts it; a tied guard is never told to keep.

    guard ── postgres, valkey    Linux kills them when the guard dies; mourner does elsewhere
          ├─ control plane       ends with its stdin, or as the others
          │   └─ postgres        of restored clusters; they die with the control plane
          └─ mourner             ends what is left when the guard was killed
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NoReturn

from runbook.errors import NotReachable, RunbookError
from studio_sandbox import folder as folders
from studio_sandbox import postgres, programs, servant, state, valkey
from studio_sandbox.process import Identity, kill_leftovers, tied_to_parent

_START_WITHIN_S = 60.0
_STOP_WITHIN_S = 8.0
_LOOK_EVERY_S = 0.5  # a dead child is heard of at once; this is for a signal that was missed


@dataclass(frozen=True)
class Order:
    """What to start. `anchor` is the moment that the seed calls now."""

    folder: Path
    account: str
    region: str
    backup_region: str
    anchor: datetime
    still: bool

    @classmethod
    def from_json(cls, line: str) -> Order:
        """Read the line that `to_json` wrote."""
        given = json.loads(line)
        moment = datetime.fromisoformat(given.pop("anchor"))
        return cls(folder=Path(given.pop("folder")), anchor=moment, **given)

    def to_json(self) -> str:
        """One line."""
        content = dict(self.__dict__)
        return json.dumps(content | {"folder": str(self.folder), "anchor": self.anchor.isoformat()})


def working_folders(folder: Path, servers: Path) -> list[Path]:
    """Every folder that a process of the sandbox works in or below, the sandbox's own first."""
    return [folder, servers]


class Guard:
    """The children and their end. Everything but `_obey` runs in the main thread."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.folder = order.folder
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = False
        lock = folders.take_processes_lock(self.folder)
        if lock is None:
            raise NotReachable(
                f"Processes of an earlier sandbox still run in {self.folder}.",
                next="Try again in some seconds.",
            )
        self.lock = lock
        self.who = servant.servant()
        self.servers = servant.servers_folder(self.folder, self.who)
        self.passwords = folders.passwords(self.folder)
        self.working = working_folders(self.folder, self.servers)

    # start

    def start(self) -> state.Box:
        """Start everything, fill it, write the state. Raises NotReachable when it cannot be."""
        threading.Thread(target=self._obey, daemon=True).start()
        self._start_mourner()
        ports = _free_ports(2)
        self._start_valkey(ports[1])
        aws = self._start_control_plane(*ports)
        self._start_postgres(ports[0])
        self._fill(*ports)
        box = self._box(*self._aws_ports(aws), *ports)
        state.write(box)
        self._begin()
        return box

    def _start_mourner(self) -> None:
        command = [sys.executable, "-P", "-m", "studio_sandbox.mourner"]
        self._spawn(
            "mourner", [*command, *map(str, self.working)], self.folder, stdin=subprocess.PIPE
        )

    def _start_valkey(self, port: int) -> None:
        home = self.who.own(self.servers / "valkey")
        program = programs.valkey(self.who, self.servers)
        child = self._serve("redis", [str(program), "-"], home, stdin=subprocess.PIPE)
        text = valkey.configuration(self.passwords, port=port, folder=home)
        assert child.stdin is not None  # noqa: S101  asked for
        child.stdin.write(text.encode())
        child.stdin.close()

    def _start_postgres(self, port: int) -> None:
        """Start on the data that is there; where that fails, once more on new data."""
        home = self.who.own(self.servers / "postgres")
        data = postgres.Data(
            home, programs.postgres_folder(self.who, self.servers), self.who, _environment()
        )
        kept = data.folder.exists()
        data.make(self.passwords)
        self._serve("postgres", data.server(port), home)
        try:
            self._await_postgres(port)
        except NotReachable:
            if not kept:
                raise
            child = self.children.pop("postgres")
            child.kill()
            child.wait()
            kill_leftovers([home, data.folder])
            data.drop()
            data.make(self.passwords)
            self._serve("postgres", data.server(port), home)
            self._await_postgres(port)

    def _start_control_plane(self, postgres_port: int, valkey_port: int) -> IO[bytes]:
        order = self.order
        config = {
            "account": order.account,
            "region": order.region,
            "backup_region": order.backup_region,
            "home": str(self.folder),
            "still": order.still,
            "database_url": postgres.product_url(self.passwords, postgres_port),
            "redis_url": valkey.product_url(self.passwords, valkey_port),
            "anchor": order.anchor.isoformat(),
            "users_wait_s": _START_WITHIN_S,
            "servers": str(self.servers),
            "lock": self.lock,
        }
        child = self._spawn(
            "aws",
            [sys.executable, "-P", "-m", "studio_sandbox.control_plane"],
            self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert child.stdin is not None  # noqa: S101  asked for
        assert child.stdout is not None  # noqa: S101
        child.stdin.write(json.dumps(config).encode() + b"\n")
        child.stdin.flush()  # and left open: its end is the guard's
        return child.stdout

    def _serve(
        self, name: str, command: list[str], home: Path, **more: Any
    ) -> subprocess.Popen[bytes]:
        """Start a server as whom the servers run as."""
        who = {"user": self.who.user, "group": self.who.group, "extra_groups": self.who.groups}
        return self._spawn(name, command, home, env=_environment(), **who, **more)

    def _spawn(
        self, name: str, command: list[str], home: Path, **more: Any
    ) -> subprocess.Popen[bytes]:
        """Start a child in a session of its own; what it says goes to logs/."""
        ends_by = {"postgres": signal.SIGQUIT, "mourner": None}.get(name, signal.SIGKILL)
        with (self.folder / "logs" / f"{name}.log").open("wb") as log:
            settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log} | more
            child: subprocess.Popen[bytes] = subprocess.Popen(
                command,
                cwd=home,
                stderr=log,
                start_new_session=True,
                pass_fds=(self.lock,),
                preexec_fn=tied_to_parent(ends_by) if ends_by else None,
                **settings,
            )
        self.children[name] = child
        return child

    # what they are waited for

    def _await_postgres(self, port: int) -> None:
        import psycopg2

        def connect() -> None:
            url = postgres.superuser_url(self.passwords, port)
            psycopg2.connect(url, connect_timeout=2).close()

        self._await("postgres", connect, psycopg2.OperationalError)

    def _await(self, name: str, attempt: Callable[[], None], not_yet: type[Exception]) -> None:
        """Try until it works; raises NotReachable when the server ended or took too long."""
        deadline = time.monotonic() + _START_WITHIN_S
        while True:
            try:
                return attempt()
            except not_yet as error:
                last = error
            if self.children[name].poll() is not None or time.monotonic() > deadline:
                raise self._did_not_start(name) from last
            time.sleep(0.01)

    def _fill(self, postgres_port: int, valkey_port: int) -> None:
        from studio_sandbox import seed

        def connect() -> None:
            socket.create_connection(("127.0.0.1", valkey_port), 1).close()

        self._await("redis", connect, OSError)
        seed.everything(
            self.passwords,
            postgres_port=postgres_port,
            valkey_port=valkey_port,
            anchor=self.order.anchor,
            still=self.order.still,
        )

    def _begin(self) -> None:
        """All is filled: the control plane lets things happen."""
        pipe = self.children["aws"].stdin
        assert pipe is not None  # noqa: S101  asked for
        pipe.write(b"filled\n")
        pipe.flush()

    def _aws_ports(self, answers: IO[bytes]) -> tuple[int, int]:
        """Where AWS answers, and where the endpoints do."""
        line = answers.readline()
        try:
            said = json.loads(line)
            return int(said["port"]), int(said["endpoints_port"])
        except (ValueError, KeyError):
            raise self._did_not_start("aws") from None

    def _did_not_start(self, name: str) -> NotReachable:
        log = self.folder / "logs" / f"{name}.log"
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-800:]
        return NotReachable(f"The sandbox's {name} did not start: {said or 'it said nothing'}")

    def _box(
        self, aws_port: int, endpoints_port: int, postgres_port: int, valkey_port: int
    ) -> state.Box:
        processes = {name: Identity.of(child.pid) for name, child in self.children.items()}
        return state.Box(
            folder=self.folder,
            aws_endpoint_url=f"http://127.0.0.1:{aws_port}",
            endpoints_url=f"http://127.0.0.1:{endpoints_port}",
            database_url=postgres.product_url(self.passwords, postgres_port),
            redis_url=valkey.product_url(self.passwords, valkey_port),
            account=self.order.account,
            region=self.order.region,
            anchor=self.order.anchor,
            still=self.order.still,
            processes={"guard": Identity.of(os.getpid())} | processes,
        )

    # life and end

    def watch(self) -> None:
        """Return when told to stop or when any child has died."""
        woken, wake = socket.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(woken, selectors.EVENT_READ)
            while not self.stopping and self._all_live():
                if selector.select(_LOOK_EVERY_S):
                    woken.recv(64)
        signal.set_wakeup_fd(-1)
        woken.close()
        wake.close()

    def stop(self) -> None:
        """End all children: politely when told to, at once when one of them has died."""
        state.remove(self.folder)
        polite = self._all_live()
        for name, child in self.children.items():
            if name != "mourner":
                fast = signal.SIGINT if name == "postgres" else signal.SIGTERM
                child.send_signal(fast if polite else signal.SIGKILL)
        deadline = time.monotonic() + _STOP_WITHIN_S
        for name, child in self.children.items():
            if name != "mourner":
                _end(child, deadline)
        kill_leftovers(self.working)

    def _all_live(self) -> bool:
        return all(child.poll() is None for child in self.children.values())

    def _obey(self) -> None:
        """Stdin is a death pipe until it says `keep`: then the sandbox stands by itself."""
        while line := sys.stdin.readline():
            if line.strip() == "keep":
                _answer({"kept": True})
                return
        os._exit(1)  # the kernel and the mourner do the rest, wherever the main thread is


def _end(child: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on; all are held until the last is found, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def _answer(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)


def main() -> NoReturn:
    """Own a sandbox until SIGTERM, until a child dies, or until the starting command is gone."""
    order = Order.from_json(sys.stdin.readline())
    guard: Guard | None = None
    failed = True
    try:
        guard = Guard(order)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(guard, "stopping", True))
        guard.start()
        _answer({"ready": True})
        guard.watch()
        failed = False
    except RunbookError as error:
        _answer({"error": error.message, "next": error.next})
    except Exception as error:
        _answer({"error": f"The sandbox did not start: {type(error).__name__}: {error}"})
        raise
    finally:
        if guard:
            guard.stop()
    sys.exit(failed)


if __name__ == "__main__":
    main()
