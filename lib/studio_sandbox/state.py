"""What a running sandbox has written down: how it is reached, and which processes it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from studio_sandbox.folder import write_private
from studio_sandbox.process import Identity

CREDENTIALS_FILE = "aws-credentials"  # written by the control plane: profiles oncall, approver
CONNECTION_FILE = "connection.json"  # what an environment's aws.connection names
ENDPOINTS_FILE = "endpoints.json"  # where the load balancer and the world outside are played
SLACK_FILE = "slack-webhook"  # what an environment's notify.slack.file names
GITHUB_FILE = "github-token"  # what an environment's github.token.file names
STATE_FILE = "state.json"
PROFILE = "oncall"
_GITHUB_TOKEN = "ghp_5aNdB0x7WqLr2tUvYkE9cMf3ZsXj8HgPd1R4"  # noqa: S105  opens nothing outside
_WEBHOOK = "/slack/services/T0PULSE00/B0INCIDENTS/uO9mJ2rVq7nXw4LkZs1TbYcE"


@dataclass(frozen=True)
class Box:
    """A running sandbox. The URLs carry passwords; `anchor` is the moment its seed calls now."""

    folder: Path
    aws_endpoint_url: str
    endpoints_url: str
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    account: str
    region: str
    anchor: datetime
    still: bool
    processes: dict[str, Identity]

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by name: guard, postgres, redis, aws."""
        return {name: process.pid for name, process in self.processes.items()}

    @property
    def credentials_file(self) -> Path:
        """The AWS credentials: an INI file with the profiles default, oncall and approver."""
        return self.folder / CREDENTIALS_FILE

    def alive(self) -> bool:
        """Whether its guard lives: without it none of its servers does for long."""
        return self.processes["guard"].alive()


def read(folder: Path) -> Box | None:
    """What stands in the state file; None when there is none that can be read."""
    try:
        content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        return _from_json(folder, content)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write(box: Box) -> None:
    """Write the state file and what others are to read, in one step and for the owner alone."""
    content = asdict(box) | {"folder": str(box.folder), "anchor": box.anchor.isoformat()}
    connection = {
        "endpoint_url": box.aws_endpoint_url,
        "credentials_file": str(box.credentials_file),
        "profile": PROFILE,
    }
    write_private(box.folder / CONNECTION_FILE, json.dumps(connection, indent=1))
    write_private(box.folder / ENDPOINTS_FILE, json.dumps({"url": box.endpoints_url}, indent=1))
    write_private(box.folder / SLACK_FILE, f"{box.endpoints_url}{_WEBHOOK}\n")
    write_private(box.folder / GITHUB_FILE, f"{_GITHUB_TOKEN}\n")
    write_private(box.folder / STATE_FILE, json.dumps(content, indent=1))


def remove(folder: Path) -> None:
    """Nothing says any longer that a sandbox runs here, nor how it was reached."""
    written = (CONNECTION_FILE, ENDPOINTS_FILE, SLACK_FILE, GITHUB_FILE, CREDENTIALS_FILE)
    for name in (STATE_FILE, *written):
        (folder / name).unlink(missing_ok=True)


def _from_json(folder: Path, content: dict[str, Any]) -> Box:
    processes = {name: Identity(**found) for name, found in content["processes"].items()}
    if "guard" not in processes:
        raise KeyError("guard")
    return Box(
        folder=folder,
        aws_endpoint_url=content["aws_endpoint_url"],
        endpoints_url=content["endpoints_url"],
        database_url=content["database_url"],
        redis_url=content["redis_url"],
        account=content["account"],
        region=content["region"],
        anchor=datetime.fromisoformat(content["anchor"]),
        still=content["still"],
        processes=processes,
    )
