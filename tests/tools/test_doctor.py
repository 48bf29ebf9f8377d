"""`make doctor`, on machines that stand-ins for their programs play."""

from __future__ import annotations

import ctypes
import http.server
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from keeper.certificates import new_authority, new_certificate
from tools.doctor import cluster, lines, local, nodes
from tools.doctor.__main__ import main

ROOT = Path(__file__).parents[2]

GB, GIB = 10**9, 2**30

INFO: dict[str, Any] = {
    "ServerVersion": "28.2.2",
    "OperatingSystem": "Debian GNU/Linux 13",
    "MemTotal": 8 * GIB,
    "NCPU": 4,
    "Architecture": "x86_64",
    "CgroupVersion": "2",
    "HttpProxy": "http://somebody:a-password@proxy",
}
SILENT = {"ServerErrors": ["Cannot connect to the Docker daemon"]}

HERE = "flask-app"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def api_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of an API server that tells its version to everybody."""

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"gitVersion": "v1.36.2"}' if self.path == "/version" else b"{}"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    folder = tmp_path_factory.mktemp("api")
    pair = new_certificate(new_authority("test CA"), ["localhost"])
    (folder / "tls.crt").write_text(pair.certificate)
    (folder / "tls.key").write_text(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    with http.server.HTTPServer(("127.0.0.1", 0), Api) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class Machine:
    """A machine where all that is needed is there, until a test takes something away."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.bin = folder / "bin"
        self.clone = folder / "clone"
        self.bin.mkdir()
        self.clone.mkdir()
        for name in list(os.environ):
            patch.delenv(name)
        patch.setenv("PATH", str(self.bin))
        patch.setenv("HOME", str(folder))
        for name in ("PORT", "METRICS_PORT", "HTTPS_PORT"):
            patch.setenv(name, str(free_port()))
        for module in (local, nodes):
            patch.setattr(module, "ROOT", self.clone)
        patch.setattr(sys, "executable", "/usr/bin/python3")
        patch.setattr(platform, "system", lambda: "Linux")
        patch.setattr(platform, "machine", lambda: "x86_64")
        patch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
        patch.setattr(ctypes, "CDLL", lambda name: None)
        patch.setattr(cluster, "why_not", lambda port: "")
        patch.setattr(cluster, "PROC", folder)
        for name in cluster.INOTIFY:
            (folder / name).write_text("1048576\n")
        self.free(100)
        for name, said in (
            ("make", "GNU Make 4.4.1"),
            ("git", "git version 2.47.3"),
            ("curl", "curl 8.14.1 (x86_64-pc-linux-gnu)"),
            ("promtool", "promtool, version 3.5.0 (branch: x)"),
            ("chromium", "Chromium 140.0.7339.80 built on Debian"),
            ("bash", "GNU bash, version 5.2.37(1)-release"),
            ("kind", "kind v0.33.0 go1.27.2 linux/amd64"),
            ("helm", "v4.1.4"),
        ):
            self.says(name, said)
        self.says("kubectl", json.dumps({"clientVersion": {"gitVersion": "v1.36.4"}}))
        self.docker(INFO)

    def add(self, name: str, script: str) -> None:
        """Install a program."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def says(self, name: str, text: str) -> None:
        """Install a program that says one thing."""
        self.add(name, f"printf '%s\\n' '{text}'")

    def remove(self, name: str) -> None:
        (self.bin / name).unlink()

    def free(self, gigabytes: float) -> None:
        """Have so much left on every disk."""
        usage = SimpleNamespace(free=gigabytes * GB)
        self.patch.setattr(shutil, "disk_usage", lambda path: usage)

    def docker(self, info: dict[str, Any], *containers: dict[str, Any]) -> None:
        """Install a Docker with an engine and the nodes of kind's clusters."""
        status = 0 if info.get("ServerVersion") else 1
        listed = " ".join(one["Name"] for one in containers)
        self.add(
            "docker",
            f"""case "$1" in
            --version) echo 'Docker version 28.2.2, build e6534b4' ;;
            buildx) echo 'github.com/docker/buildx v0.29.1' ;;
            info) printf '%s\\n' '{json.dumps(info)}'; exit {status} ;;
            ps) echo '{listed}' ;;
            inspect) printf '%s\\n' '{json.dumps(containers)}' ;;
            *) exit 1 ;;
            esac""",
        )

    def venv(self, maker: Path | None = None, python: str = "echo Python 3.13.5") -> None:
        """Install the packages, or copy another folder's."""
        folder = self.clone / ".venv"
        (folder / "bin").mkdir(parents=True)
        for mark in ("run", "dev"):
            (folder / mark).touch()
        program = folder / "bin" / "python"
        program.write_text(f"#!/bin/sh\n{python}\n")
        program.chmod(0o755)
        script = f"#!{maker or folder}/bin/python\nimport gunicorn\n"
        (folder / "bin" / "gunicorn").write_text(script)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def container(
    name: str = HERE, folder: Path | None = None, api_port: int = 0, status: str = "running"
) -> dict[str, Any]:
    """Return a node as `docker inspect` tells of it.

    :param folder: the clone that made it; a cluster of somebody else's has none.
    """
    mounts = [{"Source": "/lib/modules", "Destination": "/lib/modules"}]
    if folder:
        key_file = folder / ".local" / "cluster" / name / "encryption.yaml"
        mounts.append({"Source": str(key_file), "Destination": nodes._KEY_FILE})
    ports = {"6443/tcp": [{"HostPort": str(api_port)}], "30443/tcp": [{"HostPort": "8443"}]}
    return {
        "Name": f"/{name}-control-plane",
        "Config": {"Labels": {"io.x-k8s.kind.cluster": name}, "Env": ["TOKEN=a-password"]},
        "State": {"Status": status},
        "Mounts": mounts,
        "HostConfig": {"PortBindings": ports},
    }


