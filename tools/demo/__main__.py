"""`make demo`: the workshop's ten minutes in one command, on the cluster of `make deploy`.

Deploy, open the page, load, rotate under load, scan, and a planted leak that the scan finds.
On a terminal it waits for Enter between the acts, unless YES=1; OPEN=0 leaves the browser alone.

Exit status: 0 all of it went as it was told, 1 something did not, 130 Ctrl-C.
"""

from __future__ import annotations

import signal
import sys

from secret_files import Secret
from tools.cluster.client import Cluster
from tools.leakscan.__main__ import INTERRUPTED, told
from tools.progress import Progress
from tools.table import Table

from .acts import deploy, leak_and_scan, open_it, scan
from .rotation import rotate_under_load
from .stage import NotAsTold, Stage, someone_watches

#: What ends it like Ctrl-C: a leak is taken back then, too.
ENDING = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Tell the story, and return the exit status."""
    for one in ENDING:
        signal.signal(one, signal.default_int_handler)
    cluster = Cluster.from_environment()
    values: list[Secret] = []
    with Progress(sys.stdout) as progress:
        stage = Stage(progress, someone_watches(sys.stdin, sys.stdout))
        try:
            play(stage, cluster, values)
        except KeyboardInterrupt:
            progress.say()
            progress.say(
                "Interrupted: what was planted is removed again; a rotation that has begun goes on "
                "in the cluster."
            )
            return INTERRUPTED
        except NotAsTold as problem:
            return fail(f"This did not go as told: {problem}.")
        except Exception as problem:
            return fail(f"This did not go as told: {told(problem, values)}")
    return 0


def play(stage: Stage, cluster: Cluster, values: list[Secret]) -> None:
    """Tell the whole story.

    :param values: takes the values that there were; who reports an error has to know them.
    """
    cluster = deploy(stage, cluster)
    open_it(stage, cluster)
    values += rotate_under_load(stage, cluster)
    scan(stage, cluster, values)
    leak_and_scan(stage, cluster)
    _close(stage, cluster)


def fail(sentence: str) -> int:
    """Say what went wrong, and return the exit status."""
    print(f"\n{sentence}", file=sys.stderr)
    return 1


def _close(stage: Stage, cluster: Cluster) -> None:
    stage.act("What to look at next")
    name = "" if cluster.name == "flask-app" else f"CLUSTER={cluster.name} "
    commands = (
        (f"{name}make rotate", "once more, with an eye on the page"),
        (f"{name}make status", "all of it on one screen"),
        (f"{name}make audit", "who read or wrote the Secrets, in this demo, too"),
        (f"{name}make leak-scan", "the scan alone, with its table"),
        ("docs/rotation.md", "why no request failed"),
        ("docs/evidence.md", "each practice, with the test that shows it"),
        (f"{name}make destroy", "removes the cluster with everything in it; it is left running"),
    )
    for line in Table(("", "")).begin((f"  {command}", what) for command, what in commands):
        stage.line(line)


if __name__ == "__main__":
    sys.exit(main())
