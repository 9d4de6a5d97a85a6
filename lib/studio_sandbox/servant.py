"""Whom the servers run as, and where that user can reach programs and data.

PostgreSQL refuses to run as root, so root's servers run as `nobody`. Modes of folders that are
not ours are never widened: what that user cannot reach is put where it can.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import NotReachable

ROOTS_SERVANT = "nobody"


@dataclass(frozen=True)
class Servant:
    """A user for `Popen`: None where the servers run as whoever starts them."""

    name: str
    user: int | None = None
    group: int | None = None

    @property
    def groups(self) -> list[int] | None:
        """Supplementary groups: none for root's servant, who would inherit root's otherwise."""
        return None if self.user is None else []

    def reaches(self, folder: Path) -> bool:
        """Whether this user may enter a folder: tried out, since modes are not all that counts."""
        return self.user is None or self._runs("/bin/sh", "-c", 'cd "$1"', "sh", str(folder))

    def runs(self, program: Path) -> bool:
        """Whether this user may run a program, and the program runs on this machine."""
        return self._runs(str(program), "--version")

    def own(self, folder: Path) -> Path:
        """Make a folder that is this user's alone; gives it back."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)
        folder.chmod(0o700)
        return folder

    def let_through(self, folder: Path) -> None:
        """Let root's servant pass through a folder of ours, without seeing what is in it."""
        if self.group is not None:
            os.chown(folder, -1, self.group)
            folder.chmod(0o710)

    def _runs(self, *command: str) -> bool:
        try:
            done = subprocess.run(
                command,
                user=self.user,
                group=self.group,
                extra_groups=self.groups,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=30,
                cwd="/",
            )
        except PermissionError:
            return False
        except OSError:  # no such program, or one for another machine
            return False
        return done.returncode == 0


def servant() -> Servant:
    """Whom this process's servers run as.

    Raises NotReachable, with the remedy: that user is not known here, or cannot be switched to.
    """
    if os.geteuid() != 0:
        return Servant(_name_of(os.geteuid()))
    try:
        entry = pwd.getpwnam(ROOTS_SERVANT)
    except KeyError:
        raise NotReachable(
            f"PostgreSQL does not run as root, and there is no user {ROOTS_SERVANT!r} to run it.",
            next="Add that user, or run this as an ordinary user.",
        ) from None
    found = Servant(entry.pw_name, entry.pw_uid, entry.pw_gid)
    if not found.reaches(Path("/")):
        raise NotReachable(
            f"PostgreSQL does not run as root, and root may not switch to {found.name!r} here.",
            next="Run this as an ordinary user, or give the container the right to change users.",
        )
    return found


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        raise NotReachable(
            f"PostgreSQL's initdb needs a name for the user it runs as; user id {user} has none.",
            next="Add an entry for it to /etc/passwd, or run this as a user who has one.",
        ) from None


def servers_folder(folder: Path, who: Servant) -> Path:
    """Where the servers' data and copied programs go: in the sandbox if `who` gets there.

    Else, as for root with a checkout below a /root that is closed to others, in a private folder
    below the system's temporary one. Raises NotReachable when that is not possible either.
    """
    who.let_through(folder)
    if who.reaches(folder):
        return _made(folder / "servers", who)
    key = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    for temporary in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/tmp")):  # noqa: S108
        if temporary.is_dir() and who.reaches(temporary):
            return _made(temporary / f"pulse-runbook-{key}", who)
    raise NotReachable(
        f"{who.name!r}, who runs the servers, can enter neither {folder} nor a temporary folder.",
        next="Name a folder in RUNBOOK_HOME that is open to that user.",
    )


def _made(folder: Path, who: Servant) -> Path:
    """Make a folder of ours, or take the one that is there if it is really ours."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise NotReachable(
            f"{folder} should be a folder of user id {os.geteuid()}, but somebody else made it.",
            next="Remove it, or name another temporary folder in TMPDIR.",
        )
    folder.chmod(0o700)
    who.let_through(folder)
    return folder


def reachable_copy(program: Path, *, parts: list[Path], base: Path, place: Path) -> Path:
    """Copy `parts` (folders or files below `base`) to a place of ours; gives the program there.

    A copy appears complete or not at all, and a newer original makes a new one.
    """
    status = program.stat()
    version = hashlib.sha256(f"{program}:{status.st_mtime_ns}:{status.st_size}".encode())
    target = place / "programs" / version.hexdigest()[:16]
    if not target.exists():
        draft = target.with_name(target.name + ".draft")
        shutil.rmtree(draft, ignore_errors=True)
        for part in parts:
            copy = draft / part.relative_to(base)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                shutil.copytree(part, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
            else:
                shutil.copy2(part, copy)
        for path in (place / "programs", *draft.rglob("*/"), draft):
            path.chmod(0o755)  # whatever our umask: it is `place` that keeps others out
        draft.replace(target)
    return target / program.relative_to(base)
