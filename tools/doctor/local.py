"""What `make run` and `make test` need."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .lines import (
    GB,
    LOCAL,
    MISSING,
    OK,
    PAGES,
    ROOT,
    WARNING,
    Line,
    Silent,
    ask,
    numbers,
    tool,
    version,
)
from .ports import port_line

#: What a Chromium is called where a distribution installs it.
CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: Measured: .venv takes 0.2 GB for `make run`, and 0.9 with the tests' packages.
#: Estimated: a Chromium of playwright's, 0.3.
DISK: Final = 2
#: What the packages with compiled code ask for: https://peps.python.org/pep-0600/
GLIBC: Final = (2, 28)


def local() -> Iterator[Line]:
    """Tell of what `make run` and `make test` need."""
    yield _system()
    yield tool(LOCAL, "make", "make", "--version", about="runs each command")
    yield _python()
    yield _venv_module()
    yield _environment()
    yield tool(LOCAL, "git", "git", "--version", about="a clone, and some tests")
    yield tool(LOCAL, "curl", "curl", "--version", about="README's requests", mark=WARNING)
    yield _disk()
    for name, port in (("PORT", 8080), ("METRICS_PORT", 9090)):
        yield port_line(LOCAL, name, port, "make run")
    yield tool(LOCAL, "promtool", "promtool", "--version", about="tests of alerts", mark=WARNING)
    yield _chromium()


def _system() -> Line:
    """Tell whether the packages with compiled code are made for this system."""
    system, machine = platform.system(), platform.machine()
    found, about = f"{system} {machine}", "PostgreSQL and others come compiled for it"
    if system == "Darwin":
        if machine == "arm64":
            found = f"{found}, Apple silicon"
        elif _is_translated():
            about = f"Python runs under Rosetta: one for arm64 is faster, {PAGES['Python']}"
            return Line(LOCAL, WARNING, "system", f"{found}, Apple silicon", about)
    elif system != "Linux":
        about = "use Linux, macOS, or https://learn.microsoft.com/windows/wsl/install"
        return Line(LOCAL, MISSING, "system", found, about)
    else:
        library, number = platform.libc_ver()
        found = f"{found}, {library or 'no glibc'} {number}".rstrip()
        if numbers(number) < GLIBC:
            about = "needs a Linux with glibc 2.28 or later: PostgreSQL comes compiled for that"
            return Line(LOCAL, MISSING, "system", found, about)
    return Line(LOCAL, OK, "system", found, about)


def _is_translated() -> bool:
    try:
        return ask("sysctl", "-n", "sysctl.proc_translated").strip() == "1"
    except Silent:
        return False


def _python() -> Line:
    about = f"3.11 or later: {sys.executable}"
    # from make it never is; a script may take any
    if sys.version_info < (3, 11):  # noqa: UP036
        about = f"3.11 or later: {PAGES['Python']}"
        return Line(LOCAL, MISSING, "Python", platform.python_version(), about)
    return Line(LOCAL, OK, "Python", platform.python_version(), about)


def _venv_module() -> Line:
    lacking = [name for name in ("venv", "ensurepip") if not importlib.util.find_spec(name)]
    if lacking:
        about = "makes .venv: apt-get install python3-venv, or https://www.python.org/downloads/"
        return Line(LOCAL, MISSING, "venv", f"no {' and no '.join(lacking)}", about)
    return Line(LOCAL, OK, "venv", "with ensurepip", "makes .venv")


def _environment() -> Line:
    """Tell whether .venv can be used; a copied or moved one runs what stands elsewhere."""
    folder = ROOT / ".venv"
    if not (folder / "run").exists():
        return Line(LOCAL, OK, ".venv", "not made yet", "the first run installs it")
    again = "remove it, and it is installed again: rm -r .venv"
    try:
        found = version(ask(str(folder / "bin" / "python"), "--version"))
        head = (folder / "bin" / "gunicorn").read_text("utf-8", "replace")[:1000]
    except (Silent, OSError):
        return Line(LOCAL, MISSING, ".venv", "broken", again)
    maker = re.search(r"(/[^\"\n]*)/bin/python", head)
    if not maker or not Path(maker[1]).exists() or not folder.samefile(maker[1]):
        return Line(LOCAL, MISSING, ".venv", "made in another folder", again)
    return Line(LOCAL, OK, ".venv", f"Python {found}", "what is installed")


def _disk() -> Line:
    free = shutil.disk_usage(ROOT).free / GB
    found, need = f"{free:.1f} GB free", DISK
    if (ROOT / ".venv" / "dev").exists():
        return Line(LOCAL, OK, "disk", found, "all is installed")
    if free < need:
        return Line(LOCAL, MISSING, "disk", found, f"{need} GB for what is installed: free some")
    return Line(LOCAL, OK, "disk", found, f"{need} GB for what is installed")


def _chromium() -> Line:
    """Tell of the browser that tests/browser.py would start."""
    named = os.environ.get("CHROMIUM")
    for program in [named] if named else CHROMIUM:
        try:
            return _driven(f"{version(ask(program, '--version'))}, {Path(program).name}")
        except Silent as silent:
            problem = f"CHROMIUM: {silent}"
    if named:
        about = "tests of the page: name another, or unset it"
        return Line(LOCAL, WARNING, "Chromium", problem, about)
    if any(_browsers().glob("chromium*")):
        return _driven("playwright's")
    download = ".venv/bin/playwright install chromium"
    about = f"tests of the page: the first make test downloads one, or {download}"
    return Line(LOCAL, WARNING, "Chromium", "not found", about)


def _browsers() -> Path:
    """Return the folder where playwright keeps what it downloads."""
    caches = "Library/Caches" if platform.system() == "Darwin" else ".cache"
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    return Path(named) if named else Path("~").expanduser() / caches / "ms-playwright"


def _driven(found: str) -> Line:
    """Tell of a Chromium that is there; playwright's node needs a library to drive it."""
    if platform.system() == "Linux":
        try:
            ctypes.CDLL("libatomic.so.1")
        except OSError:
            about = "tests of the page need libatomic, too: apt-get install libatomic1"
            return Line(LOCAL, WARNING, "Chromium", found, about)
    return Line(LOCAL, OK, "Chromium", found, "tests of the page")
