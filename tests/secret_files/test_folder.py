"""One generation of a folder is read whole, and nothing unfit is taken."""

from __future__ import annotations

import errno
import itertools
import math
import multiprocessing
import os
import random
import stat
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.secret_keys import KEYS
from secret_files import Folder, SecretError, folder, folder_version
from secret_files.folder import SETTLE_SECONDS, Unsettled
from tests.mount import SECRETS, Mount
from tests.writers import (
    NAMES,
    PAIR,
    WRITERS,
    Moment,
    keep_writing,
    number_of,
    value,
    write_in_place,
    write_linked,
    write_renamed,
)

#: The kernel's times of files are no finer than this, in seconds.
CLOCK_TICK = 0.01


def test_reads_every_key(mount: Mount) -> None:
    found = Folder(mount.folder, KEYS).read()
    assert {name: found[name].reveal() for name in found} == {
        name: value for name, value in SECRETS.items() if value
    }
    assert found.generation == 1700000000


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
    assert Folder(mount.folder, KEYS).read()["DATABASE_PASSWORD"].reveal() == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"Xq7-tooshort", "is too short: at least 32 bytes"),
        (b"Xq7-valid-but-for-one\xff-byte-0123456789", "is not UTF-8"),  # pragma: allowlist secret
        # pragma: allowlist nextline secret
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
        (b"0123456789abcdef0123456789abcdef", "is a known placeholder"),  # pragma: allowlist secret
    ],
)
def test_refuses_an_unfit_secret_in_one_line_without_a_byte_of_it(
    mount: Mount, content: bytes | None, reason: str
) -> None:
    path = mount.tamper("SECRET_KEY", content)
    with pytest.raises(SecretError) as caught:
        Folder(mount.folder, KEYS).read()
    message = str(caught.value)
    assert message.startswith(f"SECRET_KEY in {path} {reason}")
    assert "\n" not in message
    assert "Xq7" not in message
    chain = caught.value.__cause__ or caught.value.__context__
    assert caught.value.__suppress_context__ or chain is None


def test_an_unfit_fallback_is_refused(mount: Mount) -> None:
    mount.write({"SECRET_KEY_FALLBACKS": SECRETS["SECRET_KEY"][::-1] + "\nshort-one"})
    with pytest.raises(SecretError, match=r"SECRET_KEY_FALLBACKS .* is too short"):
        Folder(mount.folder, KEYS).read()


def test_a_placeholder_check_takes_no_time_on_a_hostile_value(mount: Mount) -> None:
    # with backtracking, 2**5000 ways to read it
    mount.tamper("SECRET_KEY", b"changethis" * 5_000 + b"!~x")
    assert Folder(mount.folder, KEYS).read()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match=r"SECRET_KEY .* can't be read: no such file"):
        Folder(tmp_path / "nowhere", KEYS).read()


@pytest.mark.parametrize(("size", "fits"), [(2**20, True), (2**20 + 1, False)])
def test_a_value_has_at_most_1_mib(mount: Mount, size: int, fits: bool) -> None:
    mount.tamper(
        "SECRET_KEY", random.Random(1).randbytes(size // 2).hex().encode() + b"x" * (size % 2)
    )
    if fits:
        assert len(Folder(mount.folder, KEYS).read()["SECRET_KEY"].reveal()) == size
    else:
        with pytest.raises(SecretError, match=r"SECRET_KEY .* is larger than 1 MiB"):
            Folder(mount.folder, KEYS).read()


def test_a_file_that_is_longer_than_it_says_is_read_whole(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that grows meanwhile, or one of a file system that knows no sizes."""
    fstat = os.fstat

    def empty(descriptor: int) -> os.stat_result:
        fields = list(fstat(descriptor))
        fields[stat.ST_SIZE] = 0
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", empty)
    assert Folder(mount.folder, KEYS).read()["SECRET_KEY"].reveal() == SECRETS["SECRET_KEY"]


def test_a_file_that_may_not_be_read_is_refused(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the system's answer is made up."""
    open_file = os.open

    def forbid(path: str, flags: int, dir_fd: int | None = None) -> int:
        if path == "SECRET_KEY":
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_file(path, flags, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", forbid)
    with pytest.raises(SecretError, match=r"SECRET_KEY .* can't be read: permission denied"):
        Folder(mount.folder, KEYS).read()


def test_something_else_in_the_place_of_a_file_is_refused(mount: Mount) -> None:
    path = mount.folder / "..data" / "SECRET_KEY"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SecretError, match=r"SECRET_KEY .* is not a regular file"):
        Folder(mount.folder, KEYS).read()
    path.unlink()
    path.mkdir()
    with pytest.raises(SecretError, match=r"SECRET_KEY .* is not a regular file"):
        Folder(mount.folder, KEYS).read()
    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(SecretError, match=r"SECRET_KEY .* can't be read: too many levels"):
        Folder(mount.folder, KEYS).read()


@pytest.mark.parametrize("mode", [0o404, 0o444, 0o644, 0o602, 0o777])
def test_a_file_that_is_open_to_every_user_is_refused(mount: Mount, mode: int) -> None:
    (mount.folder / "SECRET_KEY").chmod(mode)
    with pytest.raises(
        SecretError, match=rf"SECRET_KEY .* every user \(mode {mode:04o}\)"
    ) as caught:
        Folder(mount.folder, KEYS).read()
    # for each who mounts it: Kubernetes, Compose with a file, Compose with a variable
    for remedy in ("defaultMode: 0440", "chmod 0440 on the file in Compose", "mode: 0440 if"):
        assert remedy in str(caught.value)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o660])
