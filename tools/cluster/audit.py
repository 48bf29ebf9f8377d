"""Who read or wrote the release's Secrets, from the API server's audit log, newest last.

Exit status: 0 it was told, 1 it can't be, or the log can hold values.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tools.problem import Problem

from .audit_events import Log, Request
from .audit_table import Requests, as_json, left_out
from .client import NAMESPACE, RELEASE, Cluster, Object

FOLDER: Final = "/var/log/kubernetes"
#: Stands after what the log has at first; no event begins like this.
MARK: Final = "-- now"
NO_LOG: Final = 3

# The current file is opened first: what becomes of its name meanwhile, nothing is missed. When
# it is followed, it comes again from its beginning, for the same reason.
READ: Final = """
[ -e "$1/audit.log" ] || exit "$2"
cd "$1" && exec 3< audit.log || exit
for file in audit-*.log; do [ ! -e "$file" ] || cat "$file"; done
cat <&3
printf '\\n%s\\n' "$3"
[ "$4" = follow ] || exit 0
tail -n +1 -F audit.log 2> /dev/null &
# until whoever asked is gone, of which docker tells nothing else
cat > /dev/null
kill $!
"""

UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def audit(cluster: Cluster, words: Sequence[str]) -> int:
    """Print the table, go on with it where that is asked for, and return the exit status.

    :param words: AUDIT_ARGS.
    :raises Problem: there is no release, or its log can't be read.
    """
    arguments = command_line().parse_args(words)
    try:
        return _show(cluster, arguments)
    except BrokenPipeError:
        # `| head` has enough; nothing more is written, at the end of the program either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def command_line() -> argparse.ArgumentParser:
    """Return the parser of AUDIT_ARGS."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")
    parser.add_argument(
        "--since", type=_ago, metavar="TIME", help="only what is not older, as in 90s, 15m, 1h, 2d"
    )
    parser.add_argument("--denied", action="store_true", help="only what was denied")
    parser.add_argument(
        "--all",
        action="store_true",
        help="also what kubelets and controllers read, and the namespace's other Secrets",
    )
    parser.add_argument("--wide", action="store_true", help="with the user agents")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each request")
    return parser


def _ago(text: str) -> datetime:
    found = re.fullmatch("([0-9]{1,5})([smhd])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 90s, 15m, 1h or 2d")
    number, unit = found.groups()
    return datetime.now(UTC) - timedelta(seconds=int(number) * UNITS[unit])


def _show(cluster: Cluster, arguments: argparse.Namespace) -> int:
    names = secrets_of(cluster.release_objects("deployments,statefulsets,cronjobs"))
    if not names:
        raise Problem(f"There is no release {RELEASE}: `make deploy` installs it.")
    log = Log(NAMESPACE, names, arguments.all, arguments.since, arguments.denied)
    table = Requests(NAMESPACE, arguments.wide)
    # where JSON is asked for, nothing else may be in it
    aside = sys.stderr if arguments.json else sys.stdout
    node = cluster.control_plane
    with _lines(node, arguments.follow) as lines:
        found = sorted(_before_mark(node, lines, log), key=lambda one: one.time)
        for text in map(as_json, found) if arguments.json else [table.begin(found)]:
            print(text, flush=True)
        told = left_out(log)
        print("", *told, "", sep="\n", file=aside, flush=True)
        try:
            for request in filter(None, map(log.take, lines)):
                print(as_json(request) if arguments.json else table.row(request), flush=True)
        except KeyboardInterrupt:
            if left_out(log) != told:
                print("", *left_out(log), sep="\n", file=aside)
    return 1 if log.bodies else 0


def secrets_of(objects: Iterable[Object]) -> frozenset[str]:
    """Return the names of the Secrets that a release's pods use, and of those that it keeps."""
    return frozenset(name for one in objects for name in _named(one["spec"]))


def _named(value: Any) -> Iterator[str]:
    """Iterate over the names of Secrets in a part of an object."""
    if isinstance(value, list):
        for one in value:
            yield from _named(one)
    if not isinstance(value, dict):
        return
    # the keeper is told by its settings
    if str(value.get("name", "")).endswith("_SECRET") and isinstance(value.get("value"), str):
        yield value["value"]
    for key, one in value.items():
        if key in ("secret", "secretRef", "secretKeyRef") and isinstance(one, dict):
            yield one.get("secretName") or one["name"]
        else:
            yield from _named(one)


def _before_mark(node: str, lines: Iterator[str], log: Log) -> list[Request]:
    """Return the requests that are in the log already."""
    found: list[Request] = []
    before = ""
    for line in lines:
        if line == MARK:
            # what stands there without an end is being written: it is an event of the next moment
            return found
        if request := log.take(before):
            found.append(request)
        before = line
    raise Problem(f"The audit log of {node} ended while it was read: try again.")


@contextmanager
def _lines(node: str, is_followed: bool) -> Iterator[Iterator[str]]:
    """Give the lines of the log, oldest first, and those that come where it is followed.

    :raises Problem: there is no log.
    """
    command = ("docker", "exec", "--interactive", node, "sh", "-c", READ, "sh")
    arguments = (FOLDER, str(NO_LOG), MARK, "follow" if is_followed else "once")
    with subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for the one who ends it
    ) as process:
        try:
            yield _read(node, process)
        finally:
            # then what runs on the node ends, once nothing of it waits to be read
            process.communicate()


def _read(node: str, process: subprocess.Popen[str]) -> Iterator[str]:
    for line in process.stdout or ():
        yield line.rstrip("\n")
    _, said = process.communicate()
    if process.returncode == NO_LOG:
        raise Problem(f"{node} has no audit log: `make destroy`, and `make deploy` again.")
    if process.returncode:
        raise Problem(f"{node} can't be asked: {said.strip() or 'docker does not say why'}")