def state(folder: Path, name: str = HERE) -> None:
    """Leave what tools/cluster/create makes for a cluster."""
    made = folder / ".local" / "cluster" / name
    made.mkdir(parents=True)
    (made / "encryption.yaml").touch()


def look(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit status, and the lines by their names."""
    status = main(["--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["status"] == status
    found = {line["name"]: line for line in told["lines"] if line["group"] != lines.KIND}
    # two have the name of a line above
    return status, {
        **{line["name"]: line for line in told["lines"] if line["group"] == lines.KIND},
        **{name: line for name, line in found.items() if name != "disk"},
        "disk here": found["disk"],
    }


def test_a_machine_that_has_it_all(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    screen = capsys.readouterr().out
    rows = re.findall(r"^  (\w+) +(\S+)", screen, re.MULTILINE)
    assert len(rows) > 25
    assert {mark for mark, _ in rows} == {"ok"}
    assert "4.4.1" in screen
    assert "8.0 GiB, 4 CPUs" in screen
    assert screen.endswith(
        "make run, make test: all is there\nmake deploy, make e2e: all is there\n"
    )
    # one screen, with room for a few clusters
    assert len(screen.splitlines()) < 45
    assert max(map(len, screen.splitlines())) <= 110


def test_a_machine_with_nothing_at_all(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in machine.bin.iterdir():
        program.unlink()
    status, found = look(capsys)
    assert status == 1
    for name in ("make", "git", "bash", "docker", "kind", "kubectl", "helm"):
        assert found[name]["mark"] == "missing"
        assert found[name]["found"] == "not found"
        assert lines.PAGES[name] in found[name]["about"]
    for name in ("curl", "promtool", "Chromium"):
        assert found[name]["mark"] == "warning"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *(("make", 1), ("git", 1), ("curl", 0), ("promtool", 0), ("chromium", 0)),
        *(("bash", 2), ("docker", 2), ("kind", 2), ("kubectl", 2), ("helm", 2)),
    ],
)
def test_a_missing_program_is_told_in_the_status(
    machine: Machine, capsys: pytest.CaptureFixture[str], name: str, status: int
) -> None:
    machine.remove(name)
    assert main([]) == status
    last = capsys.readouterr().out.splitlines()[-2:]
    missing = [line for line in last if line.endswith(f": {name} is missing")]
    assert len(missing) == (1 if status else 0)
    assert not missing or missing[0].startswith(lines.LOCAL if status == 1 else lines.KIND)


@pytest.mark.parametrize(
    ("name", "version", "page"),
    [
        ("bash", "GNU bash, version 3.2.57(1)-release (arm64-apple-darwin24)", "gnu.org"),
        ("helm", "v2.17.0", "helm.sh"),
    ],
)
def test_a_version_that_is_too_old_is_missing(
    machine: Machine, capsys: pytest.CaptureFixture[str], name: str, version: str, page: str
) -> None:
    machine.says(name, version)
    status, found = look(capsys)
    assert (status, found[name]["mark"]) == (2, "missing")
    assert page in found[name]["about"]


def test_a_program_that_fails(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.add("kind", "echo kind v0.33.0; exit 3")
    status, found = look(capsys)
    assert (status, found["kind"]["found"]) == (2, "fails with 3")


def test_a_program_that_hangs_holds_nothing_up_and_is_ended(
    machine: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With what it has started."""
    machine.patch.setattr(lines, "LIMIT", 1)
    sleep = shutil.which("sleep", path="/usr/bin:/bin")
    machine.add("kind", f"{sleep} 60 & echo $! >'{tmp_path}/child'; wait")
    began = time.monotonic()
    status, found = look(capsys)
    assert time.monotonic() - began < 30
    assert (status, found["kind"]["found"]) == (2, "no answer in 1 s")
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while runs(child):
        assert time.monotonic() < deadline, "what it has started is left"
        time.sleep(0.01)


def runs(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_docker_that_does_not_answer(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.docker(SILENT)
    status, found = look(capsys)
    assert (status, found["engine"]["mark"]) == (2, "missing")
    assert found["engine"]["about"] == "start Docker, and see that `docker info` works"
    assert found["docker"]["mark"] == "ok"
    assert "memory" not in found


def test_a_docker_without_its_builder(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.add("docker", "[ \"$1\" = --version ] && echo 'Docker version 28.2.2' || exit 1")
    status, found = look(capsys)
    assert (status, found["buildx"]["mark"]) == (2, "missing")
    assert lines.PAGES["buildx"] in found["buildx"]["about"]


@pytest.mark.parametrize(
    ("name", "info", "about"),
    [
        ("memory", {"MemTotal": 2 * GIB}, "give Docker 3 GiB"),
        ("memory", {"NCPU": 1}, "give Docker 3 GiB and 2 CPUs"),
        ("processor", {"Architecture": "aarch64"}, "emulated"),
        ("cgroup", {"CgroupVersion": "1"}, "cgroup v2"),
    ],
)
def test_an_engine_that_may_not_do(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    name: str,
    info: dict[str, Any],
    about: str,
) -> None:
    machine.docker({**INFO, **info})
    status, found = look(capsys)
    assert (status, found[name]["mark"]) == (0, "warning")
    assert about in found[name]["about"]


def test_an_engine_without_images(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.docker({**INFO, "Architecture": "s390x"})
    assert look(capsys)[0] == 2


@pytest.mark.parametrize(
    ("named", "mark"),
    [("linux/arm64/v8", "warning"), ("linux/amd64", "ok"), ("nonsense", "warning")],
)
def test_a_platform_that_is_asked_of_docker(
    machine: Machine, capsys: pytest.CaptureFixture[str], named: str, mark: str
) -> None:
    machine.patch.setenv("DOCKER_DEFAULT_PLATFORM", named)
    assert look(capsys)[1]["processor"]["mark"] == mark


def test_apple_silicon(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.patch.setattr(platform, "system", lambda: "Darwin")
    machine.patch.setattr(platform, "machine", lambda: "arm64")
    machine.docker({**INFO, "Architecture": "aarch64"})
    status, found = look(capsys)
    assert status == 0
    assert found["system"]["found"] == "Darwin arm64, Apple silicon"
    assert (found["processor"]["mark"], found["processor"]["found"]) == ("ok", "arm64")
    assert "max_user_watches" not in found


def test_a_python_under_rosetta(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.patch.setattr(platform, "system", lambda: "Darwin")
    machine.says("sysctl", "1")
    machine.docker({**INFO, "Architecture": "aarch64"})
    status, found = look(capsys)
    assert (status, found["system"]["mark"]) == (0, "warning")
    assert "Rosetta" in found["system"]["about"]
    assert found["processor"]["mark"] == "warning"


@pytest.mark.parametrize(
    ("system", "libc"),
    [("Linux", ("", "")), ("Linux", ("glibc", "2.17")), ("Windows", ("", ""))],
    ids=["musl", "old", "Windows"],
)
def test_a_system_that_the_packages_are_not_made_for(
    machine: Machine, capsys: pytest.CaptureFixture[str], system: str, libc: tuple[str, str]
) -> None:
    machine.patch.setattr(platform, "system", lambda: system)
    machine.patch.setattr(platform, "libc_ver", lambda: libc)
    status, found = look(capsys)
    assert (status, found["system"]["mark"]) == (1, "missing")


def test_an_old_python(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.patch.setattr(sys, "version_info", (3, 10, 12))
    status, found = look(capsys)
    assert (status, found["Python"]["mark"]) == (1, "missing")
    assert lines.PAGES["Python"] in found["Python"]["about"]


def test_a_python_without_ensurepip(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """As Debian's is, without python3-venv."""
    find = importlib.util.find_spec
    machine.patch.setattr(
        *(importlib.util, "find_spec"), lambda name: name != "ensurepip" and find(name)
    )
    status, found = look(capsys)
    assert (status, found["venv"]["found"]) == (1, "no ensurepip")
    assert "apt-get install python3-venv" in found["venv"]["about"]


def test_an_environment_that_is_installed(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.venv()
    machine.free(0.5)
    status, found = look(capsys)
    assert (status, found[".venv"]["found"]) == (0, "Python 3.13.5")
    assert found["disk here"]["mark"] == "ok"


@pytest.mark.parametrize("trouble", ["copied", "moved", "broken"])
def test_an_environment_that_can_t_be_used(
    machine: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path, trouble: str
) -> None:
    if trouble == "copied":
        (tmp_path / "other" / ".venv").mkdir(parents=True)
        machine.venv(maker=tmp_path / "other" / ".venv")
    elif trouble == "moved":
        machine.venv(maker=tmp_path / "gone" / ".venv")
    else:
        machine.venv(python="exit 127")
    status, found = look(capsys)
    assert (status, found[".venv"]["mark"]) == (1, "missing")
    assert "rm -r .venv" in found[".venv"]["about"]


@pytest.mark.parametrize(("free", "status", "docker"), [(1, 1, "warning"), (5, 0, "warning")])
def test_a_disk_that_is_full(
    machine: Machine, capsys: pytest.CaptureFixture[str], free: int, status: int, docker: str
) -> None:
    machine.free(free)
    found_status, found = look(capsys)
    assert (found_status, found["disk"]["mark"]) == (status, docker)
    assert found["disk here"]["mark"] == ("missing" if status else "ok")


@pytest.mark.parametrize(
    ("name", "command"),
    [("PORT", "make run"), ("METRICS_PORT", "make run"), ("HTTPS_PORT", "make deploy")],
)
def test_a_port_that_is_taken(
    machine: Machine, capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        machine.patch.setenv(name, str(port))
        status, found = look(capsys)
    line = found[f"port {port}"]
    assert (status, line["mark"], line["found"]) == (0, "warning", "taken")
    assert line["about"] == f"take another: {name}={port + 1} {command}"


@pytest.mark.parametrize("text", ["https", "0", "65536", "8443 "])
def test_a_port_that_is_none(
    machine: Machine, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    machine.patch.setenv("HTTPS_PORT", text)
    assert look(capsys)[0] == 2


def test_the_port_of_the_e2e_tests(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.patch.setattr(cluster, "why_not", lambda port: "taken" if port == 9443 else "")
    assert look(capsys)[1]["port 9443"]["mark"] == "warning"


@pytest.mark.parametrize("name", ["flask-app", "other"])
def test_the_port_of_a_cluster(
    machine: Machine, capsys: pytest.CaptureFixture[str], api_port: int, name: str
) -> None:
    """Its own is where it should be; another's is in the way."""
    machine.patch.delenv("HTTPS_PORT")
    state(machine.clone, name)
    machine.docker(INFO, container(name, machine.clone, api_port))
    line = look(capsys)[1]["port 8443"]
    assert line["mark"] == ("ok" if name == HERE else "warning")
    assert line["found"] == f"cluster {name}"


def test_limits_of_the_kernel(
    machine: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "max_user_instances").write_text("128\n")
    status, found = look(capsys)
    assert (status, found["max_user_watches"]["mark"]) == (0, "ok")
    assert found["max_user_instances"]["mark"] == "warning"
    assert "sysctl fs.inotify.max_user_instances=512" in found["max_user_instances"]["about"]


def test_a_browser_that_can_t_be_driven(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> None:
        raise OSError(name)

    machine.patch.setattr(ctypes, "CDLL", fail)
    status, found = look(capsys)
    assert (status, found["Chromium"]["mark"]) == (0, "warning")
    assert "apt-get install libatomic1" in found["Chromium"]["about"]


def test_the_browser_that_is_named(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.patch.setenv("CHROMIUM", "/nowhere/chrome")
    line = look(capsys)[1]["Chromium"]
    assert (line["mark"], line["found"]) == ("warning", "CHROMIUM: not found")


def test_the_browser_that_playwright_has(
    machine: Machine, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine.remove("chromium")
    (tmp_path / ".cache" / "ms-playwright" / "chromium_headless_shell-1255").mkdir(parents=True)
    line = look(capsys)[1]["Chromium"]
    assert (line["mark"], line["found"]) == ("ok", "playwright's")


def test_a_cluster_of_this_folder(
    machine: Machine, capsys: pytest.CaptureFixture[str], api_port: int
) -> None:
    state(machine.clone)
    machine.docker(INFO, container(folder=machine.clone, api_port=api_port))
    machine.free(1)
    machine.venv()
    status, found = look(capsys)
    line = found["cluster flask-app"]
    assert (status, line["mark"], line["found"]) == (0, "ok", "v1.36.2")
    assert line["about"] == "of this folder"
    # what it takes is taken already
    assert found["disk"]["mark"] == "ok"


def test_a_cluster_that_is_stopped(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    state(machine.clone)
    machine.docker(INFO, container(folder=machine.clone, status="exited"))
    line = look(capsys)[1]["cluster flask-app"]
    assert (line["mark"], line["found"]) == ("warning", "stopped")
    assert "docker start flask-app-control-plane" in line["about"]
    assert "CLUSTER=flask-app make destroy" in line["about"]


def test_a_cluster_whose_api_server_is_silent(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    state(machine.clone)
    machine.docker(INFO, container(folder=machine.clone, api_port=free_port()))
    line = look(capsys)[1]["cluster flask-app"]
    assert (line["mark"], line["found"]) == ("warning", "silent")
    assert "CLUSTER=flask-app make destroy" in line["about"]


def test_a_cluster_whose_key_is_gone(
    machine: Machine, capsys: pytest.CaptureFixture[str], api_port: int
) -> None:
    """Also where the whole folder that made it is."""
    machine.docker(INFO, container(folder=machine.clone / "gone", api_port=api_port))
    line = look(capsys)[1]["cluster flask-app"]
    assert line["mark"] == "warning"
    assert "encryption.yaml is gone" in line["about"]
    assert "CLUSTER=flask-app make destroy" in line["about"]


@pytest.mark.parametrize(("name", "mark"), [("flask-app", "warning"), ("parcel-post", "ok")])
def test_a_cluster_of_another_folder(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    api_port: int,
    tmp_path: Path,
    name: str,
    mark: str,
) -> None:
    """Under the name of this folder's, it would be taken from there."""
    state(tmp_path / "other", name)
    machine.docker(INFO, container(name, tmp_path / "other", api_port))
    line = look(capsys)[1][f"cluster {name}"]
    assert line["mark"] == mark
    assert f"of {tmp_path / 'other'}" in line["about"]


def test_a_cluster_of_somebody_else(
    machine: Machine, capsys: pytest.CaptureFixture[str], api_port: int
) -> None:
    machine.docker(INFO, container("kind", api_port=api_port))
    line = look(capsys)[1]["cluster kind"]
    assert (line["mark"], line["about"]) == ("ok", "not of this project")


def test_what_a_cluster_left_behind(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    state(machine.clone, "old")
    line = look(capsys)[1]["cluster old"]
    assert (line["mark"], line["found"]) == ("warning", "gone")
    assert "CLUSTER=old make destroy" in line["about"]


def test_a_silent_docker_leaves_no_cluster_behind(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows then whether there is one."""
    state(machine.clone)
    machine.docker(SILENT)
    assert not [name for name in look(capsys)[1] if name.startswith("cluster")]


@pytest.mark.parametrize(
    ("version", "mark"),
    [("v1.35.0", "ok"), ("v1.37.0", "ok"), ("v1.34.0", "warning"), ("v2", "ok"), ("dev", "ok")],
)
def test_a_kubectl_that_is_too_far_from_the_cluster(
    machine: Machine, capsys: pytest.CaptureFixture[str], api_port: int, version: str, mark: str
) -> None:
    state(machine.clone)
    machine.docker(INFO, container(folder=machine.clone, api_port=api_port))
    machine.says("kubectl", json.dumps({"clientVersion": {"gitVersion": version}}))
    assert look(capsys)[1]["kubectl"]["mark"] == mark


@pytest.mark.parametrize("name", ["docker", "kubectl"])
@pytest.mark.parametrize("said", ["", "{}", "[]", "null", "nonsense"])
def test_an_answer_that_nobody_understands_is_no_end(
    machine: Machine, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    machine.says(name, said)
    look(capsys)


@pytest.mark.parametrize("told", ["nonsense", "[{}]", "[1]"])
def test_nodes_that_nobody_understands(
    machine: Machine, capsys: pytest.CaptureFixture[str], told: str
) -> None:
    machine.add(
        "docker",
        f"""case "$1" in
        ps) echo abc ;;
        inspect) echo '{told}' ;;
        info) printf '%s\\n' '{json.dumps(INFO)}' ;;
        *) echo 1.2.3 ;;
        esac""",
    )
    status, found = look(capsys)
    assert (status, found["clusters"]["mark"]) == (0, "warning")


def test_settings_are_shown_and_nothing_else_of_the_environment(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.patch.setenv("CLUSTER", "mine")
    machine.patch.setenv("KIND_NODE_IMAGE", "kindest/node:v1.36.2")
    machine.patch.setenv("AWS_SECRET_ACCESS_KEY", "a-password")
    state(machine.clone)
    machine.docker(INFO, container(folder=machine.clone, status="exited"))
    for arguments in ([], ["--json"]):
        main(arguments)
        said = capsys.readouterr().out
        assert "kindest/node:v1.36.2" in said
        assert "mine" in said
        assert "a-password" not in said


def test_a_terminal_is_not_written_to_by_a_name(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.patch.setenv("CLUSTER", "mine\x1b[2J")
    main([])
    assert "\x1b" not in capsys.readouterr().out


def test_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--jsno"]) == 64
    assert capsys.readouterr().err.startswith("usage: ")


def test_nothing_is_written(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.venv()
    before = sorted(machine.clone.rglob("*"))
    look(capsys)
    assert sorted(machine.clone.rglob("*")) == before


def test_it_needs_no_package_and_no_program(tmp_path: Path) -> None:
    """As `make doctor` runs it, before anything is installed."""
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-m", "tools.doctor", "--json"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.returncode == json.loads(done.stdout)["status"] == 1


@pytest.mark.parametrize("python", ["", "old-python"])
def test_make_says_itself_that_python_is_missing(tmp_path: Path, python: str) -> None:
    old = tmp_path / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    command = ["make", "doctor", f"PYTHON={python and old}"]
    # what make tells those that it starts is not for the make in here
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("Python 3.11 or later is missing: install it from https://")
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["docker", "kind", "kubectl", "helm"])
def test_everybody_names_the_same_page(name: str) -> None:
    """The scripts, before they begin."""
    script = (ROOT / "tools" / "cluster" / "common.sh").read_text("utf-8")
    assert f"'{name} is missing: {lines.PAGES[name]}'" in script
