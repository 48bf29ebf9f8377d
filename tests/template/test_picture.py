"""docs/secret.svg can be seen in the light and in the dark, be heard, and fetches nothing."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "secret.svg").read_text("utf-8")
PICTURE = ElementTree.fromstring(TEXT)
SVG = "{http://www.w3.org/2000/svg}"


def colours(style: str) -> set[tuple[str, str]]:
    """Return which selectors set which colours: `("text", "fill")`."""
    return {
        (selector, name)
        for selector, rule in re.findall(r"([.\w]+) \{([^{}]*)\}", style)
        for name in re.findall(r"(fill|stroke): #[0-9a-f]{6}", rule)
    }


def test_it_says_what_it_shows() -> None:
    named = {element.get("id"): element for element in PICTURE.iter()}
    labels = [named[name] for name in PICTURE.get("aria-labelledby", "").split()]
    assert [label.tag for label in labels] == [f"{SVG}title", f"{SVG}desc"]
    assert all(label.text for label in labels)


def test_it_has_all_of_its_colours_in_the_light_and_in_the_dark() -> None:
    style = PICTURE.findtext(f"{SVG}style") or ""
    light, dark = style.split("@media (prefers-color-scheme: dark)")
    assert len(colours(light)) > 8
    assert colours(dark) == colours(light)
    assert not [one for one in PICTURE.iter() if {"fill", "stroke", "style"} & one.attrib.keys()]


def test_it_runs_and_fetches_nothing() -> None:
    drawn = {element.tag.removeprefix(SVG) for element in PICTURE.iter()}
    assert drawn <= {
        *("svg", "title", "desc", "style", "defs", "marker"),
        *("path", "rect", "text"),
    }
    assert re.findall(r"href|@import|@font-face|url\((?!#)", TEXT) == []
