"""What the end-to-end tests took in the last whole run, and what they may take.

`budgets.toml` names groups of tests, with the seconds that each of them may take.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
BUDGETS: Final = Path(__file__).with_name("budgets.toml")
#: What the last whole run took, in seconds by group.
RECORD: Final = ROOT / ".local" / "e2e.json"

#: So many groups are named at the end of a run.
LONGEST: Final = 10


def budgets() -> dict[str, int]:
    """Return the seconds that each group may take, by the beginning of its tests' names."""
    return {str(name): int(seconds) for name, seconds in _read(BUDGETS)["seconds"].items()}


def group_of(test: str, groups: Iterable[str]) -> str:
    """Return the group of a test: the longest name with which the test's begins.

    :raises ValueError: no group has it.
    """
    name = test.rpartition("tests/e2e/")[2]
    found = [group for group in groups if name.startswith(group)]
    if not found:
        raise ValueError(f"{name} is in no group: name its file in {BUDGETS.relative_to(ROOT)}")
    return max(found, key=len)


class Record:
    """What each group took, from the reports of its tests."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        #: What the clusters took until the service answered, in all.
        self.deployed = 0.0

    def add(self, report: pytest.TestReport) -> None:
        """Take a part of a test: its beginning, the test itself, or its end."""
        group = group_of(report.nodeid, budgets())
        taken = report.duration
        deployed = dict(report.user_properties).get(DEPLOYED)
        if report.when == "setup" and isinstance(deployed, float):
            self.deployed += deployed
            taken -= deployed
        self.seconds[group] = self.seconds.get(group, 0) + taken

    def longest(self) -> list[tuple[str, float]]:
        """Return the groups that took longest, the longest first."""
        return sorted(self.seconds.items(), key=lambda one: -one[1])[:LONGEST]

    def write(self) -> None:
        """Keep it for the test that compares it with the budgets."""
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(self.seconds, indent=2) + os.linesep)


#: Under this name a test's report has what the cluster took that it began with.
DEPLOYED: Final = "deployed_seconds"


def _read(path: Path) -> dict[str, dict[str, int]]:
    with path.open("rb") as file:
        return tomllib.load(file)
