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
from collections.abc import Callable, Iterator
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

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, api_port: int) -> None:
        self.folder = folder
        self.patch = patch
        self.api_port = api_port
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
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api_port: int) -> Machine:
    return Machine(tmp_path, monkeypatch, api_port)


def container(
    name: str = HERE, folder: Path | None = None, api_port: int = 0, status: str = "running"
) -> dict[str, Any]:
    """Return a node as `docker inspect` tells of it.

    :param folder: the clone that made it; a cluster of somebody else's has none.
    """
    mounts = [{"Source": "/lib/modules", "Destination": "/lib/modules"}]
    if folder:
        key_file = folder / ".local" / "cluster" / name / "encryption.yaml"
        mounts.append({"Source": str(key_file), "Destination": nodes.KEY_FILE})
    ports = {"6443/tcp": [{"HostPort": str(api_port)}], "30443/tcp": [{"HostPort": "8443"}]}
    return {
        "Name": f"/{name}-control-plane",
        "Config": {"Labels": {"io.x-k8s.kind.cluster": name}, "Env": ["TOKEN=a-password"]},
        "State": {"Status": status},
        "Mounts": mounts,
        "HostConfig": {"PortBindings": ports},
    }


def state(folder: Path, name: str = HERE) -> None:
    """Leave what `make deploy` makes for a cluster."""
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
    for name in ("make", "git", "docker", "kind", "kubectl", "helm"):
        assert found[name]["mark"] == "missing"
        assert found[name]["found"] == "not found"
        assert lines.PAGES[name] in found[name]["about"]
    for name in ("curl", "promtool", "Chromium"):
        assert found[name]["mark"] == "warning"


