"""What a page links to is there, and so is each picture; a heading, too, where one is named."""

from __future__ import annotations

import re

import pytest

from tests.pages import PAGES, ROOT
from tests.template.mentions import leads_somewhere
from tools.doctor import lines


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    inside = [link for link in links if "://" not in link]
    assert inside or page.name == "benchmarks.md"
    assert [link for link in inside if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("name", ["docker", "kind", "kubectl", "helm"])
def test_readme_says_where_to_get_what_doctor_asks_for(name: str) -> None:
    assert f"({lines.PAGES[name]})" in (ROOT / "README.md").read_text("utf-8")
