"""Each page's commands are run by a test that reads them from the page."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.pages import PAGES, ROOT, Block, blocks

#: Which test runs the commands of which page.
RUN_BY: dict[str, str] = {
    "README.md": "tests/e2e/test_fresh_machine.py",
    "docs/your-service.md": "tests/e2e/test_your_service.py",
    **{
        f"docs/external/{name}.md": "tests/e2e/test_external_pages.py"
        for name in ("README", "csi", "existing", "external-secrets", "vault-agent")
    },
    "chart/README.md": "tests/e2e/test_chart_readme.py",
    "docs/rotation.md": "tests/e2e/test_rotation.py",
    "docs/runbook.md": "tests/e2e/test_alerts.py",
    "docs/workshop/1-environment.md": "tests/e2e/test_workshop.py",
    "docs/workshop/2-access.md": "tests/e2e/test_workshop.py",
    "docs/workshop/3-at-rest.md": "tests/e2e/test_workshop.py",
    "docs/workshop/4-generations.md": "tests/e2e/test_workshop.py",
    "docs/workshop/5-rotation.md": "tests/e2e/test_workshop.py",
    "docs/workshop/6-leaks.md": "tests/e2e/test_workshop.py",
    "docs/workshop/7-audit.md": "tests/e2e/test_workshop.py",
    "docs/workshop/8-source.md": "tests/e2e/test_workshop.py",
    "docs/workshop/README.md": "tests/e2e/test_workshop.py",
}

BLOCKS = [block for page in PAGES for block in blocks(page)]


def test_each_page_with_commands_has_a_test_that_runs_them() -> None:
    assert {block.page for block in BLOCKS} == RUN_BY.keys()


@pytest.mark.parametrize("page", RUN_BY)
def test_that_test_reads_them_from_the_page(page: str) -> None:
    assert f'"{page}"' in (ROOT / RUN_BY[page]).read_text("utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_commands_stand_in_blocks_of_their_language(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
    languages = fences[::2]
    assert set(fences[1::2]) <= {""}
    assert set(languages) <= {
        "",
        "diff",
        "mermaid",
        "sh",
        "yaml",
        "python",
        "json",
        "sql",
        "text",
        "nginx",
    }


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_each_block_is_what_a_shell_can_read(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("page", PAGES)
def test_each_target_of_make_is_one(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    text = (ROOT / page).read_text("utf-8")
    codes = [*re.findall(r"`([^`\n]+)`", text), *(block.text for block in blocks(page))]
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", "\n".join(codes)))
    assert named <= targets
