"""Outlives the guard by a moment: when the guard dies, it ends whatever the guard has left.

`python -m studio_sandbox.mourner FOLDER…` waits on stdin, whose other end the guard alone holds.
The first folder is the sandbox's. Linux ends the guard's children by itself, but not their
children, and other systems end none.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from studio_sandbox import state
from studio_sandbox.process import kill_leftovers


def main() -> None:
    """Wait for the guard's end; then nothing of the sandbox runs, and nothing says it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folders = [Path(name) for name in sys.argv[1:]]
    sys.stdin.read()
    state.remove(folders[0])
    kill_leftovers(folders)


if __name__ == "__main__":
    main()
