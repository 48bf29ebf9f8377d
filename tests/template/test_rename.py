"""`make rename`: the starter that it makes, what it refuses, and that it can be run again."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.git import ENVIRONMENT, commit, git
from tests.template.clone import ROOT, copy_project
from tests.template.mentions import dead
from tools import rename
from tools.rename import EXAMPLES, LEFT_ALONE, LONGEST, Name, Refused
from tools.rename.starter import FOLDER, left_out

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


#: A small template, with what its starter leaves out.
TEMPLATE = {
    **FILES,
    "Makefile": "test:\n\tpytest\n\npicture:\n\tdraw\n",
    "docs/guide.md": "One ([a](claims.md)). Two ([a](claims.md#it), [b](../code.py)).\n",
    "docs/claims.md": "# Claims\n",
    "labs/one.md": "# Lab one\n",
    f"{FOLDER}/README.md": f"# {OLD.text} begins\n",
    f"{FOLDER}/left_out.toml": f"""
[template]
paths = ["docs/claims.md", "picture.png", "{FOLDER}"]
edits = [
    {{file = "Makefile", find = '\\n(pict)ure:\\n\\t.*\\n', put = '# \\1\\n'}},
    {{file = "labs/one.md", find = 'one', put = 'two'}},
]
[labs]
paths = ["labs"]
edits = []
""",
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
    return repository(tmp_path / "project", FILES)


@pytest.fixture
def template(tmp_path: Path, kind: Path) -> Path:
    """Return a small template in a repository of git."""
    return repository(tmp_path / "template", TEMPLATE)


def repository(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
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


def test_starter_is_without_what_is_about_the_template(template: Path) -> None:
    said = rename.rename(template, NEW.text)
    after = {path: text.decode() for path, text in state(template).items()}
    names = {name.replace(OLD.text, NEW.text) for name in FILES}
    assert after.keys() == {*names, "Makefile", "docs/guide.md"}
    assert after["README.md"] == f"# {NEW.text} begins\n"
    assert after["Makefile"] == "test:\n\tpytest\n# pict\n"
    assert after["docs/guide.md"] == "One. Two ([a](claims.md#it), [b](../code.py)).\n"
    assert "5 files that are about the template alone are left out:" in said
    assert re.search(rf"(?m)^ +1 docs\n +1 labs\n +2 {FOLDER}$", said)
    assert "`WORKSHOP=1` keeps" in said


def test_labs_are_kept_on_request(template: Path) -> None:
    said = rename.rename(template, NEW.text, labs=True)
    assert (template / "labs/one.md").read_text() == "# Lab two\n"
    assert "WORKSHOP" not in said


def test_command_that_it_says_brings_back_what_was_left_out(template: Path) -> None:
    before = state(template)
    (command,) = re.findall("`git (restore [^`]+)`", rename.rename(template, NEW.text))
    git(template, *command.split())
    assert state(template) == before


def test_starter_only_gets_another_name(template: Path) -> None:
    rename.rename(template, NEW.text)
    commit(template, "begin")
    (template / "README.md").write_text(f"# My own words about {NEW.text}\n")
    commit(template, "write")
    before = state(template)
    said = rename.rename(template, SINGLE.text)
    assert "left out" not in said
    assert len(state(template)) == len(before)
    assert (template / "README.md").read_text() == f"# My own words about {SINGLE.text}\n"


def own_name() -> Name:
    (name,) = re.findall('(?m)^name = "([a-z0-9-]+)"$', (ROOT / "pyproject.toml").read_text())
    return Name(name)


OWN = own_name()
EXAMPLE = EXAMPLES[OWN.text == EXAMPLES[0]]
#: As long as a name can be, and not the project's own.
LONG = next(one for one in ("m" * LONGEST, "n" * LONGEST) if one != OWN.text)


@dataclass(frozen=True)
class Starter:
    """What was made of a copy of this project, and what was said of it."""

    folder: Path
    name: str
    labs: bool
    said: str


@pytest.fixture(scope="module", params=[(LONG, False), (EXAMPLE, True)], ids=["long", "labs"])
def starter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Starter:
    """Make a starter with the longest name, and one with that of the pages and the labs."""
    name, labs = request.param
    folder = tmp_path_factory.mktemp("starter")
    copy_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rename, "_check_clusters", lambda name: None)
        return Starter(folder, name, labs, rename.rename(folder, name, labs=labs))


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
        *(*PYTHON, "pytest", "-p", "no:cacheprovider", "-k", "made or forty"),
        "tests/chart/test_names.py",
    ],
]


def test_starter_has_nothing_of_the_old_name(starter: Starter) -> None:
    """And what depends on names is right."""
    folder, name, new = starter.folder, starter.name, Name(starter.name)
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
def test_a_word_of_the_project_itself_is_taken(tmp_path: Path) -> None:
    copy_project(tmp_path / "copy")
    for word in ("keeper", "postgres"):
        with pytest.raises(Refused, match=f"{word} is taken: it stands in "):
            rename.rename(tmp_path / "copy", word)


def test_everything_in_the_list_applies() -> None:
    omitted = left_out(ROOT)
    assert omitted
    assert [path for path in omitted.paths if not (ROOT / path).exists()] == []
    texts = {edit.file: (ROOT / edit.file).read_text("utf-8") for edit in omitted.edits}
    for edit in omitted.edits:
        text = texts[edit.file]
        texts[edit.file] = edit.applied(text)
        # that it may have been made unnecessary by one before it is the same fault
        assert texts[edit.file] != text, edit


def test_starter_mentions_nothing_that_it_is_without(starter: Starter) -> None:
    assert (starter.folder / "docs" / "workshop").exists() is starter.labs
    assert dead(starter.folder, ROOT) == []


def test_mention_of_what_is_not_there_is_found(tmp_path: Path) -> None:
    """The control."""
    template = repository(tmp_path / "template", TEMPLATE | {"labs/tool.py": "pass\n"})
    starter = repository(tmp_path / "starter", FILES | {"Makefile": "test:\n\tpytest\n"})
    names = ["docs/claims.md", "claims.md", "labs/one.md", "labs/tool.py", "labs.tool"]
    for name in (*names, "make picture"):
        (starter / "code.py").write_text(f"# as in {name}\n")
        assert dead(starter, template) == [f"code.py:1: {name}"]
    (starter / "code.py").write_text("\n")
    (starter / "README.md").write_text("See [it](docs/claims.md#it).\n")
    assert dead(starter, template) == ["README.md:1: docs/claims.md#it"]
    (starter / "README.md").write_text("# It\n\nSee [it](LICENSE), [it](#it), [that](#that).\n")
    assert dead(starter, template) == ["README.md:3: #that"]
    (starter / "README.md").write_text("See [it](LICENSE).\n")
    for name in ("reclaims.md", "make pictures", "labs.toolbox"):
        (starter / "code.py").write_text(f"# as in {name}\n")
        assert dead(starter, template) == []


def test_it_says_what_it_did_on_one_screen(starter: Starter) -> None:
    assert len(starter.said.splitlines()) <= 24


def test_pages_of_a_starter_are_short_and_name_this_version() -> None:
    pages = {
        name: (ROOT / FOLDER / name).read_text("utf-8") for name in ("README.md", "CHANGELOG.md")
    }
    assert len(pages["README.md"].split()) <= 250
    (version,) = re.findall(r'(?m)^version = "(.*)"$', (ROOT / "pyproject.toml").read_text())
    assert f"the template's version {version}." in pages["CHANGELOG.md"]
