"""`make run`, as somebody at a terminal meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tools.local.place import OWN_KEYS
from tools.local.postgres import _unprivileged
from tools.service import free_port, listens

ROOT = Path(__file__).parents[2]

WaitFor = Callable[..., None]


#: Leaves something behind.
KEPT = "CREATE TABLE kept AS SELECT 7 AS number"


class Run:
    """One `make run` in a folder of its own."""

    def __init__(self, folder: Path, port: int = 0, **settings: str) -> None:
        self.folder = folder
        self.port, self.metrics_port = port or free_port(), free_port()
        environment = {
            **os.environ,
            "PGSERVICE": "of-somebody-else",
            "PGHOSTADDR": "127.0.0.1",
            "PORT": str(self.port),
            "METRICS_PORT": str(self.metrics_port),
            **settings,
        }
        self.output = folder / f"output-{self.port}"
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.local"],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
            )

    def request(self, path: str, body: object = None) -> object:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the database's administrator."""
        running = json.loads((self.folder / ".local" / "running.json").read_text())
        login = self.folder / ".local" / "database-admin"
        with psycopg.connect(
            host=running["database_host"],
            user=(login / "username").read_text(),
            password=(login / "password").read_text(),
            dbname="flask_app",
        ) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def keep(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the keeper in another terminal, where other things are set."""
        return keep(self.folder, *arguments)

    def answers(self) -> bool:
        output = self.output.read_text()
        assert self.process.poll() is None, output
        with socket.socket() as probe:
            listens = probe.connect_ex(("127.0.0.1", self.port)) == 0
        return listens and "Booting worker" in output  # its own one, not a leftover

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def processes(self) -> list[psutil.Process]:
        return [self.process_info(), *self.process_info().children(recursive=True)]

    def process_info(self) -> psutil.Process:
        return psutil.Process(self.process.pid)


def keep(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.local.keeper", *arguments],
        cwd=folder,
        env={**os.environ, "PGSERVICE": "of-somebody-else", "PGHOSTADDR": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def like_a_clone(folder: Path) -> Path:
    for name in ("app", "chart", "keeper", "secret_files", "tools"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that looks like a clone."""
    return like_a_clone(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, wait_for: WaitFor) -> Iterator[Run]:
    """Return one that runs, for tests that only look at it."""
    one = Run(like_a_clone(tmp_path_factory.mktemp("running")))
    try:
        wait_for(one.answers, "an answer")
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, wait_for: WaitFor) -> Path:
    """Return the `.local` of one that ran and ended."""
    one = Run(like_a_clone(tmp_path_factory.mktemp("used")))
    try:
        wait_for(one.answers, "an answer")
    finally:
        one.stop()
    return one.folder / ".local"


@pytest.fixture
def again(used: Path, folder: Path) -> Path:
    """Return a folder where one ran before: another start of it is a quick one."""
    subprocess.run(["cp", "-a", used, folder], check=True)  # with its owners
    return folder


@pytest.fixture
def run(folder: Path, wait_for: WaitFor) -> Iterator[Callable[..., Run]]:
    """Return a function that starts one and waits until it answers."""
    runs: list[Run] = []

    def run(port: int = 0, **settings: str) -> Run:
        runs.append(Run(folder, port, **settings))
        wait_for(runs[-1].answers, "an answer")
        return runs[-1]

    yield run
    for one in runs:
        if one.process.poll() is None:
            one.stop()


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those that still run; a zombie has ended, and only waits for its parent."""
    return [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def refused(folder: Path, **settings: str) -> str:
    """Start one that can't be, and return the one line that it says."""
    run = Run(folder, 0, **settings)
    assert run.process.wait(60) == 1
    output = run.output.read_text()
    assert len(output.splitlines()) == 1, output
    return output


def test_serves_prints_its_url_and_finds_its_data_again(run: Callable[..., Run]) -> None:
    first = run()
    assert f"http://127.0.0.1:{first.port}" in first.output.read_text()
    first.execute(KEPT)
    processes = first.processes()
    assert len(processes) >= 4  # this program, gunicorn, its worker, PostgreSQL
    assert first.stop() == 0
    assert not alive(processes)
    second = run()
    assert second.execute("TABLE kept") == [(7,)]
    assert "Traceback" not in first.output.read_text() + second.output.read_text()


