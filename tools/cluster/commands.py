"""The programs that know the cluster. What one of them fails with becomes one sentence."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Final

#: Of what `make deploy` installs.
RELEASE: Final = "flask-app"
NAMESPACE: Final = "flask-app"

#: For the API server to answer, in seconds.
TIMEOUT: Final = 60

Object = dict[str, Any]


class Problem(Exception):
    """It can't be done; the message is a sentence that says why."""


def cluster_name() -> str:
    """Return the name of the project's kind cluster."""
    return os.environ.get("CLUSTER") or "flask-app"


def node() -> str:
    """Return the name of the container that is the cluster's node."""
    return f"{cluster_name()}-control-plane"


def kubectl(*arguments: str, stdin: str = "") -> str:
    """Return what kubectl prints of the release's namespace.

    :raises Problem: it fails.
    """
    context = ("--context", f"kind-{cluster_name()}", "--namespace", NAMESPACE)
    return run("kubectl", *context, *arguments, stdin=stdin)


def items(kinds: str) -> list[Object]:
    """Return the release's objects of some kinds, but for those that are about to go.

    :raises Problem: kubectl fails.
    """
    selector = ("--selector", f"app.kubernetes.io/instance={RELEASE}")
    listed: list[Object] = json.loads(kubectl("get", kinds, *selector, "--output", "json"))["items"]
    return [one for one in listed if "deletionTimestamp" not in one["metadata"]]


def run(*command: str, stdin: str = "") -> str:
    """Run a program, and return what it prints.

    :raises Problem: it fails.
    """
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=TIMEOUT, check=True
        )
    except subprocess.TimeoutExpired:
        raise Problem(f"{command[0]} does not end within {TIMEOUT} s.") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise Problem(f"{command[0]} fails: {said}") from None
    return done.stdout
