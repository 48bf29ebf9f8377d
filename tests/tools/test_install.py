"""What installs the packages, with stand-ins for uv and pip; and the lock files themselves."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tools import install

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
UV = re.findall(r"(?m)^uv==(\S+)", (ROOT / "requirements" / "uv.txt").read_text())[0]

#: A uv that notes what it is asked for, and fails as it is told to.
PROGRAM = """#!/bin/sh
case "$1 $2" in
  '--version ') echo "uv ${VERSION:-%s} (of a test)" ;;
  'cache dir') echo / ;;
  *)
    echo "$0 $*" >>"$CALLED"
    env >"$CALLED.environment"
    eval "${UV_DOES:-}" ;;
esac
"""

#: A pip that notes what it is asked for; what it installs is the uv above.
PIP = f"""
import os, sys
from pathlib import Path

with open(os.environ["CALLED"], "a") as called:
    print("pip", *sys.argv[1:], file=called)
if sys.argv[1] == "config":
    print(os.environ.get("PIP_SETTINGS", ""))
elif "--target" in sys.argv:
    if problem := os.environ.get("PIP_PROBLEM"):
        sys.exit(problem)
    program = Path(sys.argv[-1], "bin", "uv")
    program.parent.mkdir(parents=True)
    program.write_text({PROGRAM!r} % {UV!r})
    program.chmod(0o755)
elif sys.argv[1] == "install":
    print("Collecting flask==3.1")
elif sys.argv[1] == "list":
    print("pip==26\\nflask==3.1\\nruff==1.0")
