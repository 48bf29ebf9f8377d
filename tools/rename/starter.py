"""What a starter leaves out: the folder beside this module lists it, and has its first pages."""

from __future__ import annotations

import posixpath
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Without this folder the project is a starter already, and only gets another name.
FOLDER: Final = "/".join(("tools", "rename", "starter"))

# A citation: one link or several, in parentheses and behind a blank.
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]*)\)")
_CITATION: Final = re.compile(rf"\s\({_LINK.pattern}(?:,\s{_LINK.pattern})*\)")


@dataclass(frozen=True)
class Edit:
    """One change to a file that stays: `put` replaces what the expression `find` matches."""

    file: str
    find: str
    put: str = ""

    def applied(self, text: str) -> str:
        """Return the text after the change; without a match it stays as it is."""
        return re.sub(self.find, lambda found: found.expand(self.put), text)


@dataclass(frozen=True)
class LeftOut:
    """What is about the template alone: files, folders, and a few texts in other files."""

    paths: tuple[str, ...]
    edits: tuple[Edit, ...]

    def __contains__(self, path: str) -> bool:
        """Return whether a file is left out, by its path from the root."""
        return any(path == one or path.startswith(f"{one}/") for one in self.paths)

    def starter(self, texts: dict[str, str]) -> dict[str, str]:
        """Return the texts of a starter, by path, out of those of the template."""
        kept = {path: text for path, text in texts.items() if path not in self}
        for path, text in texts.items():
            folder, _, name = path.rpartition("/")
            if folder == FOLDER and name in kept:
                kept[name] = text
        for edit in self.edits:
            if edit.file in kept:
                kept[edit.file] = edit.applied(kept[edit.file])
        return {
            path: self._without_citations(path, text) if path.endswith(".md") else text
            for path, text in kept.items()
        }

    def _without_citations(self, page: str, text: str) -> str:
        """Remove the citations that name left-out files alone."""

        def citation(found: re.Match[str]) -> str:
            links = (link.partition("#")[0] for link in _LINK.findall(found[0]))
            targets = [posixpath.normpath(posixpath.join(page, "..", link)) for link in links]
            return "" if all(target in self for target in targets) else found[0]

        return _CITATION.sub(citation, text)


def left_out(root: Path, keep: Iterable[str] = ()) -> LeftOut | None:
    """Read the list; None in a starter.

    :param keep: names of the list's parts that are not left out.
    """
    lists = [file.read_text("utf-8") for file in (root / FOLDER).glob("*.toml")]
    if not lists:
        return None
    parts = tomllib.loads("\n".join(lists))
    for name in keep:
        del parts[name]
    return LeftOut(
        tuple(path for part in parts.values() for path in part["paths"]),
        tuple(Edit(**edit) for part in parts.values() for edit in part["edits"]),
    )