@pytest.mark.parametrize(
    ("name", "status"),
    [
        *(("make", 1), ("git", 1), ("curl", 0), ("promtool", 0), ("chromium", 0)),
        *(("docker", 2), ("kind", 2), ("kubectl", 2), ("helm", 2)),
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


def on_a_mac(machine: Machine, architecture: str) -> None:
    """Let the machine be a Mac with Apple silicon, and this Python's be an architecture."""
    machine.patch.setattr(platform, "system", lambda: "Darwin")
    machine.patch.setattr(platform, "machine", lambda: architecture)
    machine.says("sysctl", "1")
    machine.docker({**INFO, "Architecture": "aarch64"})


def without_ensurepip(machine: Machine) -> None:
    """Take from Python what Debian's lacks without python3-venv."""
    find = importlib.util.find_spec
    machine.patch.setattr(
        *(importlib.util, "find_spec"), lambda name: name != "ensurepip" and find(name)
    )


def without_libatomic(machine: Machine) -> None:
    """Take the library away that playwright's driver needs."""

    def fail(name: str) -> None:
        raise OSError(name)

    machine.patch.setattr(ctypes, "CDLL", fail)


def with_playwrights_browser(machine: Machine) -> None:
    """Have no Chromium but playwright's."""
    machine.remove("chromium")
    browsers = machine.folder / ".cache" / "ms-playwright"
    (browsers / "chromium_headless_shell-1255").mkdir(parents=True)


def with_cluster(
    name: str = HERE, folder: str = "clone", **about: Any
) -> Callable[[Machine], None]:
    """Return what makes a cluster.

    :param folder: the clone that made it, unless that is `gone`; "" for none of this project.
    """

    def make(machine: Machine) -> None:
        if folder and folder != "gone":
            state(machine.folder / folder, name)
        made_by = machine.folder / folder if folder else None
        machine.docker(INFO, container(name, made_by, **{"api_port": machine.api_port, **about}))

    return make


def with_all_installed(machine: Machine) -> None:
    """Have the packages and the cluster, and no room for more."""
    machine.venv()
    with_cluster()(machine)
    machine.free(0.5)


def with_nodes(told: str) -> Callable[[Machine], None]:
    """Return what lets `docker inspect` say something of the nodes."""

    def make(machine: Machine) -> None:
        machine.docker(INFO, container())
        docker = machine.bin / "docker"
        docker.write_text(
            re.sub(r"(?m)(?<=inspect\) ).*$", f"echo '{told}' ;;", docker.read_text())
        )

    return make


def with_kubectl(version: str) -> Callable[[Machine], None]:
    """Return what makes a cluster of 1.36, and installs a kubectl of another version."""

    def make(machine: Machine) -> None:
        with_cluster()(machine)
        machine.says("kubectl", json.dumps({"clientVersion": {"gitVersion": version}}))

    return make


def with_port_8443(machine: Machine, name: str) -> None:
    """Let a cluster of this folder have the default port."""
    machine.patch.delenv("HTTPS_PORT")
    with_cluster(name)(machine)


def with_port_9443_taken(machine: Machine) -> None:
    """Let something listen on the port of `make e2e`."""
    machine.patch.setattr(cluster, "why_not", lambda port: "taken" if port == 9443 else "")


def with_few_watchers(machine: Machine) -> None:
    """Have one of the kernel's limits too low."""
    (machine.folder / "max_user_instances").write_text("128\n")


Make = Callable[[Machine], object]


def says(name: str, text: str) -> Make:
    return lambda machine: machine.says(name, text)


def env(name: str, value: str) -> Make:
    return lambda machine: machine.patch.setenv(name, value)


def engine(**info: Any) -> Make:
    return lambda machine: machine.docker({**INFO, **info})


def libc(name: str, version: str) -> Make:
    return lambda machine: machine.patch.setattr(platform, "libc_ver", lambda: (name, version))


def system(name: str) -> Make:
    return lambda machine: machine.patch.setattr(platform, "system", lambda: name)


NO_BUILDER = "[ \"$1\" = --version ] && echo 'Docker version 28' || exit 1"
PYTHON, BUILDX = lines.PAGES["Python"], lines.PAGES["buildx"]
DESTROY = "CLUSTER=flask-app make destroy"

#: What is done to a machine; the exit status; a line with its mark, and what that says.
CASES: list[tuple[Make, int, str, str]] = [
    (says("helm", "v2.17.0"), 2, "helm: missing", "helm.sh"),
    (lambda m: m.add("kind", "echo kind v0.33.0; exit 3"), 2, "kind: missing", "fails with 3"),
    (lambda m: m.docker(SILENT), 2, "engine: missing", "start Docker, and see that `docker info`"),
    (lambda m: m.add("docker", NO_BUILDER), 2, "buildx: missing", BUILDX),
    (engine(MemTotal=2 * GIB), 0, "memory: warning", "give Docker 3 GiB"),
    (engine(NCPU=1), 0, "memory: warning", "give Docker 3 GiB and 2 CPUs"),
    (engine(CgroupVersion="1"), 0, "cgroup: warning", "cgroup v2"),
    (engine(Architecture="aarch64"), 0, "processor: warning", "emulated"),
    (engine(Architecture="s390x"), 2, "processor: missing", "s390x"),
    (env("DOCKER_DEFAULT_PLATFORM", "linux/arm64/v8"), 0, "processor: warning", ""),
    (env("DOCKER_DEFAULT_PLATFORM", "linux/amd64"), 0, "processor: ok", ""),
    (env("DOCKER_DEFAULT_PLATFORM", "nonsense"), 0, "processor: warning", ""),
    (lambda m: on_a_mac(m, "arm64"), 0, "system: ok", "Darwin arm64, Apple silicon"),
    (lambda m: on_a_mac(m, "arm64"), 0, "processor: ok", "arm64"),
    (lambda m: on_a_mac(m, "x86_64"), 0, "system: warning", "Rosetta"),
    (libc("", ""), 1, "system: missing", ""),
    (libc("glibc", "2.17"), 1, "system: missing", "2.17"),
    (system("Windows"), 1, "system: missing", ""),
    (lambda m: m.patch.setattr(sys, "version_info", (3, 10, 12)), 1, "Python: missing", PYTHON),
    (without_ensurepip, 1, "venv: missing", "no ensurepip.*apt-get install python3-venv"),
    (lambda m: m.venv(), 0, ".venv: ok", "Python 3.13.5"),
    (lambda m: m.venv(maker=m.bin), 1, ".venv: missing", "rm -r .venv"),
    (lambda m: m.venv(maker=m.folder / "gone"), 1, ".venv: missing", "rm -r .venv"),
    (lambda m: m.venv(python="exit 127"), 1, ".venv: missing", "rm -r .venv"),
    (lambda m: m.free(1), 1, "disk here: missing", ""),
    (lambda m: m.free(1), 1, "disk: warning", ""),
    (lambda m: m.free(5), 0, "disk here: ok", ""),
    (lambda m: m.free(5), 0, "disk: warning", ""),
    (with_all_installed, 0, "disk here: ok", "all is installed"),
    (with_all_installed, 0, "disk: ok", ""),
    (with_port_9443_taken, 0, "port 9443: warning", "taken"),
    (lambda m: with_port_8443(m, HERE), 0, "port 8443: ok", "cluster flask-app"),
    (lambda m: with_port_8443(m, "other"), 0, "port 8443: warning", "cluster other"),
    (with_few_watchers, 0, "max_user_instances: warning", "sysctl fs.*max_user_instances=512"),
    (with_few_watchers, 0, "max_user_watches: ok", ""),
    (without_libatomic, 0, "Chromium: warning", "apt-get install libatomic1"),
    (env("CHROMIUM", "/nowhere/chrome"), 0, "Chromium: warning", "CHROMIUM: not found"),
    (with_playwrights_browser, 0, "Chromium: ok", "playwright's"),
    (with_cluster(), 0, "cluster flask-app: ok", "v1.36.2.*of this folder"),
    (
        with_cluster(status="exited"),
        *(0, "cluster flask-app: warning", f"stopped.*docker start flask-app-control.*{DESTROY}"),
    ),
    (with_cluster(api_port=1), 0, "cluster flask-app: warning", f"silent.*{DESTROY}"),
    (
        with_cluster(folder="gone"),
        *(0, "cluster flask-app: warning", f"encryption.yaml is gone.*{DESTROY}"),
    ),
    # under the name of this folder's it would be taken from there
    (with_cluster(folder="other"), 0, "cluster flask-app: warning", "of /.*/other"),
    (with_cluster("parcel-post", folder="other"), 0, "cluster parcel-post: ok", "of /.*/other"),
    (with_cluster("kind", folder=""), 0, "cluster kind: ok", "not of this project"),
    (lambda m: state(m.clone, "old"), 0, "cluster old: warning", "gone.*CLUSTER=old make destroy"),
    (with_kubectl("v1.34.0"), 0, "kubectl: warning", "v1.36.2"),
    (with_kubectl("v1.35.0"), 0, "kubectl: ok", ""),
    (with_kubectl("v1.37.0"), 0, "kubectl: ok", ""),
    (with_kubectl("v2"), 0, "kubectl: ok", ""),
    (with_kubectl("dev"), 0, "kubectl: ok", ""),
    (with_nodes("nonsense"), 0, "clusters: warning", "not understood"),
    (with_nodes("[{}]"), 0, "clusters: warning", "not understood"),
    (with_nodes("[1]"), 0, "clusters: warning", "not understood"),
]


@pytest.mark.parametrize(
    ("make", "status", "line", "told"), CASES, ids=[f"{line} {told}" for _, _, line, told in CASES]
)
def test_each_case_has_its_line_and_its_exit_status(
    machine: Machine,
    capsys: pytest.CaptureFixture[str],
    make: Make,
    status: int,
    line: str,
    told: str,
) -> None:
    make(machine)
    found_status, found = look(capsys)
    name, _, mark = line.rpartition(": ")
    one = found[name]
    assert (found_status, one["mark"]) == (status, mark)
    assert re.search(told, f"{one['found']}: {one['about']}")


@pytest.mark.parametrize("text", ["https", "0", "65536", "8443 "])
def test_a_port_that_is_none(
    machine: Machine, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    machine.patch.setenv("HTTPS_PORT", text)
    assert look(capsys)[0] == 2


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


def test_a_silent_docker_leaves_no_cluster_behind(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody knows then whether there is one."""
    state(machine.clone)
    machine.docker(SILENT)
    assert not [name for name in look(capsys)[1] if name.startswith("cluster")]


@pytest.mark.parametrize("name", ["docker", "kubectl"])
@pytest.mark.parametrize("said", ["", "{}", "[]", "null", "nonsense"])
def test_an_answer_that_nobody_understands_is_no_end(
    machine: Machine, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    machine.says(name, said)
    look(capsys)


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
