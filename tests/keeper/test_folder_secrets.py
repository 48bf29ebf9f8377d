"""The local folder looks as the kubelet's does, and changes as a Secret does."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from keeper.folder_secrets import FolderSecrets
from keeper.objects import Conflict, Unavailable

NAME = "secrets"


@pytest.fixture
def objects(tmp_path: Path) -> FolderSecrets:
    return FolderSecrets(tmp_path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_one_that_was_never_written_is_empty(objects: FolderSecrets) -> None:
    assert dict(objects.get(NAME).data) == {}


def test_patches_add_up(objects: FolderSecrets) -> None:
    objects.patch(objects.get(NAME), {"A": "1", "B": "2"})
    objects.patch(objects.get(NAME), {"B": "3"})
    assert {key: value.reveal() for key, value in objects.get(NAME).data.items()} == {
        "A": "1",
        "B": "3",
    }


def test_has_the_kubelets_layout_and_closed_modes(objects: FolderSecrets, tmp_path: Path) -> None:
    previous = os.umask(0)  # the modes must not be the umask's doing
    try:
        objects.patch(objects.get(NAME), {"A": "1"})
    finally:
        os.umask(previous)
    folder = tmp_path / NAME
    target = (folder / "..data").readlink()
    assert str(target).startswith("..20")
    assert (folder / "A").readlink() == Path("..data/A")
    assert mode(folder) == mode(folder / target) == 0o700
    assert mode(folder / target / "A") == 0o400


def test_leaves_nothing_of_an_older_generation(objects: FolderSecrets, tmp_path: Path) -> None:
    for number in range(3):
        objects.patch(objects.get(NAME), {"A": str(number)})
    assert sorted(path.name for path in (tmp_path / NAME).iterdir() if path.is_dir()) == sorted(
        ["..data", (tmp_path / NAME / "..data").readlink().name]
    )


def test_a_relative_folder_is_as_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = FolderSecrets(Path("relative"))
    objects.patch(objects.get(NAME), {"A": "1"})
    assert objects.get(NAME).text("A") == "1"


def test_a_patch_for_an_older_version_is_refused(objects: FolderSecrets) -> None:
    before = objects.get(NAME)
    objects.patch(before, {"A": "1"})
    with pytest.raises(Conflict, match="was changed by somebody else"):
        objects.patch(before, {"A": "2"})
    assert objects.get(NAME).text("A") == "1"


def test_one_that_is_read_while_it_changes_is_of_one_version(objects: FolderSecrets) -> None:
    """None is empty, or half of it: a keeper would fill what it does not see."""
    names = [f"KEY_{number}" for number in range(4)]

    def write(number: int) -> None:
        objects.patch(objects.get(NAME), dict.fromkeys(names, str(number)), {"n": str(number)})

    def keep_writing() -> None:
        for number in range(1, 100):
            write(number)

    write(0)
    writer = threading.Thread(target=keep_writing)
    writer.start()
    reads = 0
    while writer.is_alive():
        found = objects.get(NAME)
        assert {key: value.reveal() for key, value in found.data.items()} == dict.fromkeys(
            names, found.notes.get("n")
        )
        reads += 1
    writer.join()
    assert reads > 10


def test_a_link_to_nowhere_is_empty(objects: FolderSecrets, tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "..data").symlink_to("..2026")
    assert dict(objects.get(NAME).data) == {}


def test_a_writer_that_is_killed_leaves_what_was_there(
    objects: FolderSecrets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(path: Path, target: Path) -> Path:
        raise Killed

    objects.patch(objects.get(NAME), {"A": "1"})
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Path, "replace", kill)
        objects.patch(objects.get(NAME), {"A": "2"})
    assert objects.get(NAME).text("A") == "1"
    objects.patch(objects.get(NAME), {"A": "3"})
    assert (tmp_path / NAME / "A").read_text() == "3"
    assert len([path for path in (tmp_path / NAME).glob("..2*") if path.is_dir()]) == 1


def test_a_broken_folder_is_a_clear_problem(objects: FolderSecrets, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("a file")
    with pytest.raises(Unavailable, match=r"can't read .*: Not a directory"):
        objects.get(NAME)