def test_a_file_that_its_owner_and_group_may_read_is_taken(mount: Mount, mode: int) -> None:
    (mount.folder / "SECRET_KEY").chmod(mode)
    assert Folder(mount.folder, KEYS).read()["SECRET_KEY"].reveal() == SECRETS["SECRET_KEY"]


def test_an_error_holds_no_value_in_the_frames_of_its_traceback(mount: Mount) -> None:
    mount.tamper("GENERATION", b"tomorrow")  # the last key: all the others are read by then
    with pytest.raises(SecretError) as caught:
        Folder(mount.folder, KEYS).read()
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(shown.format())
    assert "outcome" in text  # locals are shown
    assert SECRETS["SECRET_KEY"] not in text
    assert SECRETS["DATABASE_PASSWORD"] not in text


Step = Callable[[], None]


def two_opens(path: Path, step: Step = lambda: None) -> tuple[str, str]:
    """Read the pair as most programs do."""
    first = (path / "..data" / NAMES[0]).read_text()
    step()
    return first, (path / "..data" / NAMES[1]).read_text()


def one_folder(path: Path, step: Step = lambda: None) -> tuple[str, str]:
    """Read the pair as `Folder` does."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("folder_version", "_is_linked", "_read_file"):
            patch.setattr(folder, name, before(step, getattr(folder, name)))
        found = Folder(path, PAIR).read()
    return found[NAMES[0]].reveal(), found[NAMES[1]].reveal()


def before(step: Step, function: Callable[..., object]) -> Callable[..., object]:
    def stepped(*arguments: object) -> object:
        step()
        return function(*arguments)

    return stepped


def steps_of_a_writer(path: Path) -> Iterator[None]:
    """Write one generation after the other, with a pause after each thing that is done."""
    for number in itertools.count(1):
        new = path / f"..{number:06d}"
        new.mkdir()
        yield
        for name in NAMES:
            (new / name).write_text(value(number))
            (new / name).chmod(0o600)
            yield
        (path / "..data_tmp").symlink_to(new.name)
        (path / "..data_tmp").replace(path / "..data")
        yield
        for name in NAMES:
            (path / f"..{number - 1:06d}" / name).unlink()
            yield
        (path / f"..{number - 1:06d}").rmdir()


@pytest.mark.parametrize(("read", "tears"), [(one_folder, False), (two_opens, True)])
def test_whatever_is_written_between_two_steps_of_a_read_the_pair_is_whole(
    tmp_path: Path, read: Callable[[Path, Step], tuple[str, str]], tears: bool
) -> None:
    outcomes: set[str] = set()
    mounts = itertools.count()

    @settings(max_examples=100, database=None, derandomize=True)
    @given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
    def interleave(pace: list[int]) -> None:
        path = tmp_path / f"mount-{next(mounts)}"
        path.mkdir()
        write_linked(path, 0)
        writer, paces = steps_of_a_writer(path), iter(pace)

        def step() -> None:
            for _ in range(next(paces, 0)):
                next(writer)

        try:
            first, second = read(path, step)
            outcomes.add("whole" if number_of(first) == number_of(second) else "torn")
        except FileNotFoundError:  # the plain reader's other way to fail
            outcomes.add("torn")
        except SecretError as error:
            assert "changed during each of 10 reads" in str(error)

    interleave()
    assert outcomes == ({"whole", "torn"} if tears else {"whole"})


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Callable[[str], Moment]]:
    """Return a function that starts a process which writes pairs in a layout to `tmp_path`."""
    spawn = multiprocessing.get_context("spawn")
    processes = []

    def start(layout: str) -> Moment:
        WRITERS[layout](tmp_path, 0)
        since: Moment = spawn.Value("d", math.inf, lock=False)
        processes.append(spawn.Process(target=keep_writing, args=(layout, tmp_path, since)))
        processes[-1].start()
        return since

    yield start
    for process in processes:
        process.terminate()
        process.join()
        process.close()


def plain_opens(path: Path) -> tuple[str, str]:
    """Read plain files as most programs do."""
    return (path / NAMES[0]).read_text(), (path / NAMES[1]).read_text()


def test_no_pair_of_100_000_reads_is_torn(
    tmp_path: Path, writing: Callable[[str], Moment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of what was read, which takes as long again, is left out."""
    writing("linked")
    monkeypatch.setattr(folder, "check", lambda keys, version, found, *others: found)
    source = Folder(tmp_path, PAIR)
    seen: set[object] = set()
    for _ in range(100_000):
        first, second = source.read().values()
        assert first == second
        seen.add(first)
    assert len(seen) > 3  # it was being written all the time
    assert any(is_torn(two_opens, tmp_path) for _ in range(1_000_000))