def test_secrets_stand_in_closed_files_in_the_kubelets_layout(running: Run) -> None:
    secrets = running.folder / ".local" / "secrets"
    generation = secrets / (secrets / "..data").readlink()
    names = {path.name for path in generation.iterdir()}
    assert names == {
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "DATABASE_USERNAME",
        "DATABASE_PASSWORD",
        "GENERATION",
        ".notes.json",
        *OWN_KEYS,
    }
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE(generation.stat().st_mode) == 0o700
    for path in generation.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o400


def environment(process: psutil.Process) -> str:
    """Return a process' environment, as its own user sees it where root may not look."""
    try:
        return str(process.environ())
    except psutil.AccessDenied:
        # in a container; PostgreSQL's is somebody else's
        command = _unprivileged(["cat", f"/proc/{process.pid}/environ"])
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_secret_is_in_the_output_the_arguments_or_the_environment(running: Run) -> None:
    running.request("/status")
    values = [
        (running.folder / ".local" / secret / key).read_text()
        for secret, key in (
            ("secrets", "SECRET_KEY"),
            ("secrets", "DATABASE_PASSWORD"),
            ("database-admin", "password"),
        )
    ]
    shown = running.output.read_text()
    for process in running.processes():
        shown += str(process.cmdline()) + environment(process)
    assert "gunicorn" in shown
    assert not [value for value in values if value in shown]


def test_the_database_asks_everybody_for_a_password(running: Run) -> None:
    (host,) = {
        argument.removeprefix("unix_socket_directories=")
        for process in running.processes()
        for argument in process.cmdline()
        if argument.startswith("unix_socket_directories=")
    }
    assert stat.S_IMODE(next(Path(host).glob(".s.PGSQL.*[0-9]")).stat().st_mode) == 0o700
    hba = (running.folder / ".local" / "postgres" / "data" / "pg_hba.conf").read_text()
    rules = [line.split() for line in hba.splitlines() if line and not line.startswith("#")]
    assert {rule[-1] for rule in rules} == {"scram-sha-256"}
    for user in ("postgres", "flask_app_a"):
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host=host, user=user, dbname="flask_app")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("again")
def test_every_way_to_end_it_ends_all_of_it(run: Callable[..., Run], number: int) -> None:
    one = run()
    processes = one.processes()
    assert one.stop(number) == 0
    assert not alive(processes)


@pytest.mark.usefixtures("again")
def test_starts_again_after_it_was_killed(run: Callable[..., Run]) -> None:
    one = run()
    one.execute(KEPT)
    others = one.processes()[1:]
    one.process.kill()
    one.process.wait()
    second = run(one.port)
    assert second.execute("TABLE kept") == [(7,)]
    assert not alive(others)


#: Ends with an error where any but the first signal interrupts.
SIGNALLED = """
import signal
from tools.local.__main__ import SIGNALS, _interrupt
for number in SIGNALS:
    signal.signal(number, _interrupt)
try:
    signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    for number in SIGNALS:
        signal.raise_signal(number)
    print("once")
"""


def test_the_first_signal_interrupts_alone() -> None:
    told = subprocess.run([sys.executable, "-c", SIGNALLED], cwd=ROOT, capture_output=True)
    assert told.stdout == b"once\n", told.stderr.decode()


@pytest.mark.usefixtures("again")
def test_a_second_signal_does_not_leave_half_of_it(run: Callable[..., Run]) -> None:
    one = run()
    processes = one.processes()
    for _ in range(3):
        one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(60) == 0
    assert not alive(processes)


