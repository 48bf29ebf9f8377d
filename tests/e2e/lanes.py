"""Lanes: groups of tests that run side by side, each lane with a cluster of its own.

`budgets.toml` names the groups, with the seconds that each of them takes. The groups are dealt out
so that all lanes take the same time; within a lane one test follows the other, as before.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

ROOT: Final = Path(__file__).parents[2]
BUDGETS: Final = Path(__file__).with_name("budgets.toml")
#: What the last whole run took, in seconds by group.
RECORD: Final = ROOT / ".local" / "e2e.json"

#: So many groups are named at the end of a run.
LONGEST: Final = 10
#: A group may take this share of its budget before it is named, as machines drift.
TOLERANCE: Final = 1.5


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


def deal(seconds: Mapping[str, float], lanes: int) -> dict[str, int]:
    """Deal groups out to lanes, the longest first, each to the lane that has least so far.

    :param seconds: what each group takes.
    :return: the number of each group's lane, from 0 on.
    """
    loads = [0.0] * lanes
    dealt = {}
    for group in sorted(seconds, key=lambda group: (-seconds[group], group)):
        lane = loads.index(min(loads))
        loads[lane] += seconds[group]
        dealt[group] = lane
    return dealt


def over_budget(taken: Mapping[str, float], allowed: Mapping[str, float]) -> dict[str, str]:
    """Return what each group took and may take, of those that took far too long."""
    return {
        group: f"{seconds:.0f} s, not {allowed[group]}"
        for group, seconds in taken.items()
        if group in allowed and seconds > TOLERANCE * allowed[group]
    }


def last_run() -> dict[str, float]:
    """Return what each group took in the last whole run of this folder; nothing without one."""
    return dict(json.loads(RECORD.read_text())) if RECORD.exists() else {}


class Lanes(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each worker of pytest-xdist one lane, once it is known which tests were chosen."""

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        self._lanes: dict[str, int] = {}

    def schedule(self) -> None:
        """Deal out what was collected, before the first test is sent."""
        if not self._lanes:
            allowed = budgets()
            tests = next(iter(self.registered_collections.values()))
            groups = {group_of(test, allowed) for test in tests}
            self._lanes = deal({group: allowed[group] for group in groups}, self.numnodes)
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return str(self._lanes[group_of(nodeid, self._lanes)])


class Record:
    """What each group took, from the reports of its tests."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        #: What the clusters took until the service answered, one after the other.
        self.deployments: list[float] = []

    def add(self, report: pytest.TestReport) -> None:
        """Take a part of a test: its beginning, the test itself, or its end."""
        group = group_of(report.nodeid, budgets())
        taken = report.duration
        deployed = dict(report.user_properties).get(DEPLOYED)
        if report.when == "setup" and isinstance(deployed, float):
            self.deployments.append(deployed)
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
