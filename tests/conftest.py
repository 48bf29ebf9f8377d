"""What tests of every kind use."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from tests.mount import SECRETS, Mount

# an example takes as long as the machine lets it: beside others, many times its usual time
hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")


def pytest_configure(config: pytest.Config) -> None:
    """Heed Ctrl-C: what a shell starts in the background ignores it, and hands that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported and collected: it all stays."""
    gc.freeze()


def pytest_xdist_auto_num_workers() -> int:
    """Return one more than there are processors, up to four: some tests wait for others' work."""
    return min((os.cpu_count() or 1) + 1, 4)


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    """Return a mounted Secret with good values."""
    mount = Mount(tmp_path / "secrets")
    mount.write(SECRETS)
    return mount


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], bool], str], None]:
    """Return a function that waits for a condition, and fails with what was awaited."""

    def wait(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
        # long: beside other work a start takes ten times as long, and who succeeds waits for less
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.05)

    return wait
