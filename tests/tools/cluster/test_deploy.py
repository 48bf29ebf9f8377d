"""The Makefile and `python -m tools.cluster`, as far as they go without Docker."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.terminal import COLOUR, CONTROL, CTRL_C, Terminal, terminal
from tools.doctor.lines import PAGES

ROOT = Path(__file__).parents[3]
NEEDED = ("awk", "cat", "make", "sh", "sleep")
DEPLOY_NEEDS = ("docker", "kind", "kubectl", "helm")

#: Programs that do nothing and say what is expected of them, so long as it has to be.
DOCKER = """
echo "$*" >>"$ASKED.docker"
case "$1 $2" in
  'inspect '*) echo "$MADE_BY" ;;
  'image inspect') [ "$3" != postgres:17 ] && echo sha256:0123456789abcdef ;;
  'exec '*) echo flask-app ;;
  'port '*) echo 127.0.0.1:8443 ;;
  'build '*)
    sleep "${BUILD_SECONDS:-0}"
    [ -z "${BUILD_FAILS:-}" ] || { echo 'no such base' >&2; exit 1; } ;;
esac
"""
KIND = """
echo "$*" >>"$ASKED"
case "$1 $2" in
  'get clusters')
    [ -e "$ASKED.there" ] || exit 0
    echo flask-app; echo flask-app-2 ;;
  'create cluster') sleep "${CREATE_SECONDS:-0}"; [ -z "${CREATE_FAILS:-}" ] || exit 1 ;;
esac
"""
KUBECTL = """
case "$*" in
  *'logs --follow'*) cat "$KEEPER_LOG"; sleep "${KEEPER_SECONDS:-0}" ;;
  *'create job'*) echo "$KEEPER_JOB" ;;
  *'create --filename'*) cat >>"$ASKED.created" ;;
esac
"""
HELM = """
trap 'sleep 1; echo undone >"$ASKED.helm"; exit 1' INT
sleep "${HELM_SECONDS:-0}"
"""

DEPLOYED = ["create the cluster", "build the image", "load the images", "install", "one request"]
STEP = re.compile(r" *[0-9]+(\.[0-9])? s  (.*)")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder for PATH, with a shell and no more."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NEEDED:
        found = shutil.which(name)
        assert found, f"{name} is missing"
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of what is run, with the packages that it needs."""
    folder = tmp_path / "clone"
    for name in ("app", "chart", "keeper", "requirements", "secret_files", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "kind-config.yaml"):
        shutil.copy(ROOT / name, folder)
    installed = folder / ".venv" / "bin"
    installed.mkdir(parents=True)
    add(installed, "python", f'exec {sys.executable} "$@"')
    (folder / ".venv" / "run").touch()
    return folder


def add(programs: Path, name: str, script: str) -> None:
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def environment(programs: Path, **variables: object) -> dict[str, str]:
    texts = {name: str(value) for name, value in variables.items()}
    own = {"PYTHONDONTWRITEBYTECODE": "1", "HOME": os.environ.get("HOME", "/")}
    return {"PATH": str(programs), **own, **texts}


def make(
    clone: Path, programs: Path, *arguments: str, **variables: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env=environment(programs, **variables),
        capture_output=True,
        text=True,
    )


def test_deploy_names_every_missing_program_and_changes_nothing(
    clone: Path, programs: Path
) -> None:
    before = sorted(clone.rglob("*"))
    done = make(clone, programs, "deploy")
    assert done.returncode != 0
    for name in DEPLOY_NEEDS:
        assert f"{name} is missing: {PAGES[name]}" in done.stderr
    assert sorted(clone.rglob("*")) == before


def test_deploy_says_that_docker_does_not_answer(clone: Path, programs: Path) -> None:
    for name in DEPLOY_NEEDS:
        add(programs, name, "exit 1")
    before = sorted(clone.rglob("*"))
    done = make(clone, programs, "deploy")
    assert done.returncode != 0
    assert "Docker does not answer: start it" in done.stderr
    assert sorted(clone.rglob("*")) == before


