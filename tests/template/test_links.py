"""What a page links to is there, and so is each picture; a heading, too, where one is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import PAGES, ROOT
from tools.doctor import lines


def anchors(page: Path) -> set[str]:
    """Return what GitHub makes of the page's headings, and the anchors that stand in it."""
    text = page.read_text("utf-8")
    headings = re.findall(r"(?m)^#+ (.*)$", text)
    made = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    return made | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    inside = [link for link in links if "://" not in link]
    assert inside or page.name == "benchmarks.md"
    missing = []
    for link in inside:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("name", ["docker", "kind", "kubectl", "helm"])
def test_readme_says_where_to_get_what_doctor_asks_for(name: str) -> None:
    assert f"({lines.PAGES[name]})" in (ROOT / "README.md").read_text("utf-8")
