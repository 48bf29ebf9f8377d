"""What looks at a change before somebody else does: the linters, the hook, versions, whitespace."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.git import ENVIRONMENT, git

ROOT = Path(__file__).parents[2]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONFIGURATION = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())

CLEAN = {
    "Dockerfile": "FROM python:3.13-slim\nUSER 10001:10001\n",
    ".github/dependabot.yml": (ROOT / ".github" / "dependabot.yml").read_text(),
    **{
        f".github/workflows/{name}": (ROOT / ".github" / "workflows" / name).read_text()
        for name in ("image.yml", "tests.yml")
    },
    **{f"{folder}/__init__.py": '"""Nothing."""\n' for folder in PROJECT["tool"]["mypy"]["files"]},
    "values.yaml": "one: 1\n",
}

#: Where each hook finds a fault: what is put behind the content of a clean file.
FAULTS = {
    "ruff": ("app/__init__.py", "import os\n"),
    "ruff-format": ("app/__init__.py", "ONE = { 1 }\n"),
    "yamllint": ("values.yaml", "two: [ 2 ]\n"),
    "hadolint": ("Dockerfile", "RUN cd /srv\n"),
    "github-workflows": (".github/workflows/image.yml", "timeout: 1\n"),
    "dependabot": (".github/dependabot.yml", "often: true\n"),
    "zizmor": (
        ".github/workflows/tests.yml",
        "  shout:\n    name: shout\n    runs-on: ubuntu-24.04\n    steps:\n"
        "      - run: echo '${{ github.event.pull_request.title }}'\n",
    ),
    "mypy": ("app/__init__.py", 'ONE: int = "1"\n'),
    "import-linter": ("secret_files/__init__.py", "import app\n"),
    "bandit": ("app/__init__.py", "\n\ndef run(text: str) -> None:\n    exec(text)\n"),
    "vulture": ("app/__init__.py", "\n\ndef nobody_calls() -> None:\n    pass\n"),
}

#: What only looks like a secret. Each is made here: a check of this file must not find one.
LEAKS = {
    "password": f'DATABASE_PASSWORD = "{secrets.token_hex(12)}"',
    "access-key": "AK" + "IAQ3EGRZTNQ7" + "PLC4VD",
    "private-key": "-----BEGIN " + "PRIVATE KEY-----",
    "login": "postgres://notes:" + secrets.token_hex(6) + "@db/notes",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a repository with the project's hooks, and a few files in which there is no fault."""
    folder = tmp_path / "clone"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for file in (".gitignore", ".pre-commit-config.yaml", ".secrets.baseline", ".yamllint"):
        shutil.copy(ROOT / file, folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for file, content in CLEAN.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content)
    with (folder / ".gitignore").open("a") as ignored:
        ignored.write("/.venv\n")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    git(folder, "add", "--all")
    return folder


def in_clone(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as somebody who works there, with a cache of its own."""
    environment = ENVIRONMENT | {"PRE_COMMIT_HOME": str(folder.parent / "cache")}
    for name in ("PYTHONDEVMODE", "PYTHONWARNINGS"):  # what is for the service's code
        environment.pop(name, None)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def pre_commit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return in_clone(folder, str(ROOT / ".venv" / "bin" / "python"), "-m", "pre_commit", *arguments)


@pytest.mark.lint
def test_lint_finds_nothing_where_there_is_nothing(clone: Path) -> None:
    done = pre_commit(clone, "run", "--all-files", "--hook-stage", "manual")
    assert done.returncode == 0, done.stdout
    assert "Skipped" not in done.stdout


@pytest.mark.lint
def test_lint_finds_every_fault(clone: Path) -> None:
    for file, fault in FAULTS.values():
        with (clone / file).open("a") as text:
            text.write(fault)
    done = pre_commit(clone, "run", "--all-files", "--hook-stage", "manual")
    assert done.returncode == 1
    assert set(re.findall(r"hook id: (\S+)", done.stdout)) == FAULTS.keys(), done.stdout


def test_every_hook_is_seen_to_fail() -> None:
    (local,) = CONFIGURATION["repos"]
    assert local["repo"] == "local"
    hooks = {hook["id"]: hook for hook in local["hooks"]}
    assert hooks.keys() == FAULTS.keys() | {"detect-secrets"}
    # nothing is fetched
    assert {hook["language"] for hook in hooks.values()} == {"system"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks.values())


@pytest.mark.lint
def test_a_commit_with_a_secret_is_refused(clone: Path) -> None:
    assert pre_commit(clone, "install").returncode == 0
    clean = in_clone(clone, "git", "commit", "--message", "Begin")
    assert clean.returncode == 0, clean.stderr
    names = {f"{kind}.{ending}": kind for kind in LEAKS for ending in ("py", "yaml", "md", "env")}
    for name, kind in names.items():
        (clone / name).write_text(f"# {kind}\n{LEAKS[kind]}\n")
    git(clone, "add", "--all")
    refused = in_clone(clone, "git", "commit", "--message", "Leak")
    assert refused.returncode == 1
    told = set(re.findall(r"Location: +(\S+):2", refused.stderr + refused.stdout))
    assert told == names.keys()
    assert in_clone(clone, "git", "rev-list", "--count", "HEAD").stdout == "1\n"


def test_no_check_for_secrets_was_told_to_look_away() -> None:
    text = (ROOT / ".secrets.baseline").read_text()
    assert yaml.safe_load(text)["results"] == {}


def tracked() -> list[Path]:
    """Return the repository's text files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=True
    )
    paths = [ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()]


