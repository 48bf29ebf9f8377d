"""``python -m local``: starts PostgreSQL, fills `.local/secrets`, serves until Ctrl-C.

The order of the end is the reverse: requests are finished before the database goes.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

from app.settings import Settings, SettingsError
from keeper.folder_secrets import FolderSecrets
from keeper.keeper import PROBLEMS, Keeper
from secret_files import Redactor
from tools.problem import Problem

from .place import FOLDER, Running, plan
from .postgres import AFRESH, Postgres

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Serve until somebody stops it, and return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # libpq would heed them, and they are about another database
    try:
        settings = Settings.load()
        with _folder(FOLDER):
            _end_leftover(FOLDER / "gunicorn.pid")
            _check_free(settings)
            return _serve(settings)
    except (Problem, SettingsError) as problem:
        print(problem, file=sys.stderr)
    except (*PROBLEMS, OSError) as problem:
        print(f"{FOLDER} is broken: {problem}: {AFRESH}", file=sys.stderr)
    except KeyboardInterrupt:
        return 0
    return 1


def _serve(settings: Settings) -> int:
    Running.forget()
    keeper = Keeper(FolderSecrets(FOLDER), plan(settings, database_host=""), Redactor())
    administrator = keeper.fill_administrator()
    password = administrator.password.reveal()
    postgres = Postgres(FOLDER / "postgres", administrator.user, password)
    try:
        postgres.start()
        Keeper(FolderSecrets(FOLDER), plan(settings, postgres.host), Redactor()).run()
        Running(postgres.host, settings.host, settings.metrics_port).write()
        return _run_gunicorn(settings, postgres)
    finally:
        _ignore_signals()  # Ctrl-C must not leave half of it behind
        postgres.stop()


def _run_gunicorn(settings: Settings, postgres: Postgres) -> int:
    environment = {
        **os.environ,
        "SECRETS_FROM": "files",
        "SECRETS_DIR": str((FOLDER / "secrets").absolute()),
        "DATABASE_HOST": postgres.host,
        "DATABASE_PORT": str(postgres.port),
        "DATABASE_SSLMODE": "disable",  # a Unix socket has no TLS
        # this is another database than the one that `.env` may be about
        "DATABASE_TARGET_SESSION_ATTRS": "",
        "DATABASE_REQUIRE_AUTH": "",
        "DATABASE_CHANNEL_BINDING": "",
        "DATABASE_POOLER": "",
        "TLS_DIR": "",
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "app/gunicorn.conf.py"]
    command += ["--pid", str(FOLDER / "gunicorn.pid")]
    gunicorn = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        print(f"http://{settings.host}:{settings.port}  (Ctrl-C stops it)", flush=True)
        return gunicorn.wait()
    finally:
        if gunicorn.poll() is None:
            gunicorn.terminate()
            gunicorn.wait()


def _end_leftover(pid_file: Path) -> None:
    """End a gunicorn that a killed `make run` of this folder left behind."""
    try:
        process = psutil.Process(int(pid_file.read_text()))
        if str(pid_file) in process.cmdline() and process.cwd() == str(Path.cwd()):
            process.terminate()
            process.wait(30)
    except (OSError, ValueError, psutil.Error):
        return  # there is none, or the number is another process's by now


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make the folder, and see that nobody else uses it."""
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        problem = (error.strerror or type(error).__name__).lower()
        raise Problem(f"{folder} can't be used, {problem}: {AFRESH}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem("another `make run` of this folder is at work: stop that one") from None
        yield


def _check_free(settings: Settings) -> None:
    """See that both ports can be had; the sentence names whatever has to be set, at once."""
    ports = {"PORT": settings.port, "METRICS_PORT": settings.metrics_port}
    reasons: list[str] = []
    others: dict[str, int] = {}
    for name, port in ports.items():
        if reason := _refusal(settings.host, port):
            reasons.append(f"port {port} {reason}")
            others[name] = _free(settings.host, port, {*ports.values(), *others.values()})
    if reasons:
        what = " and ".join(reasons)
        which = "another one" if len(others) == 1 else "others"
        turned = " ".join(f"{name}={port}" for name, port in others.items())
        raise Problem(f"P{what[1:]}: choose {which}, as in `{turned} make run`.")


def _free(host: str, port: int, used: set[int]) -> int:
    """Return the first port above that can be had; of those that are for root alone, none is."""
    candidates = range(max(port, 8080) + 1, 65536)
    return next((one for one in candidates if one not in used and not _refusal(host, one)), 8081)


def _refusal(host: str, port: int) -> str:
    """Return why a port can't be listened on; nothing, if it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise Problem(f"HOST {host} can't be listened on: {error.strerror}") from None
        return "is taken" if error.errno == errno.EADDRINUSE else "is for root only"
    return ""


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _ignore_signals()  # a second one, in Popen.wait, may leave Popen's lock taken for ever
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