"""


class Clone:
    """A clone with nothing installed, and stand-ins on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.called = folder / "called"
        self.bin = folder / "bin"
        self.bin.mkdir()
        (folder / "python" / "pip").mkdir(parents=True)
        (folder / "python" / "pip" / "__init__.py").touch()
        (folder / "python" / "pip" / "__main__.py").write_text(PIP)
        self.environment = {
            "PATH": f"{self.bin}:{os.defpath}",
            "PYTHONPATH": str(folder / "python"),
            "CALLED": str(self.called),
        }
        (self.folder / "tools").mkdir(parents=True)
        for name in ("__init__.py", "install.py"):
            shutil.copy(ROOT / "tools" / name, self.folder / "tools")
        shutil.copytree(ROOT / "requirements", self.folder / "requirements")

    def add_uv(self, version: str = UV) -> None:
        """Put a uv on the PATH."""
        (self.bin / "uv").write_text(PROGRAM % version)
        (self.bin / "uv").chmod(0o755)

    def install(self, mark: str = ".venv/run", status: int = 0, **variables: str) -> str:
        """Install, and return what was said."""
        self.called.write_text("")
        done = subprocess.run(
            [sys.executable, "-m", "tools.install", mark],
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        return done.stderr

    def calls(self) -> list[str]:
        """Return what the last installation called, without pip's settings."""
        lines = self.called.read_text().splitlines()
        return [line for line in lines if line != "pip config list"]

    def marks(self, folder: str = ".venv") -> set[str]:
        return {one.name for one in (self.folder / folder).iterdir()} & set(install.PURPOSES)


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_uv_installs_what_the_lock_file_names(clone: Clone) -> None:
    clone.add_uv()
    said = clone.install()
    assert re.search(r"Install up to \d\d packages into \.venv, for make run", said)
    assert clone.calls() == [
        f"{clone.bin}/uv pip sync --require-hashes --python .venv/bin/python requirements/run.txt"
    ]
    assert clone.marks() == {"run"}
    assert (clone.folder / ".venv/bin/python").exists()


def test_a_uv_of_another_version_is_not_used(clone: Clone) -> None:
    """The right one is fetched, once, by its hash."""
    clone.add_uv("0.1.2")
    said = clone.install()
    fetch, sync = clone.calls()
    assert "--require-hashes --requirement requirements/uv.txt --target" in fetch
    assert sync.startswith(f"{clone.folder}/.venv-uv/{UV}/bin/uv pip sync ")
    assert f"Fetch uv {UV}" in said
    clone.install(".venv-checkov/checkov")
    assert [call.split()[1] for call in clone.calls()] == ["pip"]


def test_a_new_version_of_uv_replaces_the_old_one(clone: Clone) -> None:
    clone.install()
    lock = clone.folder / "requirements" / "uv.txt"
    lock.write_text(lock.read_text().replace(f"=={UV}", "==9.9.9"))
    clone.install(VERSION="9.9.9")
    assert [path.name for path in (clone.folder / ".venv-uv").iterdir()] == ["9.9.9"]


def test_without_a_uv_for_this_machine_pip_installs(clone: Clone) -> None:
    """What the lock file does not name is removed, and the progress is shown."""
    said = clone.install(PIP_PROBLEM="ERROR: No matching distribution found for uv")
    assert f"uv {UV} does not run on this machine: pip installs" in said
    assert "1: Collecting flask" in said
    _, installed, _, removed = clone.calls()
    assert installed.endswith("--require-hashes --requirement requirements/run.txt")
    assert removed == "pip uninstall --yes ruff"
    assert clone.marks() == {"run"}


def test_tests_need_more_and_make_run_keeps_it(clone: Clone) -> None:
    clone.add_uv()
    clone.install(".venv/dev")
    assert clone.marks() == {"run", "dev"}
    clone.install(".venv/run")
    assert clone.calls()[0].endswith(" requirements/dev.txt")
    assert clone.marks() == {"run", "dev"}


@pytest.mark.parametrize("mark", [".venv/run", ".venv/dev"])
def test_after_an_interruption_the_next_call_begins_anew(clone: Clone, mark: str) -> None:
    clone.add_uv()
    clone.install()
    half = clone.folder / ".venv" / "half"
    clone.install(mark, status=1, UV_DOES=f"touch {half}; kill -KILL $$")
    assert clone.marks() == set()
    assert half.exists()
    clone.install(mark)
    assert not half.exists()
    assert Path(mark).name in clone.marks()


def test_what_is_whole_is_not_installed_anew(clone: Clone) -> None:
    """The control: a changed lock file changes the environment, and does not make another one."""
    clone.add_uv()
    clone.install()
    package = clone.folder / ".venv" / "package"
    package.touch()
    clone.install()
    assert package.exists()


def test_an_environment_whose_python_is_gone_is_made_anew(clone: Clone) -> None:
    clone.add_uv()
    clone.install()
    (clone.folder / ".venv/bin/python").unlink()
    clone.install()
    assert (clone.folder / ".venv/bin/python").exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("  Hash mismatch for `flask==3.1`", "is not the pinned one: its hash"),
        ("error: Failed to fetch: dns error", "can't be fetched: check the network"),
    ],
)
def test_what_can_t_be_fetched_is_one_sentence(clone: Clone, said: str, sentence: str) -> None:
    """What is installed is there as before, with the age that it had."""
    clone.add_uv()
    clone.install()
    mark = clone.folder / ".venv" / "run"
    os.utime(mark, (1, 1))
    told = clone.install(".venv/dev", status=1, UV_DOES=f"echo '{said}'; exit 1")
    assert sentence in told.splitlines()[-1]
    assert said in told
    assert "Traceback" not in told
    assert clone.marks() == {"run"}
    assert mark.stat().st_mtime == 1


@pytest.mark.parametrize("problem", ["NewConnectionError(...)", "DO NOT MATCH THE HASHES"])
def test_a_uv_that_can_t_be_fetched_is_no_reason_to_use_pip(clone: Clone, problem: str) -> None:
    told = clone.install(status=1, PIP_PROBLEM=problem)
    assert told.splitlines()[-1].startswith("A package ")
    assert len(clone.calls()) == 1


