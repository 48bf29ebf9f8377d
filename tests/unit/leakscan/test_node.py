"""The node's folders are listed whole, while others come and go in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.leakscan.node import LIST

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the find of a Linux node")


def listed(*folders: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["sh", "-c", LIST, "sh", *folders], capture_output=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a\nname"
    file.write_text("four")
    return file


def test_each_file_is_told_with_its_size(file: Path) -> None:
    done = listed(file.parent)
    assert done.returncode == 0
    assert done.stdout == b"4\t%s\0" % bytes(file)


def test_what_has_gone_is_no_error(file: Path) -> None:
    done = listed(file.parent / "gone", file.parent)
    assert done.returncode == 0
    assert done.stdout == b"4\t%s\0" % bytes(file)


def test_any_other_error_is_one(file: Path) -> None:
    done = listed(file.parent, file / "below")
    assert done.returncode != 0
    assert b"Not a directory" in done.stderr
