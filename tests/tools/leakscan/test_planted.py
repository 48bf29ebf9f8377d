"""Every place of the leak scan has a leak that is planted in it."""

from __future__ import annotations

from tests.e2e.planted import PLANTS, everything
from tools.leakscan.places import GROUPS, PLACES

NAMES = [str(place) for place in PLACES]


def test_every_place_has_a_planted_leak() -> None:
    assert len(NAMES) > 30
    assert {plant.place for plant in everything.EVERYTHING} == set(NAMES)


def test_every_place_and_every_plant_is_taken_once() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert sorted(map(id, everything.EVERYTHING)) == sorted(map(id, PLANTS))
    assert len({plant.name for plant in PLANTS}) == len(PLANTS)


def test_every_group_of_places_has_one_of_plants() -> None:
    scanned = [group.__name__.rpartition(".")[2] for group in GROUPS]
    assert [group.__name__.rpartition(".")[2] for group in everything.GROUPS] == scanned


def test_where_else_a_planted_leak_stands_is_a_place() -> None:
    assert {name for plant in PLANTS for name in plant.also} <= set(NAMES)


def test_every_place_says_what_is_searched_there() -> None:
    for place in PLACES:
        assert place.searched.strip(), place
        assert len(place.searched) < 100, place
