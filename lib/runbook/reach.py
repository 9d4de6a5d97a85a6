"""From a laptop to a server inside the VPC: a port forward of Systems Manager, by AWS's own plugin.

The plugin holds the connection; this starts it, waits until it listens, and ends it. What AWS
hands out for a session is a secret and reaches the plugin by a variable, never by its arguments.

Source: https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-sessions-start.html
(AWS-StartPortForwardingSessionToRemoteHost). Reading the session from a variable: plugin 1.2.497.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbook.errors import BadInput, NotReachable
from runbook.wait import DeadlinePassed, Wait

PLUGIN = "session-manager-plugin"
_LEAST = (1, 2, 497)
_DOCUMENT = "AWS-StartPortForwardingSessionToRemoteHost"
_VARIABLE = "AWS_SSM_START_SESSION_RESPONSE"
_READY = "Waiting for connections"
_OPEN_WITHIN_S = 30.0
_GET_IT = (
    "Install it: https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "session-manager-working-with-install-plugin.html"
)


class PortForward:
    """A session that is open: what connects to `port` on loopback reaches the server."""

    def __init__(self, plugin: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self._plugin = plugin
        self._said: list[str] = []
        self._ready = threading.Event()
        threading.Thread(target=self._listen, name="port-forward", daemon=True).start()
        atexit.register(self.close)

    def wait(self, timeout_s: float) -> None:
        """Until it listens. Raises NotReachable, with what the plugin said, when it does not."""
        wait = Wait(timeout_s=timeout_s, interval_s=0.1)
        with suppress(DeadlinePassed):
            wait.until(
                lambda: self._ready.is_set() or self._plugin.poll() is not None,
                what="the port forward",
            )
        if not self._ready.is_set():
            self.close()
            said = " ".join(self._said)[-300:] or "nothing"
            raise NotReachable(f"The port forward to the database did not open; it said: {said}")

    def close(self) -> None:
        """End the session; whatever is connected by it is cut off."""
        if self._plugin.poll() is None:
            self._plugin.terminate()
            try:
                self._plugin.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._plugin.kill()
                self._plugin.wait()

    def _listen(self) -> None:
        assert self._plugin.stdout  # noqa: S101
        for line in self._plugin.stdout:
            self._said.append(line.strip())
            del self._said[:-20]
            if _READY in line:
                self._ready.set()


def find_plugin() -> Path:
    """AWS's session plugin on this machine. Raises NotReachable when it is missing or too old."""
    found = shutil.which(PLUGIN)
    if found is None:
        raise NotReachable(
            "This environment's database is reached by a port forward of Systems Manager, and "
            f"AWS's {PLUGIN} is not on this machine.",
            next=_GET_IT,
        )
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    numbers = tuple(int(number) for number in re.findall(r"\d+", told)[:3])
    if numbers < _LEAST:
        wanted = ".".join(map(str, _LEAST))
        raise NotReachable(
            f"AWS's {PLUGIN} is {told.strip() or 'unreadable'}; {wanted} or newer is needed.",
            next=_GET_IT,
        )
    return Path(found)


def open_forward(
    ssm: Any, ec2: Any, *, through: str, host: str, port: int, region: str, profile: str = ""
) -> PortForward:
    """Open a session through an instance in the VPC to `host:port`, on a free local port.

    Raises BadInput when the environment names no instance, or one that does not run, and
    NotReachable when there is no plugin or nothing listens in time.
    """
    plugin = find_plugin()
    target = _instance(ec2, through)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        local = free.getsockname()[1]
    asked = {"host": [host], "portNumber": [str(port)], "localPortNumber": [str(local)]}
    request = {"Target": target, "DocumentName": _DOCUMENT, "Parameters": asked}
    answer = ssm.start_session(**request)
    handed = {key: answer[key] for key in ("SessionId", "TokenValue", "StreamUrl")}
    started = subprocess.Popen(
        [str(plugin), _VARIABLE, region, "StartSession", profile, json.dumps(request),
         ssm.meta.endpoint_url],
        env={**os.environ, _VARIABLE: json.dumps(handed)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # an interrupt of a cell is not for it
    )  # fmt: skip
    forward = PortForward(started, local)
    forward.wait(_OPEN_WITHIN_S)
    return forward


def _instance(ec2: Any, through: str) -> str:
    """An instance's id, by itself or by its tag."""
    if not through.startswith("tag:"):
        if not through:
            raise BadInput(
                "database.through names no instance to go through.",
                next="Add it to the environment's file: an instance's id, or tag:Name=…",
            )
        return through
    name, _, value = through.partition("=")
    running = {"Name": "instance-state-name", "Values": ["running"]}
    found = ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}, running])
    ids = [one["InstanceId"] for each in found["Reservations"] for one in each["Instances"]]
    if not ids:
        raise BadInput(f"database.through: no instance runs with {through}.")
    return str(sorted(ids)[0])
