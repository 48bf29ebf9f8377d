"""docs/runbook.md has a section for each alert, whose commands are there.

`tests/e2e/test_alerts.py` runs them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chart.conftest import Render
from tests.chart.test_prometheusrule import alerted, rules
from tests.pages import blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text("utf-8")
BLOCKS = [block.text for block in blocks("docs/runbook.md")]
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))

#: What each section says, in this order.
PARTS = ["**What it means.**", "**See it.**", "**Do.**", "**It is over**"]


def test_each_alert_has_a_section_and_each_section_an_alert(render: Render) -> None:
    assert list(SECTIONS) == list(rules(alerted(render)))


def test_a_runbook_url_leads_to_its_section(render: Render) -> None:
    url = "https://git.example.org/shop/docs/runbook.md"
    # as GitHub and GitLab make the anchor of a heading of one word
    anchors = {f"{url}#{title.lower()}" for title in SECTIONS}
    found = rules(alerted(render, rule={"runbookURL": url})).values()
    assert {rule["annotations"]["runbook_url"] for rule in found} == anchors


@pytest.mark.parametrize("title", SECTIONS)
def test_each_section_says_the_same_things(title: str) -> None:
    said = re.findall(r"^\*\*[A-Z].*?\*\*", SECTIONS[title], re.MULTILINE)
    assert said == PARTS
    see = SECTIONS[title].partition("**See it.**")[2].partition("**Do.**")[0]
    assert "```sh\n" in see, "there is no command to see it"


def test_each_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert len(links) > 8
    for link in links:
        file, _, anchor = link.partition("#")
        assert not file or (ROOT / "docs" / file).exists(), link
        assert file or anchor in {title.lower() for title in SECTIONS}, link


def test_each_function_that_is_used_is_made_at_the_top() -> None:
    first, *others = BLOCKS
    made = set(re.findall(r"^(\w+)\(\)", first, re.MULTILINE))
    assert made == {"pods", "metrics", "status"}
    known = made | {"kubectl", "make", "openssl", "curl", "date"}
    known |= {"PARTS", "behind", "authority", "name"}
    for block in others:
        lines = re.sub(r"\|\n", "| ", block).splitlines()
        assert {re.split(r"[ =]", line)[0] for line in lines if line[0] != " "} <= known, block
