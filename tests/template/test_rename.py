"""`make rename`: what it refuses, and that a renamed project can be renamed again."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.git import ENVIRONMENT, commit, git
from tools import rename
from tools.rename import EXAMPLES, LEFT_ALONE, LONGEST, Name, Refused

ROOT = Path(__file__).parents[2]

#: Names that are no words of the project: they would be taken in a rename of it.
OLD, NEW, SINGLE = Name("oldy-thing"), Name("newy-thing"), Name("zebra")

FILES = {
    "pyproject.toml": f'[project]\nname = "{OLD.text}"\n',
    "README.md": f"# {OLD.text}\n\n`make rename NAME={EXAMPLES[0]}`, and {OLD.text}-secrets\n",
    "database.sql": f"CREATE DATABASE {OLD.database}; CREATE ROLE {OLD.database}_a;\n",
    "code.py": f'PATTERN = r"\\b{OLD.database}\\n{OLD.text}"\nURL = "%3D{OLD.text}%2C"\n',
    f"{OLD.text}/values.yaml": f"name: my-{OLD.text}-2\n",
    "LICENSE": f"Copyright the {OLD.text} authors\n",
}


@pytest.fixture
def kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return what this machine's kind tells of its clusters; no other kind is asked."""
    (tmp_path / "bin").mkdir()
    clusters = tmp_path / "clusters"
    clusters.touch()
    program = tmp_path / "bin" / "kind"
    program.write_text(f'#!/bin/sh\n[ "$*" = "get clusters" ] && cat "{clusters}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{ENVIRONMENT['PATH']}")
    return clusters


@pytest.fixture
def project(tmp_path: Path, kind: Path) -> Path:
    """Return a small project in a repository of git."""
    return repository(tmp_path / "project")


def repository(folder: Path) -> Path:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "picture.png").write_bytes(b"\x89PNG " + OLD.text.encode())
    git(folder, "init", "--quiet")
    commit(folder, "begin")
    return folder


def state(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def refused(project: Path, name: str) -> str:
    """Return the sentence; nothing is changed by it."""
    before = state(project)
    with pytest.raises(Refused) as told:
        rename.rename(project, name)
    assert state(project) == before
    sentence = str(told.value)
    assert sentence == " ".join(sentence.split())
    return sentence


def test_everything_has_the_new_name(project: Path) -> None:
    said = rename.rename(project, NEW.text)
    after = state(project)
    assert after.keys() == {name.replace(OLD.text, NEW.text) for name in (*FILES, "picture.png")}
    changed = {
        name: text.replace(OLD.text, NEW.text).replace(OLD.database, NEW.database)
        for name, text in FILES.items()
    }
    for name, text in changed.items():
        if name != "LICENSE":
            assert after[name.replace(OLD.text, NEW.text)].decode() == text
    assert after["LICENSE"].decode() == FILES["LICENSE"]
    assert after["picture.png"] == b"\x89PNG " + OLD.text.encode()
    assert said.startswith(
        f"{OLD.text} is called {NEW.text} now, and its database {NEW.database}: 5 files"
    )
    assert f"{OLD.text}/values.yaml is {NEW.text}/values.yaml now." in said


def test_the_command_that_it_says_undoes_it(project: Path) -> None:
    before = state(project)
    said = rename.rename(project, NEW.text)
    (command,) = re.findall("`git (restore [^`]+)` undoes it", said)
    git(project, *command.split())
    assert state(project) == before


def test_what_is_left_of_the_old_name_on_this_machine_is_told(project: Path) -> None:
    said = rename.rename(project, NEW.text)
    assert ".local" not in said
    assert "make destroy" not in said
    git(project, "reset", "--quiet", "--hard")
    (project / ".git" / "info" / "exclude").write_text("/.local/")
    (project / ".local" / "cluster" / OLD.text).mkdir(parents=True)
    (project / ".local" / "postgres").mkdir()
    said = rename.rename(project, NEW.text)
    assert f"`CLUSTER={OLD.text} make destroy`" in said
    assert f"`{rename.AFRESH}`" in said


@pytest.mark.parametrize(
    "through",
    [
        (NEW.text,),
        (SINGLE.text,),
        (SINGLE.text, NEW.text),
        (f"{OLD.text}-too", SINGLE.text),
        (EXAMPLES[0],),
        (*EXAMPLES, SINGLE.text),
        (f"{EXAMPLES[0]}-{SINGLE.text}", EXAMPLES[0]),
    ],
)
def test_renamed_again_and_back_it_is_as_before(project: Path, through: tuple[str, ...]) -> None:
    before = state(project)
    for name in (*through, OLD.text):
        rename.rename(project, name)
        commit(project, name)
        texts = " ".join(text.decode(errors="replace") for text in state(project).values())
        # what the page tells people to type is not refused
        (example,) = re.findall("make rename NAME=([a-z]+)", texts)
        assert example == EXAMPLES[name == EXAMPLES[0]]
    assert state(project) == before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "Say which name, as in `make rename NAME="),
        ("Zebra", "'Zebra' can't be the name: up to"),
        ("ze_bra", "'ze_bra' can't be the name"),
        ("ze bra", "'ze bra' can't be the name"),
        ("1zebra", "'1zebra' can't be the name"),
        ("zebra-", "'zebra-' can't be the name"),
        ("ze--bra", "'ze--bra' can't be the name"),
        ("zebra\n", r"'zebra\\n' can't be the name"),
        ("zébra", "'zébra' can't be the name"),
        ("../zebra", "'../zebra' can't be the name"),
        ("z" * (LONGEST + 1), "can't be the name: up to 24 lower-case letters"),
        (OLD.text, "oldy-thing is the project's name: choose another one."),
        ("default", "default is a namespace of Kubernetes' own"),
        ("kube-zebra", "kube-zebra is a namespace of Kubernetes' own"),
        ("secrets", "secrets is taken: it stands in README.md:3"),
        ("values", "values is taken: it stands in oldy-thing/values.yaml, and"),
        ("project", "project is taken: it stands in pyproject.toml:1"),
    ],
)
def test_a_name_that_can_not_be_is_one_sentence(project: Path, name: str, reason: str) -> None:
    assert re.search(reason, refused(project, name))


