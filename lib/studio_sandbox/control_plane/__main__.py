"""The process: configuration in, credentials and a port out, gone with whoever started it."""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from typing import Any

from studio_sandbox.control_plane import credentials
from studio_sandbox.control_plane.config import Config


def main() -> None:
    """Serve until SIGTERM, or until the other end of stdin is closed."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    config = Config.from_json(sys.stdin.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    gc.disable()  # nothing that is made until we serve is garbage: 0.2 s
    server = _server(config)
    gc.freeze()
    gc.enable()
    credentials.write(config.home, region=config.region)
    print(json.dumps({"ready": True, "port": server.server_port}), flush=True)
    server.serve_forever()


def _die_with_parent() -> None:
    """Stdin is a death pipe: its end of file means that the guard is gone."""
    while sys.stdin.readline():
        pass
    os._exit(0)


def _server(config: Config) -> Any:
    # moto costs most of the start: imported after the death pipe is watched, and only here
    from studio_sandbox.control_plane.moto_adapter import core

    core.start(account=config.account, regions=(config.region, config.backup_region))
    from werkzeug.serving import make_server

    from studio_sandbox.control_plane.server import ControlPlane
    from studio_sandbox.control_plane.studio import Studio

    studio = Studio(config)
    studio.seed(config.anchor)
    return make_server(
        "127.0.0.1",
        0,
        ControlPlane(studio),
        threaded=True,
        request_handler=_quiet(core.request_handler()),
    )


def _quiet(handler: type[Any]) -> type[Any]:
    """A handler that sends at once and logs no requests.

    Connections close after each answer, as werkzeug has it: it drains what it takes for the rest
    of a request, and would swallow the next one on the same connection.
    """
    return type(
        "Handler",
        (handler,),
        {
            "protocol_version": "HTTP/1.1",
            "disable_nagle_algorithm": True,  # else 40 ms between headers and body
            "log_request": lambda *_args, **_kwargs: None,
        },
    )


if __name__ == "__main__":
    main()