def untidy(content: bytes, indent: bytes) -> list[str]:
    """Return what in a file is not as .editorconfig says."""
    other = b"\t" if indent == b" " else b" "
    faults = {
        "a line that does not end with LF": b"\r" in content,
        "no newline at its end": bool(content) and not content.endswith(b"\n"),
        "empty lines at its end": content.endswith(b"\n\n"),
        # alone in its line, a blank is an empty line of a diff in a page
        "whitespace at a line's end": bool(re.search(rb"(?m)(?<=\S)[ \t]+$", content)),
        "another indentation": bool(re.search(rb"^" + other, content, re.MULTILINE)),
    }
    content.decode("utf-8")
    return [fault for fault, found in faults.items() if found]


def test_files_are_as_editors_are_told() -> None:
    files = tracked()
    assert len(files) > 300
    found = {
        str(path.relative_to(ROOT)): untidy(
            path.read_bytes(), b"\t" if path.name == "Makefile" else b" "
        )
        for path in files
    }
    assert {path: faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    "content", [b"a\r\n", b"a", b"a\n\n", b"a \n", b"a\t\n", b"a\n\tb\n"], ids=repr
)
def test_a_file_that_is_not_is_seen(content: bytes) -> None:
    assert len(untidy(content, b" ")) == 1


def changed() -> list[str]:
    """Return the versions of CHANGELOG.md, the newest first."""
    return re.findall(r"(?m)^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text("utf-8"))


def test_the_newest_version_is_the_same_everywhere() -> None:
    chart = yaml.safe_load((ROOT / "chart" / "Chart.yaml").read_text())
    version = PROJECT["project"]["version"]
    assert {chart["version"], chart["appVersion"], version} == {changed()[0]}


def test_each_older_version_is_one_that_an_upgrade_is_tested_from() -> None:
    releases = {path.stem for path in (ROOT / "tests" / "template" / "releases").glob("*.yaml")}
    assert set(changed()[1:]) <= releases <= set(changed())


def workflow_steps() -> list[dict[str, str]]:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    jobs = [job for file in workflows for job in yaml.safe_load(file.read_text())["jobs"].values()]
    assert jobs
    return [step for job in jobs for step in job["steps"]]


def test_workflows_run_targets_of_make() -> None:
    commands = "\n".join(step.get("run", "") for step in workflow_steps())
    targets = re.findall(r"(?m)^([a-z0-9-]+):", (ROOT / "Makefile").read_text())
    assert set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", commands)) == {
        "test",
        "lint",
        "e2e",
        "status",
    }
    assert {"test", "lint", "e2e", "status"} <= set(targets)
    scripts = set(re.findall(r"\.ci/\w+", commands))
    assert scripts == {".ci/promtool"}
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_an_action_is_pinned_by_its_digest() -> None:
    used = [step["uses"] for step in workflow_steps() if "uses" in step]
    assert len(used) > 5
    assert [action for action in used if not re.search(r"@[0-9a-f]{40}$", action)] == []