def test_the_longest_name_is_one(project: Path) -> None:
    rename.rename(project, "z" * LONGEST)
    assert ("z" * LONGEST).encode() in state(project)["README.md"]


@pytest.mark.parametrize("cluster", ["zebra", "zebra-e2e"])
def test_the_name_of_a_kind_cluster_of_this_machine_is_taken(
    project: Path, kind: Path, cluster: str
) -> None:
    kind.write_text(f"another\n{cluster}\nzebra-3\n")
    assert refused(project, "zebra").startswith(f"This machine has a kind cluster {cluster} ")
    kind.write_text("another\nzebra-3\n")
    assert rename.rename(project, "zebra")


def test_what_is_not_committed_is_in_the_way(project: Path) -> None:
    (project / "README.md").write_text("mine")
    assert refused(project, NEW.text).startswith("README.md is not committed, and ")
    git(project, "restore", ".")
    (project / "mine.txt").write_text("mine")
    said = refused(project, NEW.text)
    assert said.startswith("mine.txt is not committed, and ")
    (command,) = re.findall("`git (stash [^`]+)`", said)
    git(project, *command.split())
    assert rename.rename(project, NEW.text)


def test_a_folder_that_git_does_not_know_has_to_be_committed_first(
    project: Path, tmp_path: Path
) -> None:
    (project / ".git").rename(tmp_path / "elsewhere")
    said = refused(project, NEW.text)
    assert said.startswith(f"{project} is no work tree of git, which can undo it: ")
    (commands,) = re.findall("`(git init .*)`", said)
    subprocess.run(["sh", "-c", commands], cwd=project, env=ENVIRONMENT, check=True)
    assert rename.rename(project, NEW.text)


def test_a_file_of_the_new_name_is_in_the_way(project: Path) -> None:
    (project / ".git" / "info" / "exclude").write_text(NEW.text)
    (project / NEW.text).mkdir()
    (project / NEW.text / "values.yaml").write_text("mine")
    assert refused(project, NEW.text).startswith(f"{NEW.text}/values.yaml is there already")


def test_code_that_can_not_be_formatted_changes_nothing(project: Path) -> None:
    (project / "code.py").write_text(f"this is no Python: {OLD.text}\n")
    commit(project, "break it")
    assert refused(project, NEW.text).startswith(
        "Under that name ruff fails: error: Failed to parse code.py:1:"
    )


def test_what_can_not_be_written_to_the_end_is_undone(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        if path == project / "pyproject.toml":
            raise OSError("no space left")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    assert refused(project, NEW.text) == "It could not be written, and is undone: no space left"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Return a function that renames a copy of this project, as it stands here."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in names.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    git(folder, "init", "--quiet")
    commit(folder, "begin")

    def to(name: str) -> Path:
        git(folder, "reset", "--quiet", "--hard")
        rename.rename(folder, name)
        return folder

    yield to


def own_name() -> Name:
    (name,) = re.findall('(?m)^name = "([a-z0-9-]+)"$', (ROOT / "pyproject.toml").read_text())
    return Name(name)


OWN = own_name()
EXAMPLE = EXAMPLES[OWN.text == EXAMPLES[0]]
#: As long as a name can be, and not the project's own.
LONG = next(one for one in ("m" * LONGEST, "n" * LONGEST) if one != OWN.text)

PYTHON = [sys.executable, "-B", "-m"]
RUFF = [*PYTHON, "ruff"]
#: What a name's length and spelling could break, and takes no longer than a moment.
QUICK = [
    [*RUFF, "check", "--no-cache", "."],
    [*RUFF, "format", "--no-cache", "--check", "."],
    [
        *PYTHON,
        "yamllint",
        "--strict",
        "chart/values.yaml",
        "tools/cluster",
        "docs",
        "kind-config.yaml",
    ],
    [
        *(*PYTHON, "pytest", "-p", "no:cacheprovider", "-k", "test_docs or made or forty"),
        *("tests/template/test_chart_docs.py", "tests/chart/test_names.py"),
    ],
]


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("name", [LONG, EXAMPLE])
def test_the_project_itself_has_the_longest_name_and_that_of_the_pages(
    copy: Callable[[str], Path], name: str
) -> None:
    """Nothing is left of the old one, and what depends on names is right."""
    folder, new = copy(name), Name(name)
    texts = {path: text.decode(errors="replace") for path, text in state(folder).items()}
    shown = EXAMPLES[name == EXAMPLES[0]]
    assert f"(NAME={shown})" in texts["Makefile"]
    # the old one may be made of the new one and a word that stands beside it somewhere
    spared = re.compile(f"NAME={shown}|{new.text}")
    others = {path: spared.sub("", text) for path, text in texts.items()}
    left = {path for path, text in others.items() if OWN.text in text or OWN.database in text}
    assert left <= set(LEFT_ALONE)
    assert sum(new.text in text for text in texts.values()) > 100
    for command in QUICK:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("kind")
def test_a_word_of_the_project_itself_is_taken(copy: Callable[[str], Path]) -> None:
    for word in ("notes", "keeper", "service", "postgres", "app"):
        with pytest.raises(Refused, match=f"{word} is taken: it stands in "):
            copy(word)