def test_a_missing_python_is_one_sentence(clone: Path, programs: Path) -> None:
    (clone / ".venv" / "run").unlink()
    done = make(clone, programs, "run", "PYTHON=")
    assert done.returncode != 0
    assert "Python 3.11 or later is missing: install it from" in done.stderr


def test_an_old_python_does_not_count(clone: Path, programs: Path) -> None:
    add(programs, "python3", "exit 1")
    add(programs, "python3.12", "exit 0")
    (clone / ".venv" / "run").unlink()
    done = make(clone, programs, "--dry-run", "run")
    assert "python3.12 -m tools.install .venv/run" in done.stdout


def test_make_lists_every_target(clone: Path, programs: Path) -> None:
    listed = {line.split()[0] for line in make(clone, programs).stdout.splitlines()}
    text = (clone / "Makefile").read_text()
    phony = {line.split()[1] for line in text.splitlines() if line.startswith(".PHONY")}
    assert listed == phony
    assert len(listed) >= 8


def with_cluster(programs: Path, *names: str) -> None:
    """Add programs, with clusters of these names and no release; they note what they are asked."""
    add(programs, "kubectl", """echo "$KUBECONFIG" >>asked.kubeconfigs; echo '{"items": []}'""")
    add(programs, "helm", "echo 'Error: release: not found' >&2; exit 1")
    # another folder made them, which has gone
    add(programs, "docker", "echo /of/somebody/.local/cluster/x/encryption.yaml")
    add(programs, "kind", f'echo "$@" >> asked; echo "{chr(10).join(names)}"')


def test_the_audit_without_a_cluster_is_one_sentence(clone: Path, programs: Path) -> None:
    with_cluster(programs, "kind", "flask-app-e2e")
    done = make(clone, programs, "audit")
    assert (done.stdout, done.returncode) == ("", 2)
    said = "There is no cluster flask-app: `make deploy` makes it."
    assert done.stderr.splitlines()[0] == said


def test_the_audit_names_what_is_missing(clone: Path, programs: Path) -> None:
    done = make(clone, programs, "audit")
    assert (done.stdout, done.returncode) == ("", 2)
    for name in ("docker", "kind", "kubectl"):
        assert f"{name} is missing: {PAGES[name]}" in done.stderr


@pytest.mark.parametrize("target", ["audit", "status"])
def test_a_cluster_is_asked_with_a_kubeconfig_of_its_own(
    clone: Path, programs: Path, target: str
) -> None:
    """It is taken once, where a folder that has gone has made the cluster."""
    with_cluster(programs, "flask-app")
    kubeconfig = clone / ".local" / "cluster" / "flask-app" / "kubeconfig"
    for _ in range(2):
        done = make(clone, programs, target, AUDIT_ARGS="--since 1h")
        said = "There is no release flask-app: `make deploy` installs it."
        assert (done.stdout, done.stderr.splitlines()[0]) == ("", said)
        export = f"--name flask-app --kubeconfig {kubeconfig}"
        assert (clone / "asked").read_text().count(f"export kubeconfig {export}") == 1
        kubeconfig.touch()
    if target == "audit":
        assert (clone / "asked.kubeconfigs").read_text() == f"{kubeconfig}\n" * 2


#: What is said of what `make run` serves, where nothing is.
NOTHING_HERE = "Nothing is served here: start `make run` in another terminal."


@pytest.mark.parametrize("names", [None, [], ["flask-app-e2e"]])
@pytest.mark.parametrize("target", ["status", "rotate"])
def test_without_a_cluster_it_is_about_what_runs_here(
    clone: Path, programs: Path, names: list[str] | None, target: str
) -> None:
    if names is not None:
        with_cluster(programs, *names)
    done = make(clone, programs, target)
    assert (done.stdout, done.stderr.splitlines()[0]) == ("", NOTHING_HERE)


