"""The keeper's command line: ``python -m app.keeper run``.

Exit status: 0 done, 1 it could not be done, 2 wrong usage or settings, 3 another
keeper was quicker.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

import psycopg
from pythonjsonlogger.json import JsonFormatter

from ..secret_files import RedactingFormatter, Redactor, log_uncaught
from .fill import Contradiction, Keeper
from .kubernetes_secrets import KubernetesSecrets
from .objects import Conflict, Unavailable
from .settings import SettingsError, plan_from

log = logging.getLogger("app.keeper")


def main() -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m app.keeper", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("run", help="fill what is empty, and end")
    parser.parse_args()
    redactor = Redactor()
    _write_logs(redactor)
    try:
        plan = plan_from(os.environ)
        Keeper(KubernetesSecrets(), plan, redactor).run()
    except SettingsError as problem:
        log.error("%s", problem)
        return 2
    except Conflict as problem:
        log.warning("%s: giving way", problem)
        return 3
    except (Contradiction, Unavailable, psycopg.Error) as problem:
        log.error("%s", problem)
        return 1
    return 0


def _write_logs(redactor: Redactor) -> None:
    lines = JsonFormatter(
        "{asctime}{levelname}{message}",
        style="{",
        rename_fields={"asctime": "time", "levelname": "level"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    handler = logging.StreamHandler()
    handler.setFormatter(RedactingFormatter(lines, redactor))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    log_uncaught()
    sys.exit(main())
