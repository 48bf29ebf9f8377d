"""One generation of a folder is read whole, and nothing unfit is taken."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app import KEYS
from app.secret_files import Key, SecretError, folder_version, read_snapshot, snapshot
from tests.mount import SECRETS, Mount

PAIR = (Key("DATABASE_USERNAME", min_bytes=1, public=True), Key("DATABASE_PASSWORD"))


def test_reads_every_key(mount: Mount) -> None:
    found = read_snapshot(mount.folder, KEYS)
    assert {name: found[name].reveal() for name in found} == {
        name: value for name, value in SECRETS.items() if value
    }
    assert found.generation == 1700000000


def test_reads_plain_files(tmp_path: Path) -> None:
    (tmp_path / "DATABASE_USERNAME").write_text("somebody")
    (tmp_path / "DATABASE_PASSWORD").write_text("a-plain-file-7c1")
    found = read_snapshot(tmp_path, PAIR)
    assert found["DATABASE_PASSWORD"].reveal() == "a-plain-file-7c1"
    before = found.version
    (tmp_path / "DATABASE_PASSWORD").write_text("another-plain-file")
    assert folder_version(tmp_path, [key.name for key in PAIR]) != before


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"trailing-newline-1\n", "trailing-newline-1"),
        (b"windows-newline-1\r\n", "windows-newline-1"),
        (b"two-newlines-12\n\n", "two-newlines-12\n"),
        (b" spaces-stay-12 ", " spaces-stay-12 "),
        ("ünïcödé-stays-12".encode(), "ünïcödé-stays-12"),
    ],
)
def test_drops_one_trailing_newline_and_nothing_else(
    mount: Mount, content: bytes, value: str
) -> None:
    mount.tamper("DATABASE_PASSWORD", content)
    assert read_snapshot(mount.folder, KEYS)["DATABASE_PASSWORD"].reveal() == value


def test_fallbacks_are_one_a_line(mount: Mount) -> None:
    first, second = "first-fallback-key-b1946ac92492d234", "second-fallback-key-2347c6235b4b4b0b"
    mount.write({"SECRET_KEY_FALLBACKS": f"{first}\n\n{second}\n"})
    found = read_snapshot(mount.folder, KEYS)
    assert [key.reveal() for key in found.lines("SECRET_KEY_FALLBACKS")] == [first, second]


def test_optional_keys_may_be_missing(mount: Mount) -> None:
    mount.tamper("SECRET_KEY_FALLBACKS", None)
    mount.tamper("GENERATION", None)
    found = read_snapshot(mount.folder, KEYS)
    assert found.lines("SECRET_KEY_FALLBACKS") == ()
    assert found.generation is None


def test_public_keys_are_not_confidential(mount: Mount) -> None:
    names = {secret.name for secret in read_snapshot(mount.folder, KEYS).confidential()}
    assert names == {"SECRET_KEY", "DATABASE_PASSWORD"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"Xq7-tooshort", "is too short: at least 32 bytes"),
        (b"Xq7-valid-but-for-one\xff-byte-0123456789", "is not UTF-8"),
        (b"Xq7-valid-but-for-a\0NUL-0123456789abcdef", "holds a NUL byte"),
        (b"Xq7-" * 300_000, "is larger than 1 MiB"),
        (b"changeme", "is a known placeholder"),
        (b"dev", "is a known placeholder"),
        (b"CHANGE_ME", "is a known placeholder"),
        (b"your-secret-key-goes-here", "is too short"),
        (b"your-super-secret-key-please-change-this", "is a known placeholder"),
        (b"changemechangemechangemechangemechangeme", "is a known placeholder"),
        (b"<insert your secret key here ........>", "is a known placeholder"),
        (b"0" * 40, "is a known placeholder"),
        (b"postgres", "is a known placeholder"),
        (b"0123456789abcdef0123456789abcdef", "is a known placeholder"),
    ],
)
def test_refuses_an_unfit_secret_in_one_line_without_a_byte_of_it(
    mount: Mount, content: bytes | None, reason: str
) -> None:
    path = mount.tamper("SECRET_KEY", content)
    with pytest.raises(SecretError) as caught:
        read_snapshot(mount.folder, KEYS)
    message = str(caught.value)
    assert message.startswith(f"SECRET_KEY in {path} {reason}")
    assert "\n" not in message
    assert "Xq7" not in message
    chain = caught.value.__cause__ or caught.value.__context__
    assert caught.value.__suppress_context__ or chain is None


def test_an_unfit_fallback_is_refused(mount: Mount) -> None:
    mount.write({"SECRET_KEY_FALLBACKS": SECRETS["SECRET_KEY"][::-1] + "\nshort-one"})
    with pytest.raises(SecretError, match=r"SECRET_KEY_FALLBACKS .* is too short"):
        read_snapshot(mount.folder, KEYS)


def test_a_placeholder_check_takes_no_time_on_a_hostile_value(mount: Mount) -> None:
    # with backtracking, 2**5000 ways to read it
    mount.tamper("SECRET_KEY", b"changethis" * 5_000 + b"!~x")
    assert read_snapshot(mount.folder, KEYS)


@pytest.mark.parametrize("generation", ["yesterday", "-1", "1.5", "9" * 30, "1700000000000"])
def test_refuses_a_malformed_generation(mount: Mount, generation: str) -> None:
    mount.write({"GENERATION": generation})
    with pytest.raises(SecretError, match=r"GENERATION .* is not a Unix time"):
        read_snapshot(mount.folder, KEYS)


def test_a_folder_or_a_pipe_in_the_place_of_a_file_is_refused(mount: Mount) -> None:
    path = mount.folder / "..data" / "SECRET_KEY"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SecretError, match=r"SECRET_KEY .* is empty"):
        read_snapshot(mount.folder, KEYS)
    path.unlink()
    path.mkdir()
    with pytest.raises(SecretError, match=r"SECRET_KEY .* can't be read: is a directory"):
        read_snapshot(mount.folder, KEYS)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"SECRET_KEY .* can't be read: no such file"):
        read_snapshot(tmp_path / "nowhere", KEYS)


def test_plain_files_that_change_during_the_read_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(number: int) -> None:
        for key in PAIR:
            (tmp_path / "new").write_text(f"Xk4mvqz-{number}")
            (tmp_path / "new").replace(tmp_path / key.name)

    read_file = snapshot._read_file
    write(0)
    swaps = iter([1, 2])

    def change_after_the_first(name: str, directory: int) -> bytes:
        content = read_file(name, directory)
        if name == PAIR[0].name and (number := next(swaps, None)):
            write(number)
        return content

    monkeypatch.setattr(snapshot, "_read_file", change_after_the_first)
    assert {value.reveal() for value in read_snapshot(tmp_path, PAIR).values()} == {"Xk4mvqz-2"}


def two_opens(folder: Path) -> tuple[str, str]:
    """Read the pair as most programs do."""
    return (folder / "DATABASE_USERNAME").read_text(), (folder / "DATABASE_PASSWORD").read_text()


def one_snapshot(folder: Path) -> tuple[str, str]:
    found = read_snapshot(folder, PAIR)
    return found["DATABASE_USERNAME"].reveal(), found["DATABASE_PASSWORD"].reveal()


@pytest.mark.parametrize(("read", "tears"), [(one_snapshot, False), (two_opens, True)])
def test_a_pair_is_never_torn(
    mount: Mount, read: Callable[[Path], tuple[str, str]], tears: bool
) -> None:
    """The second reader shows that this test can fail: it does get torn pairs."""
    pair = {"DATABASE_USERNAME": "user-0", "DATABASE_PASSWORD": "Xk4mvqz-0"}
    mount.write(pair)
    done = threading.Event()

    def swap() -> None:
        number = 0
        while not done.wait(0.002):
            number += 1
            mount.write({name: value[:-1] + str(number % 10) for name, value in pair.items()})

    writer = threading.Thread(target=swap)
    writer.start()
    torn = 0
    try:
        for _ in range(200_000 if tears else 3_000):
            try:
                user, password = read(mount.folder)
            except FileNotFoundError:  # the plain reader's other way to fail
                torn += 1
                continue
            torn += user[-1] != password[-1]
            if tears and torn:
                break
    finally:
        done.set()
        writer.join()
    assert bool(torn) is tears
