"""The workshop's pages have the form that a trainer counts on; what they expect is looked for."""

from __future__ import annotations

import re

import pytest

from tests.pages import ROOT, blocks
from tests.workshop import FOLDER, PAGES, PARTS, Lab, here, lab, missing, says_something

LABS = [lab(page) for page in PAGES]


def test_there_are_eight_of_ten_minutes_and_no_other_page() -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).rglob("*.md")}
    assert found == {*PAGES, f"{FOLDER}/README.md"}
    assert len(PAGES) == 8
    for number, page in enumerate(PAGES, start=1):
        text = (ROOT / page).read_text("utf-8")
        assert re.match(rf"# Lab {number}: .+\n\nTen minutes\b", text)


@pytest.mark.parametrize("one", LABS, ids=str)
def test_a_lab_has_its_parts_in_order(one: Lab) -> None:
    assert tuple(one.parts) == PARTS
    assert all(part.strip() for part in one.parts.values())


@pytest.mark.parametrize("one", LABS, ids=str)
def test_each_block_of_commands_has_what_it_prints(one: Lab) -> None:
    assert len(one.seen) == len(one.commands) >= 3
    for number, expected in enumerate(one.seen, start=1):
        assert expected.strip()
        assert says_something(expected.splitlines())
        for part in ("Commands", "What you should see"):
            assert f"\n{number}\\. " in one.parts[part]


@pytest.mark.parametrize("one", LABS, ids=str)
def test_a_question_has_one_answer(one: Lab) -> None:
    question, _, answer = one.parts["Question"].partition("<details>\n<summary>Answer</summary>\n")
    assert question.strip().endswith("?")
    assert re.fullmatch(r"\n.{40,}\n\n</details>\n\n", answer, re.DOTALL)


@pytest.mark.parametrize("one", LABS, ids=str)
def test_each_begins_with_the_projects_own_cluster_and_ends_in_the_known_state(one: Lab) -> None:
    # whatever was done before, and in whichever shell: labs stand alone
    assert one.commands[0].text.startswith(
        "export KUBECONFIG=$PWD/.local/cluster/flask-app/kubeconfig\n"
        "kubectl config set-context --current --namespace flask-app\n"
    )
    assert one.way_back.text == "make reset\nmake status\n"


def test_the_table_of_the_workshop_has_each_lab_with_its_name() -> None:
    text = (ROOT / FOLDER / "README.md").read_text("utf-8")
    for one in LABS:
        title = (ROOT / one.page).read_text("utf-8").partition("\n")[0].partition(": ")[2]
        assert f"[{title}]({one}.md)" in text


def test_a_program_that_not_every_laptop_has_is_in_no_lab() -> None:
    """What a page's commands begin with; jq, watch and openssl are not on all of them."""
    for page in (*PAGES, f"{FOLDER}/README.md"):
        for block in blocks(page):
            assert not re.search(r"(?m)(^|[|(] *)(jq|watch|openssl|timeout|seq)\b", block.text)


PRINTED = """\
POD          READY
flask-app-1  yes
flask-app-2  no   behind
done in 3 s
"""


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        (PRINTED, None),
        ("POD READY\n\ndone in … s\n", None),
        ("flask-app-… no …\n", None),
        ("…behind\n", None),
        ("done in 4 s\n", "done in 4 s"),
        ("done\n", "done"),
        ("flask-app-2 no behind\nPOD READY\n", "POD READY"),
        ("flask-app-… yes\nflask-app-… yes\n", "flask-app-… yes"),
        ("done in … s.\n", "done in … s."),
        (".*\n", ".*"),
    ],
)
def test_each_expected_line_has_to_come_in_its_turn(expected: str, line: str | None) -> None:
    assert missing(expected, PRINTED) == line


def test_a_line_that_any_other_would_do_for_says_nothing() -> None:
    assert says_something(["a …", "200"])
    assert not says_something(["a …", "… … ."])


def test_only_names_and_port_of_the_cluster_are_replaced() -> None:
    for text, told in (
        ("docker exec flask-app-control-plane true", "docker exec other-control-plane true"),
        ("ls .local/cluster/flask-app/", "ls .local/cluster/other/"),
        ("helm test flask-app", "helm test flask-app"),
    ):
        assert here(text, "other", "9443") == told
    assert here("https://localhost:8443/ kind-flask-app", "o", "1") == "https://localhost:1/ kind-o"