@pytest.mark.parametrize("layout", ["renamed", "in place"])
def test_plain_files_that_are_being_written_are_taken_whole(
    tmp_path: Path, writing: Callable[[str], Moment], layout: str
) -> None:
    writing_since = writing(layout)
    source = Folder(tmp_path, PAIR)
    seen: set[int] = set()
    reads, deadline = 0, time.monotonic() + 60
    while reads < 20_000 or (len(seen) <= 5 and time.monotonic() < deadline):
        reads += 1
        since = writing_since.value
        try:
            found = source.read()
            first, second = (number_of(found[name].reveal()) for name in NAMES)
            assert first == second
        except Unsettled:
            continue
        except (SecretError, ValueError, AssertionError):
            # plain files do not tell a writer that was held up from one that is done
            if time.monotonic() - since < SETTLE_SECONDS:
                raise
        else:
            seen.add(first)
    assert len(seen) > 5
    assert any(is_torn(plain_opens, tmp_path) for _ in range(1_000_000))


def is_torn(read: Callable[[Path], tuple[str, str]], path: Path) -> bool:
    """Tell whether a reader got values of two generations, or a part of one, or none."""
    try:
        first, second = read(path)
        return number_of(first) != number_of(second)
    except (FileNotFoundError, ValueError, AssertionError):
        return True


def test_plain_files_are_taken_once_they_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_renamed(tmp_path, 1)
    source = Folder(tmp_path, PAIR)
    with pytest.raises(Unsettled, match="is being written"):
        source.read()
    later = time.monotonic() + SETTLE_SECONDS
    monkeypatch.setattr(folder, "monotonic", lambda: later)
    assert number_of(source.read()[NAMES[1]].reveal()) == 1


@pytest.mark.parametrize("layout", ["renamed", "in place"])
@pytest.mark.parametrize("changed", NAMES)
def test_a_change_of_a_plain_file_is_another_version(
    tmp_path: Path, layout: str, changed: str
) -> None:
    """Even if it is as long as before, and its writer says that it is as old."""
    write_in_place(tmp_path, 1)
    before = folder_version(tmp_path, NAMES)
    was = (tmp_path / changed).stat()
    (tmp_path / "elsewhere").mkdir()
    WRITERS[layout](tmp_path / "elsewhere", 2)
    time.sleep(2 * CLOCK_TICK)
    if layout == "renamed":
        (tmp_path / "elsewhere" / changed).replace(tmp_path / changed)
    else:
        (tmp_path / changed).write_text((tmp_path / "elsewhere" / changed).read_text())
    os.utime(tmp_path / changed, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (tmp_path / changed).stat().st_size == was.st_size
    assert folder_version(tmp_path, NAMES) != before


def test_the_key_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    write_in_place(tmp_path, 1)
    (tmp_path / NAMES[1]).unlink()
    (tmp_path / NAMES[1]).symlink_to(NAMES[1])
    source = Folder(tmp_path, PAIR)
    with pytest.raises(Unsettled):
        source.read()
    time.sleep(SETTLE_SECONDS)
    with pytest.raises(SecretError, match=rf"^{NAMES[1]} .* too many levels"):
        source.read()


def test_a_folder_has_one_key_at_least(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keys"):
        Folder(tmp_path, [])
