"""``python3 -m tools.doctor``: one screen, or JSON for scripts.

Exit status: 0 all that is needed is there, 1 something is missing that `make run` and `make test`
need, 2 only something that `make deploy` needs, 64 the arguments are wrong. A warning changes
none of it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from .cluster import cluster
from .lines import KIND, LOCAL, MISSING, OK, SETTINGS, Line, screen
from .local import local

USAGE: Final = "usage: python3 -m tools.doctor [--json]"


def main(arguments: Sequence[str]) -> int:
    """Print what is found, and return the exit status."""
    if any(argument != "--json" for argument in arguments):
        print(USAGE, file=sys.stderr)
        return 64
    lines = [*local(), *cluster(), *settings()]
    lacking = {group: missing(lines, group) for group in (LOCAL, KIND)}
    status = 1 if lacking[LOCAL] else 2 if lacking[KIND] else 0
    if arguments:
        print(json.dumps({"status": status, "lines": [asdict(line) for line in lines]}, indent=2))
        return status
    print(screen(lines))
    for group, names in lacking.items():
        print(f"{group}: " + (f"{', '.join(names)} is missing" if names else "all is there"))
    return status


def missing(lines: Sequence[Line], group: str) -> list[str]:
    """Return the names of what a group needs and lacks."""
    return [line.name for line in lines if line.group == group and line.mark == MISSING]


def settings() -> Iterator[Line]:
    """Tell of the settings that change what make does."""
    for name, default, about in (
        ("CLUSTER", "flask-app", "the kind cluster of make deploy"),
        ("HTTPS_PORT", "8443", "its port on this machine"),
        ("KIND_NODE_IMAGE", "kind's own", "the image of its node"),
        ("PYTHON", "the first new enough", "makes .venv"),
    ):
        found = os.environ.get(name) or f"not set: {default}"
        yield Line(SETTINGS, OK, name, found, about)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