def test_a_leftover_pid_of_another_process_is_left_alone(again: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            (again / ".local" / "gunicorn.pid").write_text(f"{other.pid}\n")
            lines = f"{other.pid}\n/nowhere\n0\n5432\n/nowhere\n\n"
            (again / ".local" / "postgres" / "data" / "postmaster.pid").write_text(lines)
            Run(again).process.wait(60)
            assert other.poll() is None
        finally:
            other.kill()


def test_beside_another_one_it_names_both_ports_that_have_to_be_set(
    running: Run, run: Callable[..., Run], again: Path
) -> None:
    taken = {"PORT": str(running.port), "METRICS_PORT": str(running.metrics_port)}
    said = refused(again, **taken)
    assert said.startswith(
        f"Port {running.port} is taken and port {running.metrics_port} is taken: "
        "choose others, as in `PORT="
    )
    found = re.search("`PORT=([0-9]+) METRICS_PORT=([0-9]+) make run`", said)
    assert found
    second = run(int(found[1]), METRICS_PORT=found[2])
    second.execute(KEPT)
    assert running.execute("SELECT to_regclass('kept')") == [(None,)]


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_port_that_is_named_is_free_and_not_the_other_one(folder: Path) -> None:
    """Three ports in a row: the first is taken, the second is the service's own."""
    # below those that the system gives to anybody's connections at any moment
    mine = range(20_000 + os.getpid() % 10_000, 32_000)
    first = next(port for port in mine if is_free(port) and is_free(port + 1))
    with socket.create_server(("127.0.0.1", first)):
        said = refused(folder, METRICS_PORT=str(first), PORT=str(first + 1))
    found = re.search("`METRICS_PORT=([0-9]+) make run`", said)
    assert found
    assert int(found[1]) > first + 1
    assert not listens(int(found[1]))


@pytest.mark.parametrize("name", ["PORT", "METRICS_PORT"])
def test_a_taken_port_is_one_sentence(folder: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refused(folder, **{name: str(port)})
    assert re.fullmatch(
        f"Port {port} is taken: choose another one, as in `{name}=[0-9]+ make run`.\n", said
    )


def test_a_host_that_is_not_this_machine_is_one_sentence(folder: Path) -> None:
    assert refused(folder, HOST="192.0.2.1").startswith("HOST 192.0.2.1 can't be listened on")


def test_a_name_of_the_database_that_makes_roles_too_long_is_one_sentence(folder: Path) -> None:
    said = refused(folder, DATABASE_NAME="x" * 62)
    assert said.startswith("DATABASE_NAME must have at most 55 bytes, not 62: ")
    assert {one.name for one in (folder / ".local").iterdir()} == {"lock"}


def test_a_second_one_in_the_same_folder_is_one_sentence(running: Run) -> None:
    assert refused(running.folder).startswith("another `make run` of this folder is at work")


def break_data(local: Path) -> None:
    (local / "postgres" / "data" / "PG_VERSION").write_text("9\n")


def break_control_file(local: Path) -> None:
    (local / "postgres" / "data" / "global" / "pg_control").unlink()


def lose_administrator(local: Path) -> None:
    (local / "database-admin" / "..data").unlink()


def break_postgres(local: Path) -> None:
    (local / "postgres").rename(local / "elsewhere")
    (local / "postgres").write_text("a file")


def break_administrator(local: Path) -> None:
    (local / "database-admin").rename(local / "elsewhere")
    (local / "database-admin").write_text("a file")


@pytest.mark.parametrize(
    "damage",
    [break_data, break_control_file, break_postgres, lose_administrator, break_administrator],
)
def test_a_broken_folder_is_one_sentence(again: Path, damage: Callable[[Path], None]) -> None:
    damage(again / ".local")
    assert "`rm -rf .local` starts afresh, without the notes" in refused(again)


def test_a_file_in_the_place_of_the_folder_is_one_sentence(folder: Path) -> None:
    (folder / ".local").write_text("a file")
    assert refused(folder).startswith(".local can't be used, file exists: `rm -rf .local` starts")


def test_lost_secrets_are_made_anew_and_the_data_stays(
    run: Callable[..., Run], again: Path
) -> None:
    one = run()
    one.execute(KEPT)
    one.stop()
    (again / ".local" / "secrets" / "..data").unlink()
    assert run().execute("TABLE kept") == [(7,)]


def test_a_secret_in_dotenv_is_one_sentence(folder: Path) -> None:
    # pragma: allowlist nextline secret
    (folder / ".env").write_text("SECRET_KEY=a-value-that-is-secret-0123456789\n")
    said = refused(folder)
    assert said.startswith("SECRET_KEY stands in .env")
    assert "a-value" not in said


def values_of(run: Run) -> set[str]:
    local = run.folder / ".local"
    names = ("SECRET_KEY", "SECRET_KEY_FALLBACKS", "DATABASE_PASSWORD")
    places = [*(("secrets", name) for name in names), ("database-admin", "password")]
    texts = [(local / secret / key).read_text() for secret, key in places]
    return {line for text in texts for line in text.splitlines()}


def test_what_is_served_is_rotated_from_another_terminal(running: Run) -> None:
    """Twice: the role alternates, the generation grows, and no value is shown."""
    values = values_of(running)
    seen = [running.request("/status")]
    said = ""
    for parts in ([], ["database"]):
        done = running.keep("rotate", *parts)
        assert done.returncode == 0, done.stdout + done.stderr
        said += done.stdout + done.stderr
        values |= values_of(running)
        seen.append(running.request("/status"))
    roles = [status["database"]["role"] for status in seen]  # type: ignore[index]
    assert roles[1] != roles[0]
    assert roles[2] == roles[0]
    generations = [status["secrets"]["generation"] for status in seen]  # type: ignore[index]
    assert generations == sorted(set(generations))
    assert seen[2]["session_keys"] == {"sign": 1, "verify": 2}  # type: ignore[index]
    assert len(values) == 6  # two keys, three passwords, and the administrator's
    assert not [value for value in values if value in said + running.output.read_text()]
    first_words = [line.split(maxsplit=1)[-1] for line in said.splitlines()]
    assert [word for word in first_words if word in ("promoted", "revoked", "rotated")] == [
        "promoted",
        "revoked",
        "rotated",
        "revoked",
        "rotated",
    ]
    assert [pod["problem"] for pod in json.loads(running.keep("status").stdout)["pods"]] == [""]


def test_the_status_on_a_screen_agrees_with_the_service(running: Run) -> None:
    served: Any = running.request("/status")
    kept = json.loads(running.keep("status").stdout)
    done = running.keep("status", "--text")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stderr, done.stdout.splitlines()[-1]) == ("", "Nothing is broken.")
    assert all(line.isprintable() for line in done.stdout.splitlines())
    generation, role = served["secrets"]["generation"], served["database"]["role"]
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [served["pod"], str(generation), role] in lines
    assert f"generation {generation}, role {role}; session keys: 1 signs" in done.stdout
    for part, times in (("session key", kept["session"]), ("database password", kept["database"])):
        (line,) = [one for one in done.stdout.splitlines() if one.startswith(part)]
        for when in times.values():
            assert when.replace("T", " ").replace("+00:00", " UTC") in line
    assert "CERTIFICATE" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["rotate", "certificates"], "There are no certificates here: `make run` serves plain"),
        (["rotate", "--new-authority"], "There are no certificates here: `make run` serves plain"),
        (["rotate", "nonsense"], "nonsense can't be rotated: name some of session, database"),
    ],
)
def test_what_can_not_be_rotated_here_is_one_sentence(
    running: Run, arguments: list[str], sentence: str
) -> None:
    done = running.keep(*arguments)
    assert done.returncode == 2
    (line,) = (done.stdout + done.stderr).splitlines()
    assert line.strip().startswith(sentence)


def test_nothing_to_rotate_is_one_sentence(used: Path, folder: Path) -> None:
    """Nobody ever ran it here, or it has ended. Nor is there a status to be seen."""
    for place, *arguments in ((folder, "rotate"), (used.parent, "rotate"), (folder, "status")):
        done = keep(place, *arguments)
        assert done.returncode == 1
        assert done.stderr == "Nothing is served here: start `make run` in another terminal.\n"
