"""The keeper's command line: ``python -m keeper run``, ``rotate`` and ``status``.

Exit status: 0 done, 1 it could not be done, or ``status --text`` tells of something broken,
2 wrong usage or settings, 3 another keeper was quicker.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from secret_files import RedactingFormatter, Redactor, forbid_core_dumps, log_uncaught

from .keeper import PROBLEMS, Keeper
from .objects import Conflict, SecretObjects
from .plan import PARTS, Plan
from .screen import screen
from .settings import SettingsError, plan_from
from .status import status

log = logging.getLogger("keeper")


def main() -> int:
    """Run one command and return its exit status."""
    arguments = command_line("python -m keeper").parse_args()
    redactor = Redactor()
    write_logs(redactor)
    try:
        plan = plan_from(os.environ)
    except SettingsError as problem:
        log.error("%s", problem)
        return 2
    # not above: it is a third of the start, and neither `make run` nor wrong usage needs it
    from .kubernetes_secrets import KubernetesSecrets

    return do(arguments, KubernetesSecrets, plan, redactor)


def command_line(program: str) -> argparse.ArgumentParser:
    """Return the parser of the keeper's commands."""
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("run", help="do what is due: fill, finish, rotate, retire, renew; and end")
    rotate = commands.add_parser("rotate", help="the same, and rotate whatever its age")
    rotate.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all, if none is named"
    )
    rotate.add_argument(
        "--new-authority", action="store_true", help="sign the certificates with a new authority"
    )
    state = commands.add_parser("status", help="print ages, what is due, each pod's generation")
    state.add_argument(
        "--text", action="store_true", help="for a person, not as JSON; 1 if something is broken"
    )
    return parser


def do(
    arguments: argparse.Namespace,
    objects: Callable[[], SecretObjects],
    plan: Plan,
    redactor: Redactor,
) -> int:
    """Do what the command line asks for, and return the exit status."""
    parts: Sequence[str] = getattr(arguments, "parts", ())
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        log.error("%s can't be rotated: name some of %s", unknown[0], ", ".join(PARTS))
        return 2
    if arguments.command == "rotate":
        parts = parts or plan.parts or PARTS
    theirs = [part for part in parts if part not in plan.parts]
    if theirs:
        log.error("what comes from another source is rotated there: %s", ", ".join(theirs))
        return 2
    try:
        place = objects()
        if arguments.command == "status":
            return tell(status(place, plan), arguments.text)
        Keeper(place, plan, redactor).run(parts, getattr(arguments, "new_authority", False))
    except Conflict as problem:
        log.warning("%s: giving way", problem)
        return 3
    except (*PROBLEMS, OSError) as problem:
        log.error("%s", problem)
        return 1
    return 0


def tell(facts: Mapping[str, Any], as_text: bool) -> int:
    """Print the status, and return the exit status."""
    if not as_text:
        print(json.dumps(facts, indent=2))
        return 0
    text, is_sound = screen(facts, datetime.now(UTC))
    print(text)
    return 0 if is_sound else 1


def write_logs(redactor: Redactor) -> None:
    """Log one line of JSON for each step, without a secret."""
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
    forbid_core_dumps()
    log_uncaught()
    sys.exit(main())
