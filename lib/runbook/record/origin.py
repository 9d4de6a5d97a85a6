"""Who started a run, and from where: a person at a terminal, JupyterLab, a CI job, cron, a service.

AWS says as whom it acts; this says on whose behalf, as far as the machine knows.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

import psutil

# A variable that a CI system always sets, its name, and where it names the job.
_CI = (
    ("GITHUB_ACTIONS", "GitHub Actions", ("GITHUB_REPOSITORY", "GITHUB_RUN_ID")),
    ("GITLAB_CI", "GitLab CI", ("CI_JOB_URL",)),
    ("JENKINS_URL", "Jenkins", ("BUILD_URL",)),
    ("BUILDKITE", "Buildkite", ("BUILDKITE_BUILD_URL",)),
    ("CODEBUILD_BUILD_ID", "AWS CodeBuild", ("CODEBUILD_BUILD_ID",)),
    ("CI", "CI", ()),
)
_CRON = ("cron", "crond", "anacron", "atd", "launchd-cron")


def origin() -> dict[str, Any]:
    """`os_user`, `host`, `via` (terminal, jupyterlab, ci, cron, service, program) and `job`."""
    via, job = _via(os.environ)
    return {"os_user": os_user(), "host": socket.gethostname(), "via": via, "job": job}


def os_user() -> str:
    """Who is signed in to this machine; with sudo, whoever called it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user id without a passwd entry
        name = f"uid {os.getuid()}"
    caller = os.environ.get("SUDO_USER")
    return f"{caller} as {name}" if caller and caller != name else name


def _via(variables: Mapping[str, str]) -> tuple[str, str]:
    for variable, name, about in _CI:
        if variables.get(variable, "").lower() not in ("", "false", "0"):
            named = "/".join(variables[each] for each in about if variables.get(each))
            return "ci", f"{name} {named}".strip()
    if "JPY_SESSION_NAME" in variables:
        return "jupyterlab", os.path.basename(variables["JPY_SESSION_NAME"])
    parents = _parents()
    cron = next((name for name in parents if name.lower() in _CRON), "")
    if cron:
        return "cron", ""
    if variables.get("INVOCATION_ID") and "systemd" in parents[:2]:
        return "service", variables["INVOCATION_ID"]
    return ("terminal" if sys.stdin and sys.stdin.isatty() else "program"), ""


def _parents() -> list[str]:
    """Names of the processes above this one, the nearest first."""
    try:
        return [process.name() for process in psutil.Process().parents()]
    except psutil.Error:
        return []
