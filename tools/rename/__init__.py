"""Makes a starter of the template: another name, and nothing that is about the template alone.

The name is replaced in every tracked text and file name. The present one is `[project] name` in
pyproject.toml, so that a renamed project can be renamed again. It stands in two forms: `one-name`
for the chart, the image, the release, the namespace, the cluster and the texts, `one_name` for the
database and its roles. The Python package stays `app`, LICENSE says whose work it was, and a
picture goes on showing what it shows.

`starter.py` has what is left out. A project from which that is gone only gets another name.

All of it is worked out in a scratch folder, and written when it is whole.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .starter import left_out

ROOT: Final = Path(__file__).parents[2]

#: What DNS, Docker, kind, Helm and PostgreSQL all take.
SYNTAX: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: The longest one with which names made of it stay whole, and lines of code within their 100.
LONGEST: Final = 24
RESERVED: Final = re.compile(r"default|kube-.*")

#: `NAME=` followed by one of these is an example in a text. The second one is for the project that
#: has the first one's name.
EXAMPLES: Final = ("orders", "parcels")
_EXAMPLE: Final = rf"NAME=(?P<example>{'|'.join(EXAMPLES)})(?![A-Za-z0-9_-])"

#: Not for this program to change: the examples, and whose work it was.
LEFT_ALONE: Final = ("tools/rename/__init__.py", "LICENSE")

#: What `make run` has kept under the old name can't be used under another; clusters' files can.
AFRESH: Final = "rm -rf .local/postgres .local/secrets .local/database-admin"
UNDO: Final = "git restore --staged --worktree ."

# a letter that belongs to what stands before: \b and \n of an expression, %3D of a URL
_BEGINS: Final = r"(?:(?<=\\[bnrt])|(?<=%[0-9A-F][0-9A-F])|(?<![A-Za-z0-9{more}]))"


class Refused(Exception):
    """It can't be renamed so; the message is a sentence that says why, and what to do."""


@dataclass(frozen=True)
class Name:
    """A project's name, in its two forms."""

    text: str

    @property
    def database(self) -> str:
        """The form for PostgreSQL, which always has an underscore: so the two stay apart."""
        return self.text.replace("-", "_") if "-" in self.text else f"{self.text}_db"

    def pattern(self) -> re.Pattern[str]:
        """Return what finds both, where each stands as a word or as the first part of a name."""
        hyphens = _BEGINS.format(more="_") + f"(?P<text>{self.text})(?![A-Za-z0-9_])"
        underscores = _BEGINS.format(more="") + f"(?P<database>{self.database})(?![A-Za-z0-9])"
        return re.compile("|".join((_EXAMPLE, underscores, hyphens)))


def renamed(text: str, old: Name, new: Name) -> str:
    """Return a text with one name in the place of the other."""
    if not any(word in text for word in ("NAME=", old.text, old.database)):
        return text  # as most texts are; the pattern looks at every letter
    # the example never is the project's own name
    swaps = (old.text == EXAMPLES[0]) != (new.text == EXAMPLES[0])

    def replacement(found: re.Match[str]) -> str:
        if example := found["example"]:
            return "NAME=" + (EXAMPLES[1 - EXAMPLES.index(example)] if swaps else example)
        return new.text if found["text"] else new.database

    return old.pattern().sub(replacement, text)


