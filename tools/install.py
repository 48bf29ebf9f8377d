"""``python -m tools.install .venv/run``: installs what a lock file in requirements/ names.

The path is a mark: `.venv/run` exists while `.venv` holds what requirements/run.txt names. An
interrupted installation leaves no mark, and the next one begins with a new environment.

uv installs, in the version of requirements/uv.txt: the one on the PATH, or one in `.venv-uv`, which
pip puts there. pip installs everything where uv does not run. ``python -m tools.install uv …`` runs
uv with pip's settings.

It needs the standard library only. Exit status: 0 installed, 1 failed, with one sentence.
"""

from __future__ import annotations

import ast
import fcntl
import importlib.util
import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

#: What each lock file is for; in an environment, a later one includes an earlier one.
PURPOSES: Final = {
    "run": "for make run, rotate, status, audit, give, leak-scan and demo",
    "dev": "for tests and linters, besides what make run needs",
    "moto": "for end-to-end tests with a stand-in for AWS",
    "checkov": "for make lint",
}

#: uv's variables, by the pip settings that mean the same: uv does not read pip's configuration.
SETTINGS: Final = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
}

#: Settings of pip that would keep it from writing into a directory.
PIP_ENVIRONMENT: Final = {
    **os.environ,
    **{"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    **{"PIP_ROOT_USER_ACTION": "ignore", "PYTHONUNBUFFERED": "1"},
}

_MISMATCH: Final = re.compile(r"Hash mismatch|DO NOT MATCH THE HASHES", re.IGNORECASE)
_NO_NETWORK: Final = re.compile(
    r"error sending request|dns error|Failed to fetch|Failed to download|Network connectivity|"
    r"(Connection|NameResolution|Timeout|Proxy|SSL)Error|Network is unreachable"
)
#: What uv and pip say of every package, and more than anybody reads.
_DETAIL: Final = re.compile(
    r" [+~-] |Using Python|Requirement already|  (Downloading|Using cached)|\[notice\]|\n"
)


class Problem(Exception):
    """Nothing can be installed; the sentence says why."""


class Unchanged(Problem):
    """Nothing could be fetched, so the environment is as it was."""


def main(arguments: list[str]) -> int:
    """Install what a mark stands for, and return the exit status."""
    os.chdir(ROOT)
    with open("requirements/uv.txt") as lock:
        # uv inherits it, so that nobody interferes with one whose parent was killed
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if arguments[0] == "uv":
                pip = find_pip()
                uv = find_uv(pip, lock.fileno())
                if not uv:
                    raise Problem("Only uv does this: use another machine")
                return subprocess.run([uv, *arguments[1:]], env=uv_environment(pip)).returncode
            install(Path(arguments[0]), lock.fileno())
        except Problem as problem:
            print(problem, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


def install(mark: Path, lock: int) -> None:
    """Make the environment hold what the lock file of a mark names, and nothing else.

    :param mark: such as `.venv/run`.
    :param lock: a file descriptor that the installing process inherits.
    """
    folder = mark.parent
    before = {one: one.stat().st_mtime for name in PURPOSES if (one := folder / name).exists()}
    order = list(PURPOSES)
    mark = max(mark, *before, key=lambda one: order.index(one.name)) if before else mark
    marks = {mark, folder / "run"} if mark.name == "dev" else {mark}
    requirements = f"requirements/{mark.name}.txt"
    count = len(names(requirements))
    say(f"Install up to {count} packages into {folder}, {PURPOSES[mark.name]}")
    pip = find_pip()
    uv = find_uv(pip, lock)
    is_usable = bool(before) and version(folder / "bin" / "python", "Python") != ""
    if not is_usable:
        venv.EnvBuilder(symlinks=True, clear=True).create(folder)
    for one in before:
        one.unlink(missing_ok=True)  # it went with an environment that is unusable
    try:
        if uv:
            sync_with_uv(uv, pip, folder, requirements, lock)
        else:
            sync_with_pip(folder, requirements, lock)
    except Unchanged:
        for one, modified in before.items() if is_usable else ():
            one.touch()
            os.utime(one, (modified, modified))
        raise
    for one in marks:
        one.touch()


def sync_with_uv(
    uv: str, pip: list[str] | None, folder: Path, requirements: str, lock: int
) -> None:
    """Let uv install what is missing, and remove what the lock file does not name."""
    environment = uv_environment(pip)
    if "UV_LINK_MODE" not in environment:
        cache = Path(subprocess.check_output([uv, "cache", "dir"], text=True).strip())
        there = next(one for one in (cache, *cache.parents) if one.exists())
        if there.stat().st_dev != folder.stat().st_dev:
            environment["UV_LINK_MODE"] = "copy"  # uv would warn that it can't link
    command = [uv, "pip", "sync", "--require-hashes", "--python", str(folder / "bin" / "python")]
    run([*command, requirements], environment, lock)


def sync_with_pip(folder: Path, requirements: str, lock: int) -> None:
    """Do the same with pip, which takes about a minute for 100 packages."""
    run([sys.executable, "-m", "venv", str(folder)], PIP_ENVIRONMENT, lock)
    pip = [str(folder / "bin" / "python"), "-m", "pip"]
    command = [*pip, "install", "--progress-bar", "off", "--require-hashes"]
    run([*command, "--requirement", requirements], PIP_ENVIRONMENT, lock)
    listed = subprocess.check_output(
        [*pip, "list", "--format", "freeze"], env=PIP_ENVIRONMENT, text=True
    )
    found = {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}
    others = found - names(requirements) - {"pip", "setuptools"}
    if others:
        run([*pip, "uninstall", "--yes", *sorted(others)], PIP_ENVIRONMENT, lock)


def find_pip() -> list[str] | None:
    """Return a command that is pip: of this Python, or the one for its new environments."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    bundled = importlib.util.find_spec("ensurepip")
    folders = [f"{Path(bundled.origin).parent}/_bundled"] if bundled and bundled.origin else []
    folders.append(sysconfig.get_config_var("WHEEL_PKG_DIR") or "")  # Debian's
    wheels = (wheel for folder in folders if folder for wheel in Path(folder).glob("pip-*.whl"))
    return next(([sys.executable, f"{wheel}/pip"] for wheel in wheels), None)


def find_uv(pip: list[str] | None, lock: int) -> str | None:
    """Return the path of the pinned uv, which is fetched if need be, if it runs here."""
    pinned = pinned_uv()
    own = Path(".venv-uv", pinned, "bin", "uv").absolute()
    for program in (str(own), shutil.which("uv")):
        if program and version(program, "uv") == pinned:
            return program
    if pip:
        say(f"Fetch uv {pinned} into .venv-uv: it installs the packages")
        shutil.rmtree(".venv-uv", ignore_errors=True)
        command = [*pip, "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--requirement", "requirements/uv.txt"]
        try:
            # a name of its own until it is whole
            run([*command, "--target", ".venv-uv/new"], PIP_ENVIRONMENT, lock)
            Path(".venv-uv/new").rename(f".venv-uv/{pinned}")
        except Unchanged:
            raise
        except Problem:
            pass  # there is none for this machine
        if version(own, "uv") == pinned:
            return str(own)
    say(f"uv {pinned} does not run on this machine: pip installs, which takes a minute or more")
    return None


def pinned_uv() -> str:
    """Return the version of uv that requirements/uv.txt names."""
    found: list[str] = re.findall(r"(?m)^uv==(\S+)", Path("requirements/uv.txt").read_text())
    return found[0]


def pip_settings(pip: list[str]) -> dict[str, str]:
    """Return pip's settings, from its files and the environment, as it applies them."""
    listed = subprocess.run(
        [*pip, "config", "list"], env=PIP_ENVIRONMENT, capture_output=True, text=True
    ).stdout
    found = re.findall(r"(?m)^(global|install|:env:)\.([\w-]+)=(['\"].*)$", listed)
    order = ["global", "install", ":env:"]
    found.sort(key=lambda one: order.index(one[0]))
    return {name: ast.literal_eval(value) for _, name, value in found}


def uv_environment(pip: list[str] | None) -> dict[str, str]:
    """Return an environment in which uv fetches from where pip would; uv's own variables win."""
    settings = pip_settings(pip) if pip else {}
    found = {
        SETTINGS[name]: " ".join(value.split())
        for name, value in settings.items()
        if name in SETTINGS and value
    }
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = found["UV_FIND_LINKS"].replace(" ", ",")
    if settings.get("no-index") in ("1", "true", "True", "yes"):
        found["UV_NO_INDEX"] = "1"
    if "UV_INDEX" in found:
        # as pip does: the hash says which one is right
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if "SSL_CERT_FILE" not in {**found, **os.environ} and has_system_certificates():
        found["UV_SYSTEM_CERTS"] = "1"
    return {**found, **os.environ}


def has_system_certificates() -> bool:
    """Tell whether the system has certificates; uv brings its own where it has none."""
    paths = ssl.get_default_verify_paths()
    folder = Path(paths.capath) if paths.capath else None
    return sys.platform == "darwin" or bool(paths.cafile or (folder and any(folder.iterdir())))


def names(requirements: str) -> set[str]:
    """Return the names of the packages in a lock file."""
    return set(re.findall(r"(?m)^([\w.-]+)==", Path(requirements).read_text()))


def version(program: str | Path, name: str) -> str:
    """Return the version that a program reports, after its name; "" if it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True)
    except OSError:
        return ""
    words = done.stdout.split()
    return words[1] if done.returncode == 0 and len(words) > 1 and words[0] == name else ""


def run(command: list[str], environment: Mapping[str, str], lock: int) -> None:
    """Run a command, and show what it says, but for each package's lines.

    :raises Unchanged: it could not fetch something, or something else than is pinned.
    :raises Problem: it failed in another way.
    """
    said = []
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=[lock],
    ) as process:
        for line in counted(process.stdout or iter(())):
            said.append(line)
            if not _DETAIL.match(line):
                say(line.rstrip())
    if process.returncode == 0:
        return
    text = "".join(said)
    if _MISMATCH.search(text):
        raise Unchanged("A package is not the pinned one: its hash in requirements/ differs")
    if _NO_NETWORK.search(text):
        raise Unchanged("A package can't be fetched: check the network, and pip's index")
    raise Problem(f"{' '.join(command[:4])} failed with status {process.returncode}")


def counted(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines, with a number before each package that pip turns to."""
    number = 0
    for line in lines:
        number += line.startswith("Collecting ")
        yield f"{number}: {line}" if line.startswith("Collecting ") else line


def say(line: str) -> None:
    """Tell of the progress, beside what a command prints."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
