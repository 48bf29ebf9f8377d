"""The runbook, as somebody follows it: a section at a time, each in a shell of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from secret_files import Secret
from tests.e2e.shell import Shell
from tests.pages import ROOT, Block, Walk
from tools.cluster.client import Cluster
from tools.leakscan.needles import Needles
from tools.poll import poll

#: What stands before the blocks of a section, which `tests/template/test_runbook.py` checks.
SEE, DO, OVER = "**See it.**", "**Do.**", "**It is over**"

#: A command within a sentence.
INLINE = re.compile(r"`((?:kubectl|make|metrics) [^`\n]+)`")

#: How long it may take until it is over, in seconds: what was refused is tried again in a minute.
LIMIT = 75


class Runbook:
    """The page, and what of it nobody has run yet.

    :param page: its path; the functions that its other blocks use stand under its title.
    """

    def __init__(self, page: str) -> None:
        text = (ROOT / page).read_text("utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        self._lines = text.splitlines()
        self._walk = Walk(page)
        self._blocks = list(self._walk.left)
        (self._functions,) = self._walk.under(title)
        self.inline = sorted({*INLINE.findall(text)})
        # the cluster that is there was made by it
        self._run: set[Block | str] = {self._functions, "make deploy"}

    def left(self) -> list[str]:
        """Return the commands within sentences that nobody ran, and where such blocks stand."""
        return [str(one) for one in (*self._blocks, *self.inline) if one not in self._run]

    @contextmanager
    def section(
        self, cluster: Cluster, title: str, replaced: Mapping[str, str] | None = None
    ) -> Iterator[Section]:
        """Begin with a section as its reader does, in a shell that has the page's functions."""
        blocks = [(self._part(block), block) for block in self._walk.under(title)]
        kubeconfig = cluster.state / "kubeconfig"
        before = kubeconfig.read_bytes()
        with Shell(cluster, replaced) as shell:
            shell.run(self._functions.text)
            try:
                yield Section(cluster, shell, blocks, self)
            finally:
                # the page turns its namespace
                kubeconfig.write_bytes(before)

    def ran(self, one: Block | str) -> None:
        """Remember that a block, or a command within a sentence, was run."""
        self._run.add(one)

    def _part(self, block: Block) -> str:
        above = self._lines[: block.line]
        return next(part for line in reversed(above) for part in (SEE, DO, OVER) if part in line)


class Section:
    """A section's commands, and what they print, in which there must be no secret."""

    def __init__(
        self, cluster: Cluster, shell: Shell, blocks: list[tuple[str, Block]], page: Runbook
    ) -> None:
        self._cluster = cluster
        self._shell = shell
        self._blocks = blocks
        self._page = page

    def see(self) -> str:
        """Run what shows the fault, and return what it prints."""
        return "".join(self._run(block) for block in self._part(SEE))

    def do(self, *numbers: int) -> str:
        """Run what ends it, or some of its blocks."""
        blocks = self._part(DO)
        return "".join(self._run(blocks[number]) for number in numbers or range(len(blocks)))

    def over(self, is_over: Callable[[str], bool]) -> str:
        """Run what shows that it is over, again and again, until it shows that.

        :return: what it prints then.

        :raises AssertionError: it did not within a minute.
        """
        (block,) = self._part(OVER)
        shown = ""

        def shows_that() -> bool:
            nonlocal shown
            shown = self._run(block)
            return is_over(shown)

        poll(shows_that, lambda: f"that it is over, instead of: {shown}", LIMIT, 0.5)
        return shown

    def inline(self, beginning: str) -> str:
        """Run a command that stands within a sentence, and return what it prints."""
        (command,) = (one for one in self._page.inline if one.startswith(beginning))
        self._page.ran(command)
        return self._show(command)

    def _part(self, part: str) -> list[Block]:
        found = [block for above, block in self._blocks if above == part]
        assert found, f"there is no block after {part}"
        return found

    def _run(self, block: Block) -> str:
        self._page.ran(block)
        return self._show(block.text)

    def _show(self, commands: str) -> str:
        secrets = [*self._secrets()]
        shown = self._shell.run(commands)
        assert Needles([*secrets, *self._secrets()]).find(shown.encode()) == set(), commands
        return shown

    def _secrets(self) -> Iterator[Secret]:
        values = self._cluster.secret("flask-app-secrets")
        yield from (values[key] for key in ("SECRET_KEY", "DATABASE_PASSWORD"))


def told(shown: str, metric: str) -> dict[str, float]:
    """Return what the page's `metrics` printed of one, by the pod's name."""
    found = re.findall(rf"^pod/(\S+)  {metric} (\S+)$", shown, re.MULTILINE)
    return {pod: float(value) for pod, value in found}