def rename(root: Path, name: str, labs: bool = False) -> str:
    """Make a starter of the project in a folder, and return what to tell its user.

    :param labs: keep the workshop's labs.
    :raises Refused: it can't be; then nothing is changed.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    old = Name(project["name"])
    new = Name(name)
    _check_name(old, new)
    _check_tree(root)
    _check_clusters(new)
    before = _texts(root)
    omitted = left_out(root, ("labs",) if labs else ())
    kept = omitted.starter(before) if omitted else before
    for path, text in kept.items():
        _check_taken(path, text, old, new)
    with tempfile.TemporaryDirectory() as folder:
        after = _formatted(Path(folder), before, kept, old, new)
    tracked = _tracked(root)
    removed = [path for path in tracked if omitted and path in omitted]
    paths = {path: renamed(path, old, new) for path in tracked if path not in removed}
    moved = {path: other for path, other in paths.items() if path != other}
    if clash := sorted(other for other in moved.values() if (root / other).exists()):
        raise Refused(f"{clash[0]} is there already: choose another name.")
    changed = {path: text for path, text in after.items() if text != before[path]}
    _write(root, changed, moved, removed)
    what = [
        f"{old.text} is called {new.text} now, and its database {new.database}: "
        f"{len(changed)} files are changed.",
        *(f"{path} is {other} now." for path, other in moved.items()),
    ]
    if removed:
        what += _removal(removed, labs)
    return "\n".join([*what, *_rest(root, old)])


def _check_name(old: Name, new: Name) -> None:
    example = EXAMPLES[old.text == EXAMPLES[0]]
    if not new.text:
        raise Refused(f"Say which name, as in `make rename NAME={example}`.")
    if not SYNTAX.fullmatch(new.text) or len(new.text) > LONGEST:
        raise Refused(
            f"{new.text!r} can't be the name: up to {LONGEST} lower-case letters, digits and single"
            f" hyphens, a letter first and no hyphen last, as in `make rename NAME={example}`."
        )
    if new == old:
        raise Refused(f"{new.text} is the project's name: choose another one.")
    if RESERVED.fullmatch(new.text):
        raise Refused(f"{new.text} is a namespace of Kubernetes' own: choose another name.")


def _check_tree(root: Path) -> None:
    """See that git can undo it."""
    try:
        changes = _git(root, "status", "--porcelain", "--", ".")
        tracked = _git(root, "ls-files", "--", "pyproject.toml")
    except FileNotFoundError:
        raise Refused("git is missing, which can undo it: https://git-scm.com/downloads") from None
    except subprocess.CalledProcessError:
        tracked = changes = ""
    if not tracked:
        raise Refused(
            f"{root} is no work tree of git, which can undo it: "
            "`git init && git add --all && git commit --message 'Begin'`, then again."
        )
    if changes:
        raise Refused(
            f"{changes.splitlines()[0][3:]} is not committed, and could not be told from what is "
            "renamed: `git commit` or `git stash --include-untracked`, then again."
        )


def _check_clusters(new: Name) -> None:
    """See that no kind cluster of this machine has the name."""
    command = ("kind", "get", "clusters")
    try:
        asked = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return
    for cluster in (new.text, f"{new.text}-e2e"):
        if cluster in asked.stdout.split():
            raise Refused(
                f"This machine has a kind cluster {cluster} already: choose another name, or remove"
                f" it with `kind delete cluster --name {cluster}`."
            )


def _check_taken(path: str, text: str, old: Name, new: Name) -> None:
    """See that what the new name makes of a text can be told apart again, and so of its path."""

    def is_told_apart(part: str) -> bool:
        return renamed(renamed(part, old, new), new, old) == part

    if is_told_apart(f"{path}\n{text}"):
        return  # at once, which is much quicker than line by line
    for number, line in enumerate((path, *text.splitlines())):
        if not is_told_apart(line):
            place = f"{path}:{number}" if number else path
            raise Refused(
                f"{new.text} is taken: it stands in {place}, and could not be told from the"
                " project's name later; choose another one."
            )


def _tracked(root: Path) -> list[str]:
    return [name for name in _git(root, "ls-files", "-z").split("\0") if name]


def _texts(root: Path) -> dict[str, str]:
    """Return the tracked files that are text, by their paths, but for what is left alone."""
    texts = {}
    for name in _tracked(root):
        path = root / name
        if name in LEFT_ALONE or path.is_symlink() or not path.is_file():
            continue
        try:
            texts[name] = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue  # a picture
    return texts


def _formatted(
    folder: Path, before: dict[str, str], kept: dict[str, str], old: Name, new: Name
) -> dict[str, str]:
    """Return every text under the new name: formatted, for lines have other lengths now."""
    after = {path: renamed(text, old, new) for path, text in kept.items()}
    for name, text in after.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    code = [name for name, text in after.items() if name.endswith(".py") and text != before[name]]
    if code:
        _run(folder, "ruff", "format", "--no-cache", "--", *code)
    if (folder / "chart" / "docs.py").exists():
        _run(folder, "chart.docs")
    return {name: (folder / name).read_bytes().decode() for name in kept}


def _run(folder: Path, *module: str) -> None:
    """Run a module of this environment in a folder."""
    # what it compiles belongs to nobody
    command = [sys.executable, "-B", "-m", *module]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise Refused(f"Under that name {module[0]} fails: {said}")


def _write(root: Path, changed: dict[str, str], moved: dict[str, str], removed: list[str]) -> None:
    """Write all of it; what can't be finished is undone."""
    try:
        if removed:
            _git(root, "rm", "--quiet", "--", *removed)
        for path, text in changed.items():
            (root / path).write_bytes(text.encode())
        for path, other in moved.items():
            (root / other).parent.mkdir(parents=True, exist_ok=True)
            _git(root, "mv", path, other)
    except BaseException as problem:
        _git(root, *UNDO.split()[1:])
        if isinstance(problem, OSError | subprocess.CalledProcessError):
            raise Refused(f"It could not be written, and is undone: {problem}") from None
        raise


def _removal(removed: list[str], labs: bool) -> Iterator[str]:
    """Tell what is left out: so many files of each folder, and two pages that begin anew."""
    yield f"{len(removed)} files that are about the template alone are left out:"
    folders = Counter(path.rpartition("/")[0] or "." for path in removed)
    yield from (f"  {number:>3} {folder}" for folder, number in sorted(folders.items()))
    if not labs:
        yield "So are the workshop's labs, which `WORKSHOP=1` keeps."
    yield "README.md and CHANGELOG.md begin anew: README.md says which files are yours."


def _rest(root: Path, old: Name) -> Iterator[str]:
    """Tell what is as it was, and what to do next."""
    yield "Pictures stay as they are, and so does LICENSE."
    if (root / ".local" / "cluster" / old.text).is_dir():
        yield f"The old name's cluster is still there: `CLUSTER={old.text} make destroy`."
    if (root / ".local" / "postgres").is_dir():
        yield f"`make run` has a database of the old name; afresh, without notes: `{AFRESH}`."
    yield f"Next: `git diff HEAD`, `make test`, `git commit --all`. `{UNDO}` undoes it."


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
