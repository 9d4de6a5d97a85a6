"""JupyterLab's own process: `lab.py` starts it with the Python of `.venv-lab`, by its path."""

from __future__ import annotations

import os
import signal
import sys
import threading


def stop_when_the_other_end_closes() -> None:
    """Nothing is ever written to our standard input: it closes when `lab.py` ends, however."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    from jupyterlab.labapp import LabApp  # only .venv-lab has it

    threading.Thread(target=stop_when_the_other_end_closes, daemon=True).start()
    LabApp.launch_instance(argv=sys.argv[1:])


if __name__ == "__main__":
    main()