class Api(http.server.BaseHTTPRequestHandler):
    """Answers as an API server with one Job, whose container runs, and which has ended so."""

    ended = "Complete"

    def do_GET(self) -> None:
        state: dict[str, Any] = {"containerStatuses": [{"state": {"running": {}}}]}
        pods = {"items": [{"metadata": {}, "status": state}]}
        job = {"status": {"conditions": [{"type": self.ended, "status": "True"}]}}
        body = json.dumps(pods if "/pods" in self.path else job).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def api(clone: Path) -> Iterator[type[Api]]:
    """Let the kubeconfig lead to a server that answers so; return what says how the Job ended."""

    class Own(Api):
        pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = {"server": f"http://127.0.0.1:{server.server_port}"}
        context = {"cluster": "it", "user": "it"}
        kubeconfig = clone / ".local" / "cluster" / "flask-app" / "kubeconfig"
        kubeconfig.parent.mkdir(parents=True)
        kubeconfig.write_text(
            json.dumps(
                {
                    "clusters": [{"name": "it", "cluster": address}],
                    "users": [{"name": "it", "user": {}}],
                    "contexts": [{"name": "kind-flask-app", "context": context}],
                }
            )
        )
        yield Own
        server.shutdown()
        thread.join()


@pytest.fixture
def cluster(programs: Path, clone: Path) -> dict[str, Any]:
    """Put programs there that seem to have a cluster; return the variables that they heed."""
    for name, script in (("docker", DOCKER), ("kind", KIND), ("kubectl", KUBECTL), ("helm", HELM)):
        add(programs, name, script)
    log = clone / "keeper.log"
    lines = [line if isinstance(line, str) else json.dumps(line) for line in KEEPER]
    log.write_text("".join(f"{line}\n" for line in lines))
    here = made_by(clone)
    container = {"name": "keeper", "args": ["run"], "env": []}
    job = {"spec": {"template": {"spec": {"containers": [container]}}}}
    keeper = {"KEEPER_LOG": log, "KEEPER_JOB": json.dumps(job)}
    return {"ASKED": clone / "asked", **keeper, "HTTPS_PORT": 1, "MADE_BY": here}


def made_by(folder: Path) -> Path:
    """Return what a cluster that was made in a folder has mounted."""
    return folder / ".local" / "cluster" / "flask-app" / "encryption.yaml"


KEEPER: list[Any] = [
    {"message": "prepared", "step": "prepared", "seconds": 0.123, "role": "flask_app_b"},
    {"message": "waiting for the database: it starts", "level": "INFO"},
    {"message": "announced", "step": "announced", "seconds": 1.0},
    {"message": "seen", "step": "seen", "seconds": 12.345, "pods": 2},
    "no JSON: it is as it is",
    {"message": "rotated", "step": "rotated", "seconds": 0.01},
]


def on_terminal(
    clone: Path, programs: Path, target: str, columns: int = 80, **variables: object
) -> AbstractContextManager[Terminal]:
    return terminal(["make", target], clone, environment(programs, **variables), columns)


def steps(lines: list[str]) -> list[str]:
    return [found[2] for found in map(STEP.fullmatch, lines) if found]


