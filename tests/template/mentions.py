"""What texts of a repository name that is not there: files, folders, modules, targets of make."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.git import ENVIRONMENT

_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def tracked(root: Path) -> list[str]:
    """Return the paths of the files that git knows in a work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, env=ENVIRONMENT, capture_output=True, check=True
    )
    return [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]


def targets(root: Path) -> set[str]:
    """Return the targets of a Makefile that people type."""
    return set(re.findall(r"(?m)^([a-z][a-z0-9-]*):", (root / "Makefile").read_text("utf-8")))


def dead(root: Path, of: Path) -> list[str]:
    """Return each mention of what is not in `root`, as `file:line: name`.

    :param of: the tree that `root` was made from: whatever `root` lacks of it is looked for.
    """
    here, there = tracked(root), tracked(of)
    gone = set(there) - set(here)
    folders = _folders(gone) - _folders(here)
    names = {
        *(name for name in _names(gone) - _names(here) if "." in name),
        *(module.replace("/", ".").removesuffix(".py") for module in _code(gone) | folders),
        *(f"make {target}" for target in targets(of) - targets(root)),
        *(target for target in targets(of) - targets(root) if "-" in target),
        *(gone | folders),
    }
    names = {name for name in names if re.search(r"[./ -]", name)}
    word = re.compile(
        rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(names, key=_long)))})(?![\w-])"
    )
    found = []
    for path in here:
        for number, line in enumerate(_lines(root / path), 1):
            # a link is checked where it leads
            text = re.sub(r"\]\([^)]*\)", "]", line) if path.endswith(".md") else line
            if match := word.search(text):
                found.append(f"{path}:{number}: {match[0]}")
            found += [f"{path}:{number}: {link}" for link in _dead_links(root, path, line)]
    return found


def _long(name: str) -> tuple[int, str]:
    return -len(name), name


def _names(paths: Iterable[str]) -> set[str]:
    return {path.rpartition("/")[2] for path in paths}


def _folders(paths: Iterable[str]) -> set[str]:
    return {str(folder) for path in paths for folder in Path(path).parents if folder != Path()}


def _code(paths: Iterable[str]) -> set[str]:
    return {path for path in paths if path.endswith(".py")}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:  # a picture
        return []


def _dead_links(root: Path, page: str, line: str) -> Iterator[str]:
    if page.endswith(".md"):
        for link in _LINK.findall(line):
            if "://" not in link and not leads_somewhere(root / page, link):
                yield link


def leads_somewhere(page: Path, link: str) -> bool:
    """Return whether what a page links to is there, and the heading, where one is named."""
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """Return what GitHub makes of the page's headings, and the anchors that stand in it."""
    text = page.read_text("utf-8")
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    made = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    return made | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
