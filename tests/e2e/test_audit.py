"""`make audit` on a real cluster: who was refused, who wrote, and what comes while it follows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any, NamedTuple

import pytest
import yaml

from tools.cluster.client import ROOT, Cluster
from tools.cluster.job import start

WaitFor = Callable[..., None]

#: Asks the API server as somebody without any right.
Ask = Callable[..., str]

#: Another one each time: the log of a cluster that was kept has the others.
STRANGER = f"stranger-{time.time_ns()}"
SECRET = "flask-app-secrets"

#: How long a line of the log, or a program, may take to be there, in seconds.
LIMIT = 60


class Row(NamedTuple):
    """A row of the table, but for its time, from where, and what is merged with it."""

    who: str
    verb: str
    secret: str
    outcome: str


DENIED = Row(f"sa/{STRANGER}", "get", SECRET, "denied")
PATCHED = Row("sa/flask-app-keeper", "patch", SECRET, "allowed")


def audit(cluster: Cluster, arguments: str = "") -> str:
    return cluster.run("make", "audit", f"AUDIT_ARGS={arguments}")


def rows(text: str) -> list[tuple[str, Row]]:
    """Return the rows of a table, each with its time."""
    table = text.split("\n\n")[0].splitlines()
    assert re.split("  +", table[0]) == ["TIME (UTC)", *"WHO VERB SECRET OUTCOME FROM".split()]
    return [row_of(line) for line in table[1:]]


def row_of(line: str) -> tuple[str, Row]:
    time, *cells = re.split("  +", line.strip())
    return time, Row(*cells[:4])


def of_now(text: str) -> list[tuple[str, Row]]:
    """Return the rows from the stranger's first one on."""
    told = rows(text)
    first = next((place for place, (_, row) in enumerate(told) if row == DENIED), len(told))
    return told[first:]


@pytest.fixture(scope="module")
def stranger(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Make an account without any right; its token, or another one, is all that is sent."""
    config: dict[str, Any] = yaml.safe_load((cluster.state / "kubeconfig").read_text())
    file: Path = tmp_path_factory.mktemp("stranger") / "kubeconfig"
    file.touch(mode=0o600)

    def ask(*arguments: str, token: str = "") -> str:
        config["users"][0]["user"] = {"token": token or its_own}
        file.write_text(json.dumps(config))
        return cluster.kubectl(*arguments, "--kubeconfig", str(file), check=False)

    cluster.kubectl("create", "serviceaccount", STRANGER)
    try:
        its_own = cluster.kubectl("create", "token", STRANGER, "--duration", "10m").strip()
        yield ask
    finally:
        cluster.kubectl("delete", "serviceaccount", STRANGER)


def test_who_was_refused_and_who_wrote_are_told_in_order(
    cluster: Cluster, stranger: Ask, wait_for: WaitFor
) -> None:
    assert "forbidden" in stranger("get", "secret", SECRET)
    assert "forbidden" in stranger("get", "secrets", "--all-namespaces")
    assert "logged in" in stranger("get", "secret", SECRET, token="of-nobody")
    as_another = cluster.kubectl("get", "secret", SECRET, "--as", "jane", check=False)
    assert "forbidden" in as_another
    rotation = start(cluster, "rotate", "session")
    assert rotation.succeeds(), rotation.log()
    assert "forbidden" in stranger("get", "secret", SECRET)
    told: list[tuple[str, Row]] = []

    def is_told() -> bool:
        told[:] = of_now(audit(cluster, "--since 10m"))
        # the newest is the last
        return PATCHED in [row for _, row in told] and told[-1][1] == DENIED

    wait_for(is_told, "the stranger's last read", LIMIT)
    assert told == sorted(told, key=lambda one: one[0])
    found = [row for _, row in told]
    assert found.count(DENIED) == 2
    for row in (
        Row(f"sa/{STRANGER}", "list", "all in every namespace", "denied"),
        Row("nobody who is known", "get", SECRET, "denied"),
        Row("user/jane, by user/kubernetes-admin", "get", SECRET, "denied"),
        Row("sa/flask-app-keeper", "get", SECRET, "allowed"),
    ):
        assert row in found
    assert {row.outcome for row in found if row.who == "sa/flask-app-keeper"} == {"allowed"}
    denied = of_now(audit(cluster, "--denied --since 10m"))
    assert denied == [one for one in told if one[1].outcome == "denied"]


def test_what_is_left_out_is_counted(cluster: Cluster) -> None:
    def listed(arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in audit(cluster, arguments).splitlines()]

    def total() -> int:
        return len(listed("--all --json"))

    before = total()
    counted = re.findall(r"(?:itself|namespace), ([0-9]+) \(", audit(cluster))
    assert len(counted) == 2, "not both of Kubernetes and of Helm are left out"
    assert before <= len(listed("--json")) + sum(map(int, counted)) <= total()
    assert {one["outcome"] for one in listed("--json") if one["code"] == 403} == {"denied"}


def test_it_follows_until_ctrl_c(cluster: Cluster, stranger: Ask) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tools.cluster", "audit", "--follow", "--since", "1s"],
        cwd=ROOT,
        env=cluster.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # a terminal sends Ctrl-C to all of it
    ) as process:
        limit = Timer(LIMIT, process.kill)
        limit.start()
        try:
            out = process.stdout
            assert out
            for line in out:
                if line.startswith("The log goes back"):
                    break
            assert "forbidden" in stranger("get", "secret", SECRET)
            assert DENIED in (row_of(line)[1] for line in out if line.startswith("20"))
            assert process.poll() is None
            os.killpg(process.pid, signal.SIGINT)
            rest, _ = process.communicate()
        finally:
            limit.cancel()
    assert "Traceback" not in rest
    assert process.returncode == 0
    left = cluster.node("sh", "-c", "pgrep -f '[t]ail -n [+]1 -F audit.log' || true")
    assert left == ""