def test_deploy_prints_a_plain_line_for_each_step_with_its_time(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    done = make(clone, programs, "deploy", BUILD_SECONDS=2, TERM="xterm", **cluster)
    assert (done.returncode, done.stderr) == (0, "")
    told = steps(done.stdout.splitlines())
    assert [text for text in told if not text.startswith(tuple(DEPLOYED))] == ["in all"]
    assert len(told) == len(DEPLOYED) + 1
    assert re.search(r"^ +[234] s  build the image$", done.stdout, re.M)
    assert CONTROL.search(done.stdout) is None
    assert "Commands to try:" in done.stdout
    again = make(clone, programs, "deploy", HINTS=0, **cluster)
    assert again.stdout.splitlines()[-1].endswith(" s  in all")


def test_on_a_terminal_the_step_under_way_counts_its_seconds(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    with on_terminal(clone, programs, "deploy", BUILD_SECONDS=2.5, **cluster) as shown:
        shown.wait_for(r" 0 s  build the image \.\.\..*[123] s  build the image \.\.\.")
        assert shown.end() == 0
    told = steps(shown.screen())
    assert [text for text in told if not text.startswith(tuple(DEPLOYED))] == ["in all"]
    assert len(told) == len(DEPLOYED) + 1
    assert not [line for line in shown.screen() if line.endswith("...")]
    assert COLOUR.search(shown.written) is None
    assert shown.left_over() == []


def test_a_dumb_terminal_has_plain_lines(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    with on_terminal(clone, programs, "deploy", TERM="dumb", **cluster) as shown:
        assert shown.end() == 0
    assert len(steps(shown.screen())) == len(DEPLOYED) + 1
    assert CONTROL.search(shown.written.replace("\r\n", "\n")) is None


def test_what_is_rewritten_fits_a_narrow_terminal(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    with on_terminal(clone, programs, "deploy", columns=20, BUILD_SECONDS=1, **cluster) as shown:
        assert shown.end() == 0
    rewritten = re.findall(r"\r([^\r\n]+)\x1b\[K", shown.written)
    assert [line for line in rewritten if re.fullmatch(" +[0-9]+ s  build the ", line)]
    assert max(map(len, rewritten)) == 19
    assert f"{DEPLOYED[2]} into the cluster" in steps(shown.screen())


def test_a_step_that_fails_is_named_with_what_was_said(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    done = make(clone, programs, "deploy", BUILD_FAILS=1, **cluster)
    assert done.returncode != 0
    assert steps(done.stdout.splitlines())[-1] == "build the image: failed"
    assert "no such base" in done.stderr
    with on_terminal(clone, programs, "deploy", BUILD_FAILS=1, **cluster) as shown:
        assert shown.end() != 0
    assert re.search(r" s  build the image: failed\r\nno such base\r\n", shown.written)
    assert shown.left_over() == []


def test_ctrl_c_leaves_no_process_and_says_what_was_interrupted(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    with on_terminal(clone, programs, "deploy", BUILD_SECONDS=60, **cluster) as shown:
        shown.wait_for(r" s  build the image \.\.\.")
        shown.wait_for_program("sleep 60")
        shown.press(CTRL_C)
        assert shown.end() != 0
        assert shown.left_over() == []
    assert " s  build the image: interrupted" in shown.written


def test_it_dies_of_the_signal_that_ended_it(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    variables = environment(programs, BUILD_SECONDS=60, **cluster)
    command = [sys.executable, "-m", "tools.cluster", "deploy"]
    with terminal(command, clone, variables) as shown:
        shown.wait_for(r" s  build the image \.\.\.")
        shown.wait_for_program("sleep 60")
        shown.press(CTRL_C)
        assert shown.end() == 130


def test_a_program_that_takes_ctrl_c_for_a_failure_is_not_explained(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    with on_terminal(clone, programs, "deploy", HELM_SECONDS=60, **cluster) as shown:
        shown.wait_for(r" s  install or upgrade the release \.\.\.")
        shown.wait_for_program("sleep 60")
        shown.press(CTRL_C)
        assert shown.end() != 0
        assert shown.left_over() == []
    assert " s  install or upgrade the release: interrupted" in shown.written
    # it had the time to undo what it had begun
    assert (clone / "asked.helm").read_text() == "undone\n"
    assert "did not become ready" not in shown.written


def test_half_a_cluster_is_removed_again(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    with on_terminal(clone, programs, "cluster", CREATE_SECONDS=60, **cluster) as shown:
        shown.wait_for(r" s  create the cluster flask-app \.\.\.")
        shown.wait_for_program("sleep 60")
        shown.press(CTRL_C)
        assert shown.end() != 0
        assert shown.left_over() == []
    assert " s  create the cluster flask-app: interrupted" in shown.written
    asked = (clone / "asked").read_text().splitlines()
    assert asked[-1].startswith("delete cluster --name flask-app ")
    # a whole one stays
    assert make(clone, programs, "cluster", **cluster).returncode == 0
    asked = (clone / "asked").read_text().splitlines()
    assert asked[-1].startswith("create cluster --name flask-app ")


def test_the_encryption_key_is_its_owners_alone_and_made_once(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    file = clone / ".local" / "cluster" / "flask-app" / "encryption.yaml"
    made = []
    for _ in range(2):
        assert make(clone, programs, "cluster", **cluster).returncode == 0
        made.append(file.read_text())
    assert made[0] == made[1]
    (provider,) = yaml.safe_load(made[0])["resources"][0]["providers"]
    key = provider["secretbox"]["keys"][0]["secret"]
    assert len(base64.b64decode(key)) == 32
    assert file.stat().st_mode & 0o777 == 0o600
    asked = [path.read_text() for path in (clone / "asked", clone / "asked.docker")]
    assert key not in "".join(asked)


@pytest.mark.parametrize(
    ("variables", "pace"), [({}, "2s"), ({"SYNC_FREQUENCY": "1s"}, "1s")], ids=["usual", "turned"]
)
def test_the_cluster_has_its_port_its_folder_and_its_pace(
    clone: Path,
    programs: Path,
    cluster: dict[str, Any],
    variables: dict[str, object],
    pace: str,
) -> None:
    turned = {**cluster, "CLUSTER": "mine", "KIND_NODE_IMAGE": "node:1", **variables}
    done = make(clone, programs, "cluster", **turned)
    assert done.returncode == 0, done.stderr
    (asked,) = [line for line in changes(clone) if line.startswith("create cluster ")]
    assert " --image node:1 " in asked
    text = (clone / ".local" / "cluster" / "mine" / "kind-config.yaml").read_text()
    assert "hostPort: 1\n" in text
    assert f"syncFrequency: {pace}\n" in text
    assert "hostPath: .local/cluster/mine/" in text
    assert ".local/cluster/flask-app/" not in text


def test_a_port_that_is_taken_is_named_with_a_free_one(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        done = make(clone, programs, "deploy", **{**cluster, "HTTPS_PORT": taken})
    found = re.search(
        f"Port {taken} is taken: choose another one, as in "
        "`CLUSTER=flask-app HTTPS_PORT=([0-9]+) make deploy`.",
        done.stderr,
    )
    assert found, done.stderr
    assert int(found[1]) > taken
    assert changes(clone) == []


@pytest.mark.parametrize("port", ["https", "0", "65536"])
def test_a_port_that_is_none_is_one_sentence(
    clone: Path, programs: Path, cluster: dict[str, Any], port: str
) -> None:
    done = make(clone, programs, "deploy", **{**cluster, "HTTPS_PORT": port})
    assert done.stderr.splitlines()[0] == f"HTTPS_PORT must be a port's number, not {port!r}."
    assert changes(clone) == []


def test_a_release_that_does_not_become_ready_is_explained(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    add(programs, "helm", "echo 'Error: UPGRADE FAILED: timed out' >&2; exit 1")
    add(programs, "kubectl", 'shift 4; echo "$1 of $*"')
    done = make(clone, programs, "deploy", **cluster)
    assert done.returncode != 0
    assert steps(done.stdout.splitlines())[-1] == "install or upgrade the release: failed"
    told = done.stderr
    assert "Error: UPGRADE FAILED: timed out\nThe release did not become ready:\nget of" in told
    assert "get of get events --field-selector type=Warning" in told
    for component in ("keeper", "database", "service"):
        assert f"logs of logs --selector app.kubernetes.io/component={component} " in told


def test_rotate_tells_each_step_of_the_keeper_with_its_time(
    clone: Path, programs: Path, cluster: dict[str, Any], api: type[Api]
) -> None:
    (clone / "asked.there").touch()
    done = make(clone, programs, "rotate", PARTS="session database", **cluster)
    assert (done.returncode, done.stderr) == (0, "")
    job = json.loads((clone / "asked.created").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["rotate", "session", "database"]
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (0, 3600)
    lines = done.stdout.splitlines()
    assert lines[1:-1] == [
        "  0.1 s  prepared",
        "         waiting for the database: it starts",
        "  1.0 s  announced",
        " 12.3 s  seen",
        "         no JSON: it is as it is",
        "  0.0 s  rotated",
    ]
    assert "start the Job flask-app-rotate-" in lines[0]
    assert steps(lines)[-1] == "in all"
    api.ended = "Failed"
    failed = make(clone, programs, "rotate", **cluster)
    assert failed.returncode != 0
    assert "Not finished. Old and new secrets stay valid" in failed.stderr


@pytest.mark.usefixtures("api")
def test_rotate_shows_what_the_keeper_is_about_to_do(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    (clone / "asked.there").touch()
    (clone / "keeper.log").write_text(f"{json.dumps(KEEPER[2])}\n")
    with on_terminal(clone, programs, "rotate", KEEPER_SECONDS=60, **cluster) as shown:
        shown.wait_for(r" s  see every pod on the new generation \.\.\.")
        shown.wait_for_program("sleep 60")
        shown.press(CTRL_C)
        assert shown.end() != 0
        assert shown.left_over() == []
    assert "  1.0 s  announced" in shown.screen()
    assert "The keeper goes on in the cluster: see the Job flask-app-rotate-" in shown.written


@pytest.fixture
def of_another(clone: Path, cluster: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Let the clusters be those of a clone beside this one."""
    (clone / "asked.there").touch()
    (tmp_path / "another").mkdir()
    return {**cluster, "MADE_BY": made_by(tmp_path / "another")}


def changes(clone: Path) -> list[str]:
    """Return what docker and kind were told to change."""
    told = [clone / "asked", clone / "asked.docker"]
    lines = [line for path in told if path.exists() for line in path.read_text().splitlines()]
    verbs = ("build", "tag", "create", "delete", "export", "load")
    return [line for line in lines if line.startswith(verbs)]


@pytest.mark.parametrize(("target", "above"), [("deploy", ""), ("cluster", "/host_mnt")])
def test_the_cluster_of_another_folder_is_left_to_it(
    clone: Path,
    programs: Path,
    of_another: dict[str, Any],
    tmp_path: Path,
    target: str,
    above: str,
) -> None:
    """What is named instead is free: neither the other cluster nor the next port is.

    :param above: where Docker Desktop has this machine's folders.
    """
    of_another["MADE_BY"] = f"{above}{of_another['MADE_BY']}"
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        done = make(clone, programs, target, **{**of_another, "HTTPS_PORT": taken - 1})
    assert done.returncode != 0
    found = re.search(
        f"The cluster flask-app was made by the folder {tmp_path / 'another'}: "
        "make one of your own, as in "
        "`CLUSTER=flask-app-3 HTTPS_PORT=([0-9]+) make deploy`.",
        done.stderr,
    )
    assert found, done.stderr
    assert int(found[1]) > taken
    assert changes(clone) == []
    assert not (clone / ".local").exists()


def test_the_cluster_of_another_folder_is_not_removed(
    clone: Path, programs: Path, of_another: dict[str, Any], tmp_path: Path
) -> None:
    done = make(clone, programs, "destroy", **of_another)
    assert done.returncode != 0
    there = f"`make -C '{tmp_path / 'another'}' destroy CLUSTER=flask-app`"
    assert f"was made by the folder {tmp_path / 'another'}: to remove it, {there}." in done.stderr
    assert changes(clone) == []


def test_the_cluster_of_something_else_is_neither_used_nor_removed(
    clone: Path, programs: Path, of_another: dict[str, Any]
) -> None:
    for target in ("deploy", "destroy", "audit"):
        done = make(clone, programs, target, **{**of_another, "MADE_BY": ""})
        assert done.returncode != 0
        assert "flask-app was made by something else than `make deploy`: " in done.stderr
    assert changes(clone) == []


@pytest.mark.parametrize("maker", ["this", "a link to this", "gone"])
def test_the_cluster_of_this_folder_or_of_one_that_has_gone_is_taken(
    clone: Path, programs: Path, of_another: dict[str, Any], tmp_path: Path, maker: str
) -> None:
    (tmp_path / "link").symlink_to(clone)
    folders = {"this": clone, "a link to this": tmp_path / "link", "gone": tmp_path / "gone"}
    of_it = {**of_another, "MADE_BY": made_by(folders[maker])}
    done = make(clone, programs, "deploy", **{**of_it, "HTTPS_PORT": 8443})
    assert (done.returncode, done.stderr) == (0, "")
    done = make(clone, programs, "destroy", **of_it)
    assert (done.returncode, done.stderr) == (0, "")
    deleted = [line for line in changes(clone) if line.startswith("delete cluster ")]
    assert [line.split()[3] for line in deleted] == ["flask-app"]


@pytest.mark.parametrize("target", ["status", "rotate"])
def test_beside_the_cluster_of_another_folder_it_is_about_what_runs_here(
    clone: Path, programs: Path, of_another: dict[str, Any], target: str
) -> None:
    done = make(clone, programs, target, **of_another)
    assert (done.stdout, done.stderr.splitlines()[0]) == ("", NOTHING_HERE)


def test_the_audit_of_another_folders_cluster_is_one_sentence(
    clone: Path, programs: Path, of_another: dict[str, Any], tmp_path: Path
) -> None:
    done = make(clone, programs, "audit", **of_another)
    assert done.returncode != 0
    assert f"was made by the folder {tmp_path / 'another'}: ask there" in done.stderr
    assert changes(clone) == []


def test_a_cluster_that_another_folder_made_meanwhile_is_not_removed(
    clone: Path, programs: Path, of_another: dict[str, Any]
) -> None:
    """Both saw that there was none: kind lets one of them have the name."""
    (clone / "asked.there").unlink()
    done = make(clone, programs, "cluster", **of_another, CREATE_FAILS=1)
    assert done.returncode != 0
    assert [line.split()[0] for line in changes(clone)] == ["create"]


def test_an_image_is_built_under_a_name_that_no_other_folder_builds(
    clone: Path, programs: Path, cluster: dict[str, Any]
) -> None:
    for name in ("flask-app", "mine"):
        assert make(clone, programs, "deploy", **cluster, CLUSTER=name).returncode == 0
    told = changes(clone)
    built = [line.split()[-2] for line in told if line.startswith("build ")]
    assert built == ["flask-app:flask-app", "flask-app:mine"]
    tagged = [line for line in told if line.startswith("tag ")]
    assert tagged == [f"tag {name} flask-app:0123456789ab" for name in built]


@pytest.mark.parametrize(
    ("turned", "named"),
    [
        ((), "CLUSTER=flask-app-e2e HTTPS_PORT=9443 "),
        (("E2E_CLUSTER=mine", "E2E_PORT=9"), "CLUSTER=mine HTTPS_PORT=9 "),
    ],
)
def test_the_end_to_end_tests_have_a_cluster_and_a_port_that_can_be_others(
    clone: Path, programs: Path, turned: tuple[str, ...], named: str
) -> None:
    for target in ("e2e", "bench-rotation"):
        said = make(clone, programs, "--dry-run", target, *turned, CLUSTER="not-this").stdout
        (line,) = [line for line in said.splitlines() if line.startswith(named)]
        assert " .venv/bin/p" in line
