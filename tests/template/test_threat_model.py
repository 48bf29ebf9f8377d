"""docs/threat-model.md names tests, places and leaks that are there, and hides no remainder."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.planted.everything import EVERYTHING
from tools.leakscan.places import PLACES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
#: What is said of each attacker, by the heading.
ATTACKERS = dict(re.findall(r"(?ms)^## (.*?)\n(.*?)(?=^## |\Z)", PAGE))

#: Codes in a row, as in `a`, `b`, `c`.
LIST = r"((?:`[^`]+`(?:,\s+)?)+)"


def listed(after: str) -> list[str]:
    """Return the codes of each list that follows these words, which may be a regular expression."""
    found = re.findall(rf"\b{after}\s+{LIST}", PAGE)
    return [code for codes in found for code in re.findall("`([^`]+)`", codes)]


def test_every_attacker_has_what_stops_them_and_what_remains() -> None:
    assert len(ATTACKERS) > 12
    for attacker, text in ATTACKERS.items():
        said = re.findall(r"(?m)^\*\*(.*?)\.\*\* \w", text)
        assert said == ["Reach", "Stopped by", "Remains"], attacker


def test_every_attacker_stands_in_the_table() -> None:
    linked = re.findall(r"(?m)^\| \[.*?\]\(#(.*?)\) \| \w", PAGE)
    made = [re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in ATTACKERS]
    assert linked == made


def test_every_test_stands_where_it_is_linked_to() -> None:
    links = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", PAGE)
    assert len(links) > 30
    assert {name for name, _ in links} == set(re.findall(r"\btest_\w+(?=`)", PAGE))
    sources = {file: (ROOT / "docs" / file).read_text("utf-8") for _, file in links}
    assert [name for name, file in links if f"def {name}(" not in sources[file]] == []


def test_every_place_is_one_and_every_group_is_named() -> None:
    named = set(listed("[Pp]laces?"))
    assert named - {str(place) for place in PLACES} == set()
    assert {place.group for place in PLACES} == {place.partition(":")[0] for place in named}


def test_every_planted_leak_is_one() -> None:
    named = listed("planted as")
    assert len(named) > 30
    assert set(named) - {plant.name for plant in EVERYTHING} == set()


def test_what_the_image_installs_is_pinned_with_its_hash() -> None:
    install = r"(?m)pip(?: --\S+ \S+)? install((?:[^\n]*\\\n)*[^\n]*)"
    installs = re.findall(install, _text("Dockerfile"))
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "-r /tmp/requirements.txt" in installs[0]
    lock = _text("requirements/service.txt")
    pinned = re.findall(r"(?m)^[\w.\[\]-]+==(?:[^\n]*\\\n)*[^\n]*", lock)
    assert len(pinned) > 10
    assert [one for one in pinned if "--hash=sha256:" not in one] == []


def _text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")
