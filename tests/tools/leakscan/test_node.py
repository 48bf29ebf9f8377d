"""The node's folders are listed whole, while others come and go in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.leakscan.node import LIST, SEARCH

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


@pytest.mark.parametrize(("kibibytes", "is_listed"), [(1023, True), (1024, False)])
def test_a_layer_is_left_out_that_stands_beside_it_unpacked(
    tmp_path: Path, kibibytes: int, is_listed: bool
) -> None:
    blobs = tmp_path / "io.containerd.content.v1.content" / "blobs" / "sha256"
    files = [blobs / "0123", tmp_path / "io.containerd.snapshotter.v1.overlayfs" / "blobs" / "file"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(kibibytes * 1024))
    told = [line.partition(b"\t")[2] for line in listed(tmp_path).stdout.split(b"\0")[:-1]]
    assert set(told) == {bytes(file) for file in files if is_listed or file != files[0]}


def test_what_has_gone_is_no_error(file: Path) -> None:
    done = listed(file.parent / "gone", file.parent)
    assert done.returncode == 0
    assert done.stdout == b"4\t%s\0" % bytes(file)


def test_any_other_error_is_one(file: Path) -> None:
    done = listed(file.parent, file / "below")
    assert done.returncode != 0
    assert b"Not a directory" in done.stderr


PATTERNS = [b"0123456789abcdef", b"*" * 16, b"(a value) of [more] bytes", bytes(range(128, 144))]


def searched(*files: Path) -> list[bytes]:
    """Return the files in which the search on the node finds a pattern."""
    names = b"".join(b"%s\0" % bytes(file) for file in files)
    stdin = b"\n".join(PATTERNS) + b"\n\0" + names
    done = subprocess.run(["perl", "-e", SEARCH], input=stdin, capture_output=True, check=True)
    return done.stdout.split(b"\0")[:-1]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("before", [0, 1, 5, 10, 11, 12, 23, (1 << 20) - 7, (1 << 20) + 1, 3 << 20])
def test_a_pattern_is_found_wherever_it_stands(tmp_path: Path, pattern: bytes, before: int) -> None:
    file = tmp_path / "file"
    for after in (b"", b"and more"):
        file.write_bytes(b"\xff" * before + pattern + after)
        assert searched(file) == [bytes(file)]


def test_what_only_looks_like_a_pattern_is_none(tmp_path: Path) -> None:
    for pattern in PATTERNS:
        file = tmp_path / str(len(pattern))
        file.write_bytes(b"!".join(pattern[:-1] + b"!" * 9 + pattern[1:] for _ in range(99)))
        assert searched(file, tmp_path / "gone") == []
