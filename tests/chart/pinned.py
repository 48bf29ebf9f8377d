"""Writes a copy of the chart that has the default values of tests/chart/values.yaml.

The tests of the chart use this copy, so that they do not depend on the defaults in
chart/values.yaml. Values that only chart/values.yaml has keep their defaults.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import yaml

from chart import docs

PINNED: Final = Path(__file__).with_name("values.yaml")


def leaves() -> list[str]:
    """Return the dotted paths of the values in chart/values.yaml that are pinned."""
    return [path for path, *_ in _pinned()]


def write_chart(folder: Path) -> None:
    """Write the copy into a folder that does not exist yet."""
    shutil.copytree(docs.FOLDER, folder)
    values = yaml.safe_load((docs.FOLDER / "values.yaml").read_text("utf-8"))
    for path, value in _pinned():
        *above, last = path.split(".")
        inner = values
        for name in above:
            inner = inner[name]
        inner[last] = value
    (folder / "values.yaml").write_text(yaml.safe_dump(values, sort_keys=False), "utf-8")


def _pinned() -> list[tuple[str, object]]:
    pinned = yaml.safe_load(PINNED.read_text("utf-8"))
    found = []
    for path in docs.leaves((docs.FOLDER / "values.yaml").read_text("utf-8")):
        *above, last = path.split(".")
        inner = pinned
        for name in above:
            inner = inner.get(name, {})
        if last in inner:
            found.append((path, inner[last]))
    return found


if __name__ == "__main__":
    write_chart(Path(sys.argv[1]))