def test_another_failure_is_a_sentence_too(clone: Clone) -> None:
    clone.add_uv()
    told = clone.install(status=1, UV_DOES="echo 'No space left on device'; exit 2")
    assert "No space left on device" in told
    assert told.splitlines()[-1].endswith("uv pip sync --require-hashes failed with status 2")


def test_uv_fetches_from_where_pip_does(clone: Clone) -> None:
    clone.add_uv()
    settings = r"""
:env:.cert='/etc/corporate.pem'
global.index-url='https://old.example/simple'
global.extra-index-url='\nhttps://a.example/simple\nhttps://b.example/simple'
install.index-url='https://index.example/simple'
global.find-links='/wheels /more'
"""
    clone.install(PIP_SETTINGS=settings, UV_FIND_LINKS="/mine")
    environment = Path(f"{clone.called}.environment").read_text().splitlines()
    assert {
        "UV_DEFAULT_INDEX=https://index.example/simple",
        "UV_INDEX=https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY=unsafe-best-match",  # pragma: allowlist secret
        "UV_FIND_LINKS=/mine",
        "SSL_CERT_FILE=/etc/corporate.pem",
    } <= set(environment)


def test_without_settings_uv_trusts_what_the_system_trusts(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "has_system_certificates", lambda: True)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert install.uv_environment(None)["UV_SYSTEM_CERTS"] == "1"
    monkeypatch.setattr(install, "has_system_certificates", lambda: False)
    assert "UV_SYSTEM_CERTS" not in install.uv_environment(None)


def test_python_s_own_pip_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's Python has no pip, but the wheel of one for new environments."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else real(name)
    )
    pip = install.find_pip()
    assert pip
    assert subprocess.run([*pip, "--version"], capture_output=True).returncode == 0


def pins(name: str) -> dict[str, str]:
    """Return what a lock file says of each package."""
    text = re.sub(r"(?m)^ +#.*\n|^#.*\n", "", (ROOT / "requirements" / name).read_text())
    return dict(re.findall(r"(?ms)^([\w.-]+)==(.*?)(?=^\w|\Z)", text))


@pytest.mark.parametrize("smaller", ["service", "run"])
def test_what_tests_have_includes_what_runs(smaller: str) -> None:
    """Of the same versions, with the same hashes, everywhere."""
    everything = pins("dev.txt")
    some = pins(f"{smaller}.txt")
    assert len(some) > 40
    assert some.items() <= everything.items()
    assert not {"ruff", "mypy", "pytest", "playwright"} & set(some)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_file_has_versions_and_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert pins(lock.name)
    assert all("--hash=sha256:" in pin for pin in pins(lock.name).values())
    assert lock.stem in {*install.PURPOSES, "service", "uv"}


#: What the targets start that need no tests.
PROGRAMS = (
    *("tools.local.__main__", "tools.local.keeper", "app", "gunicorn.workers.gthread"),
    *("tools.cluster.__main__", "tools.cluster.rotate"),
    *("tools.cluster.audit", "tools.cluster.give", "tools.cluster.status"),
    *("tools.leakscan.__main__", "tools.demo.__main__", "docs.workshop.torn"),
)

#: Imports them, where only the packages of some names can be imported.
IMPORT = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

absent = set(sys.argv[1].split())
sys.meta_path.insert(0, Absent())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def imported(*programs: str) -> subprocess.CompletedProcess[str]:
    """Import programs as where only the packages of requirements/run.txt are installed."""
    there = set(pins("run.txt"))
    absent = {
        package
        for package, owners in metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", one).lower() for one in owners} & there
    }
    return subprocess.run(
        [sys.executable, "-c", IMPORT, " ".join(absent), *programs],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_what_make_runs_imports_only_what_is_installed_for_it() -> None:
    done = imported(*PROGRAMS)
    assert done.returncode == 0, done.stderr


def test_a_package_that_is_not_installed_for_it_would_be_noticed() -> None:
    """The control."""
    assert "No module named 'pytest'" in imported("tests.e2e.conftest").stderr
