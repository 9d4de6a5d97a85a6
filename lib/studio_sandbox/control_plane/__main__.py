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
    filled = threading.Event()
    threading.Thread(target=_die_with_parent, args=(filled,), daemon=True).start()
    gc.disable()  # nothing that is made until we serve is garbage: 0.2 s
    server, endpoints, control_plane = _servers(config)
    gc.freeze()
    gc.enable()
    credentials.write(config.home, region=config.region)
    ports = {"port": server.server_port, "endpoints_port": endpoints.server_port}
    print(json.dumps({"ready": True, **ports}), flush=True)
    threading.Thread(target=endpoints.serve_forever, daemon=True).start()
    threading.Thread(target=_begin, args=(filled, control_plane), daemon=True).start()
    server.serve_forever()


def _die_with_parent(filled: threading.Event) -> None:
    """Stdin is a death pipe: its end of file means that the guard is gone.

    A line on it says that the other servers are filled, and that things may happen.
    """
    while sys.stdin.readline():
        filled.set()
    os._exit(0)


def _begin(filled: threading.Event, control_plane: Any) -> None:
    filled.wait()
    control_plane.begin()


def _servers(config: Config) -> tuple[Any, Any, Any]:
    """AWS's server and the endpoints', and what they share."""
    # moto costs most of the start: imported after the death pipe is watched, and only here
    from studio_sandbox.control_plane.moto_adapter import core

    core.start(account=config.account, regions=(config.region, config.backup_region))
    from werkzeug.serving import make_server

    from studio_sandbox.control_plane.server import ControlPlane
    from studio_sandbox.control_plane.studio import Studio
    from studio_sandbox.data_plane.endpoints import Endpoints

    studio = Studio(config)
    studio.seed(config.anchor)
    control_plane = ControlPlane(studio)
    handler = _quiet(core.request_handler())
    made = [
        make_server("127.0.0.1", 0, application, threaded=True, request_handler=handler)
        for application in (control_plane, Endpoints(control_plane.data_plane))
    ]
    return (*made, control_plane)


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
