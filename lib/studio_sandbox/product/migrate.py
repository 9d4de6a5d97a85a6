"""`alembic` as it is in an image: the real one, with the migrations that this release knows.

`python -m studio_sandbox.product.migrate RELEASE ARGUMENT…` takes alembic's own arguments, writes
what alembic writes, and ends with its exit code.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from alembic.config import CommandLine, Config

_MIGRATIONS = Path(__file__).parent / "migrations"
_FORMAT = "%(levelname)-5.5s [%(name)s] %(message)s"  # of the alembic.ini that alembic makes


def main(arguments: list[str]) -> None:
    """Run alembic. Raises SystemExit with its exit code, and what the database raises."""
    release, *rest = arguments
    logging.basicConfig(format=_FORMAT, level=logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.INFO)
    line = CommandLine(prog="alembic")
    options = line.parser.parse_args(rest)
    if not hasattr(options, "cmd"):
        line.parser.error("too few arguments")
    line.run_cmd(_configuration(int(release), options), options)


def folders(release: int) -> list[Path]:
    """Where the migrations are that a release's image has."""
    found = sorted(_MIGRATIONS.glob("release_*"))
    return [folder for folder in found if int(folder.name.partition("_")[2]) <= release]


def _configuration(release: int, options: object) -> Config:
    config = Config(cmd_opts=options)  # type: ignore[arg-type]
    places = os.pathsep.join(map(str, folders(release)))
    config.set_main_option("script_location", _escaped(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", _escaped(places))
    return config


def _escaped(value: object) -> str:
    return str(value).replace("%", "%%")


if __name__ == "__main__":
    main(sys.argv[1:])
