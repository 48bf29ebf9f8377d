"""``python -m tools.cluster COMMAND``: what make runs about the kind cluster.

The variables CLUSTER and HTTPS_PORT name it. Exit status: 0 done, 1 it could not be done.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from tools.problem import Problem
from tools.progress import Progress

from .client import Cluster
from .deploy import deploy, reset
from .kind import create, destroy, ensure_kubeconfig, exists, foreign_owner, is_own, require

#: What ends it like Ctrl-C: what was begun is taken back then, too.
ENDING = (signal.SIGTERM, signal.SIGHUP)


def main(command: str, arguments: Sequence[str]) -> int:
    """Run a command, and return its exit status."""
    for one in ENDING:
        signal.signal(one, signal.default_int_handler)
    cluster = Cluster.from_environment()
    os.chdir(cluster.root)
    try:
        with Progress(sys.stdout) as progress:
            return run(command, arguments, cluster, progress)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # whoever started it sees what has ended it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 130


def run(command: str, arguments: Sequence[str], cluster: Cluster, progress: Progress) -> int:
    """Run a command; rotate, status and give are about what `make run` serves without a cluster.

    :raises Problem: it can't be done.
    """
    match command:
        case "create":
            create(cluster, progress)
        case "deploy":
            # HINTS=0 is for those who tell what comes next themselves
            deploy(cluster, progress, hints=(os.environ.get("HINTS") or "1") == "1")
        case "reset":
            reset(cluster, progress)
        case "destroy":
            destroy(cluster)
        case "rotate":
            return _rotate(cluster, progress, os.environ.get("PARTS", "").split())
        case "status":
            return _status(cluster)
        case "give":
            return _give(cluster, os.environ.get("KEY", ""))
        case "audit":
            return _audit(cluster, arguments)
        case _:
            raise Problem(f"There is no command {command!r}: the Makefile has them.")
    return 0


# Each loads what it needs itself: that takes longer than some of the others do.


def _rotate(cluster: Cluster, progress: Progress, parts: Sequence[str]) -> int:
    if not is_own(cluster):
        return _run_here("rotate", *parts)
    from .rotate import rotate

    ensure_kubeconfig(cluster)
    rotate(cluster, progress, parts)
    return 0


def _status(cluster: Cluster) -> int:
    if not is_own(cluster):
        return _run_here("status", "--text")
    from .status import show

    require(cluster, "helm")
    ensure_kubeconfig(cluster)
    return show(cluster)


def _give(cluster: Cluster, key: str) -> int:
    from .give import give

    if not is_own(cluster):
        return give(key, None)
    ensure_kubeconfig(cluster)
    return give(key, cluster)


def _audit(cluster: Cluster, arguments: Sequence[str]) -> int:
    from .audit import audit

    require(cluster, "docker", "kind", "kubectl")
    if not exists(cluster):
        raise Problem(f"There is no cluster {cluster.name}: `make deploy` makes it.")
    if owner := foreign_owner(cluster):
        way = "ask there, or name this folder's own in CLUSTER"
        raise Problem(f"The cluster {cluster.name} was made by {owner}: {way}.")
    ensure_kubeconfig(cluster)
    return audit(cluster, arguments)


def _run_here(*arguments: str) -> int:
    from tools.local.keeper import main as keeper

    return keeper(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
