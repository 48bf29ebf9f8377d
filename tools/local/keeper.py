"""``python -m tools.local.keeper rotate``: the keeper, for what another `make run` serves."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Sequence

from app.settings import Settings, SettingsError
from keeper.__main__ import command_line, do
from keeper.folder_secrets import FolderSecrets
from keeper.plan import CERTIFICATES, Service
from secret_files import RedactingFormatter, Redactor
from tools.problem import Problem

from .place import FOLDER, Running, plan

#: A change is seen within a second or so, where there is no kubelet on the way.
WAIT_SECONDS = 60


def main(words: Sequence[str] | None = None) -> int:
    """Run one of the keeper's commands, and return its exit status.

    :param words: the command line, if it is not that of this process.
    """
    arguments = command_line("python -m tools.local.keeper").parse_args(words)
    redactor = Redactor()
    _write_steps(redactor)
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # libpq would heed them, and they are about another database
    of_certificates = CERTIFICATES in getattr(arguments, "parts", ())
    if of_certificates or getattr(arguments, "new_authority", False):
        print("There are no certificates here: `make run` serves plain HTTP.", file=sys.stderr)
        return 2
    if not _is_running():
        print("Nothing is served here: start `make run` in another terminal.", file=sys.stderr)
        return 1
    running = Running.read()
    service = Service(running.host, running.metrics_port)
    try:
        what = plan(Settings.load(), running.database_host, service, WAIT_SECONDS)
    except (Problem, SettingsError) as problem:
        print(problem, file=sys.stderr)
        return 2
    return do(arguments, lambda: FolderSecrets(FOLDER), what, redactor)


def _is_running() -> bool:
    """Tell whether a `make run` of this folder has its lock."""
    try:
        with (FOLDER / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Running.is_known()
    except OSError:
        pass
    return False


class _Steps(logging.Formatter):
    """A line for a person: the seconds that a step took, and what it was."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = getattr(record, "seconds", None)
        taken = "" if seconds is None else f"{seconds:.1f}s"
        return f"{taken:>7}  {super().format(record)}"


def _write_steps(redactor: Redactor) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(RedactingFormatter(_Steps(), redactor))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main())
