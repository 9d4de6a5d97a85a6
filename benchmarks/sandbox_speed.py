"""How long the sandbox takes to start and to be put back, beside plain moto's server.

    .venv/bin/python benchmarks/sandbox_speed.py [ROUNDS]

Three rounds in turn, if no other number is given, in a state folder of its own, which is removed;
the first start of all makes the data folder, the others find it. Wall clock seconds, and of the
control plane those of a processor: what else runs on the machine is not its fault.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from studio_sandbox import box as sandbox

_ROUNDS = 3
_WITHIN_S = 60.0


def main() -> None:
    """Measure, and print a table."""
    home = Path(tempfile.mkdtemp(prefix="runbook-speed-")).resolve()
    home.chmod(0o711)  # root's servers run as another user, who has to pass through
    os.environ["RUNBOOK_HOME"] = str(home)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else _ROUNDS
    print(f"{'round':<8}{'up':>8}{'CPU of AWS':>12}{'reset':>8}{'plain moto up':>16}")
    try:
        for number in range(rounds):
            figures = "{:>8.2f}{:>12.2f}{:>8.2f}{:>16.2f}".format(*_sandbox_s(), _plain_moto_s())
            print(f"{number:<8}{figures}", flush=True)
    finally:
        sandbox.down()
        shutil.rmtree(home)


def _sandbox_s() -> tuple[float, float, float]:
    """Until it is up, what its AWS has used of a processor by then, and until it is put back."""
    started = time.monotonic()
    found = sandbox.up(still=True, tied=True).box
    up_s = time.monotonic() - started
    cpu_s = sum(psutil.Process(found.pids["aws"]).cpu_times()[:2])
    started = time.monotonic()
    sandbox.reset()
    reset_s = time.monotonic() - started
    sandbox.down()
    return up_s, cpu_s, reset_s


def _plain_moto_s() -> float:
    """Until moto's own server, with nothing in it, takes connections. Raises TimeoutError."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = time.monotonic()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while time.monotonic() - started < _WITHIN_S:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return time.monotonic() - started
        raise TimeoutError(f"moto's server takes no connections after {_WITHIN_S} s")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
