"""`make audit`, with a program in the place of docker that has a log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer

import psutil
import pytest

from tests.tools.cluster.events import ADMIN, NODE, line
from tools.cluster.audit import audit, command_line, secrets_of
from tools.cluster.client import Cluster
from tools.problem import Problem

WaitFor = Callable[..., None]

ROOT = Path(__file__).parents[3]
CONTAINER = "flask-app-control-plane"

#: What a Deployment names, in all the ways that there are, and what the keeper's settings do.
OBJECTS = [
    {
        "spec": {
            "template": {
                "spec": {
                    "volumes": [
                        {"name": "tmp", "emptyDir": {}},
                        {"name": "secrets", "secret": {"secretName": "flask-app-secrets"}},
                        {"name": "ca", "configMap": {"name": "no-secret"}},
                        {"name": "both", "projected": {"sources": [{"secret": {"name": "in"}}]}},
                    ],
                    "containers": [
                        {
                            "envFrom": [{"secretRef": {"name": "all-of-it"}}],
                            "env": [
                                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "one-key"}}},
                                {"name": "CA_SECRET", "value": "flask-app-ca"},
                                {"name": "PODS_HOST", "value": "no-secret-either"},
                            ],
                        }
                    ],
                    "imagePullSecrets": [{"name": "of-a-registry"}],
                }
            }
        }
    }
]


def test_the_secrets_are_those_that_pods_use_or_the_keeper_keeps() -> None:
    names = {"flask-app-secrets", "in", "all-of-it", "one-key", "flask-app-ca"}
    assert secrets_of(OBJECTS) == names


@pytest.mark.parametrize("text", ["1", "h", "1 h", "+1h", "1w", "1.5h", "100000d"])
def test_a_time_that_is_none_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line().parse_args(["--since", text])
    assert "is no time: write 90s, 15m, 1h or 2d" in capsys.readouterr().err


class Programs:
    """A kubectl that lists `OBJECTS`, and a docker whose node is this machine, with a log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.mkdir()
        listed = folder / "objects.json"
        items = [{**one, "metadata": {"name": "x"}} for one in OBJECTS]
        listed.write_text(json.dumps({"items": items}))
        self.add("kubectl", f"cat {listed}")
        self.add("kind", "echo flask-app")
        (folder / "kubeconfig").touch()
        # what follows `docker exec --interactive NODE sh -c`, but for the folder
        asked = f'script=$6; shift 8; exec sh -c "$script" sh {self.log} "$@"'
        made_by = "echo /gone/.local/cluster/flask-app/encryption.yaml"
        self.add("docker", f"case $1 in exec) {asked} ;; inspect) {made_by} ;; esac")

    def add(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def write(self, name: str, *lines: str, end: str = "\n") -> None:
        with (self.log / name).open("a") as file:
            file.write("\n".join(lines) + end)

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Start it in a process of its own, which is killed when it takes too long."""
        with subprocess.Popen(
            [sys.executable, "-m", "tools.cluster", "audit", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            limit = Timer(60, process.kill)
            limit.start()
            try:
                yield process
            finally:
                limit.cancel()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CLUSTER", "flask-app")
    return Programs(tmp_path)


Run = Callable[..., tuple[str, str, int]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a function that runs it, and returns its output, its errors and its exit status."""

    def run(*arguments: str) -> tuple[str, str, int]:
        try:
            status = audit(Cluster.from_environment(), arguments)
        except Problem as problem:
            print(problem, file=sys.stderr)
            status = 1
        return (*capfd.readouterr(), status)

    return run


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row, without its date and its heading."""
    table = text.split("\n\n")[0].splitlines()[1:]
    return [row.split()[1:5] for row in table]


def test_the_files_of_the_log_are_one_table_newest_last(programs: Programs, run: Run) -> None:
    programs.write("audit.log", line(at="05:03:00"), line(NODE, at="05:04:00"))
    programs.write("audit-2026-11-26T05-02-30.000.log", line(ADMIN, at="05:02:00"))
    # a request that took long is logged after one that came later
    programs.write("audit-2026-11-26T05-01-30.000.log", line(at="05:01:00"), line(at="05:00:59"))
    out, error, status = run()
    assert (error, status) == ("", 0)
    assert rows(out) == [
        ["05:00:59", "sa/flask-app-keeper", "get", "flask-app-secrets"],
        ["05:02:00", f"user/{ADMIN}", "get", "flask-app-secrets"],
        ["05:03:00", "sa/flask-app-keeper", "get", "flask-app-secrets"],
    ]
    assert "and 1 more until 05:01:00" in out
    assert out.endswith(
        "The log goes back to 2026-11-26 05:00:59.\n"
        "Left out, --all shows them: reads by Kubernetes itself, 1 "
        "(node/flask-app-control-plane 1).\n\n"
    )


def test_a_line_that_is_being_written_is_the_next_moments(programs: Programs, run: Run) -> None:
    programs.write("audit.log", line(), line()[:200], end="")
    out, _, status = run()
    assert (len(rows(out)), status) == (1, 0)
    assert "can't be read" not in out


def test_half_a_line_in_the_middle_is_told_of(programs: Programs, run: Run) -> None:
    programs.write("audit.log", line(), line()[:200], line(at="05:00:01"))
    out, _, status = run()
    assert status == 0
    assert "and 1 more until 05:00:01" in out
    assert "Lines of the log that can't be read: 1." in out


def test_no_log_is_one_sentence(programs: Programs, run: Run) -> None:
    out, error, status = run()
    assert (out, status) == ("", 1)
    assert error == (f"{CONTAINER} has no audit log: `make destroy`, and `make deploy` again.\n")


def test_a_node_that_stands_still_is_one_sentence(programs: Programs, run: Run) -> None:
    programs.add("docker", "echo 'Error response from daemon: x is not running' >&2; exit 1")
    out, error, status = run("--follow")
    assert (out, status) == ("", 1)
    assert error == (f"{CONTAINER} can't be asked: Error response from daemon: x is not running\n")


def test_no_release_is_one_sentence(programs: Programs, run: Run) -> None:
    programs.write("audit.log", line())
    programs.add("kubectl", """echo '{"items": []}'""")
    assert run() == ("", "There is no release flask-app: `make deploy` installs it.\n", 1)


def test_an_api_server_that_does_not_answer_is_one_sentence(programs: Programs, run: Run) -> None:
    programs.add("kubectl", "echo 'more words' >&2; echo 'connection refused' >&2; exit 1")
    assert run() == ("", "kubectl fails: connection refused\n", 1)


def test_json_is_alone_in_the_output(programs: Programs, run: Run) -> None:
    programs.write("audit.log", line(), line(ADMIN, name="another"), line(at="05:00:01"))
    out, error, status = run("--json")
    assert [json.loads(row)["time"][11:19] for row in out.splitlines()] == ["05:00:00", "05:00:01"]
    assert status == 0
    assert "requests for other Secrets of the namespace, 1 (another 1)." in error


def test_no_request_is_no_json(programs: Programs, run: Run) -> None:
    programs.write("audit.log", line(NODE))
    assert run("--json")[0] == ""


def test_a_log_with_bodies_is_a_failure_and_none_is_shown(programs: Programs, run: Run) -> None:
    value = "a-value-that-is-secret-0123456789"
    body = {"kind": "Secret", "data": {"SECRET_KEY": value}}
    told = line(verb="patch", level="RequestResponse", requestObject=body, responseObject=body)
    programs.write("audit.log", told)
    for arguments in ([], ["--json"], ["--all", "--wide"]):
        out, error, status = run(*arguments)
        assert "patch" in out
        assert status == 1
        assert "The log can hold values" in out + error
        assert value not in out + error


def test_what_comes_is_shown_as_it_comes(programs: Programs, wait_for: WaitFor) -> None:
    """In one piece or in two, after a rotation of the file, until Ctrl-C."""
    programs.write("audit.log", line(), line(NODE))
    with programs.start("--follow") as process:
        out = process.stdout
        assert out
        seen = [out.readline() for _ in range(5)]
        assert "sa/flask-app-keeper" in seen[1]
        assert "The log goes back to" in seen[3]
        assert "reads by Kubernetes itself, 1 " in seen[4]
        assert out.readline() == "\n"
        programs.write("audit.log", line(ADMIN, at="05:00:01"))
        assert "05:00:01  user/kubernetes-admin" in out.readline()
        half = line(ADMIN, at="05:00:02", code=403, decision="forbid")
        programs.write("audit.log", half[:100], end="")
        programs.write("audit.log", half[100:])
        row = out.readline()
        assert "05:00:02  user/kubernetes-admin" in row
        assert "denied" in row
        programs.write("audit.log", line(NODE))
        (programs.log / "audit.log").rename(programs.log / "audit-2026-11-26T05-02-30.000.log")
        programs.write("audit.log", line(ADMIN, at="05:00:03"))
        assert "05:00:03  user/kubernetes-admin" in out.readline()
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(timeout=30)
    assert (error, process.returncode) == ("", 0)
    # what was left out meanwhile is counted, too
    assert "reads by Kubernetes itself, 2 " in rest
    wait_for(lambda: not processes_in(programs.log), "the end of what ran on the node")


def processes_in(folder: Path) -> list[int]:
    """Return the processes that have files of a folder open."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(Path(file.path).parent == folder for file in process.open_files()):
                found.append(process.pid)
    return found


def test_whoever_has_seen_enough_gets_no_traceback(programs: Programs) -> None:
    programs.write("audit.log", *(line(ADMIN, at=f"05:00:{second % 60:02}") for second in range(9)))
    with programs.start("--follow", "--wide") as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        for second in range(9):
            programs.write("audit.log", line(at=f"05:01:0{second}"))
        assert process.stderr.read() == ""
        assert process.wait(30) == 0
