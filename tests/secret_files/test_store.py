"""The store follows its source, and keeps the last good generation."""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.secret_keys import KEYS
from secret_files import Folder, Refused, SecretError, SecretStore, Snapshot
from secret_files import store as store_module
from secret_files.folder import SETTLE_SECONDS, Unsettled
from tests.mount import SECRETS, Mount
from tests.writers import NAMES, PAIR, number_of, write_in_place
from tools.poll import poll

OLD_PASSWORD = SECRETS["DATABASE_PASSWORD"]
NEW_PASSWORD = "new-pass-5d41402abc4b2a76"  # pragma: allowlist secret


class Clock:
    """The monotonic clock of the store, which stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(store_module, "monotonic", clock)
    return clock


@pytest.fixture
def store(mount: Mount, clock: Clock) -> SecretStore:
    """Return a store that looks at the folder on every use."""
    return SecretStore(Folder(mount.folder, KEYS), check_seconds=0)


@pytest.fixture
def rejected(store: SecretStore) -> list[SecretError]:
    rejected: list[SecretError] = []
    store.on_reject.append(rejected.append)
    return rejected


def password(store: SecretStore) -> str:
    return store.current()["DATABASE_PASSWORD"].reveal()


def refuse(snapshot: Snapshot) -> None:
    raise SecretError("DATABASE_PASSWORD", "the database", "is refused")


def test_gives_the_same_snapshot_while_nothing_changes(store: SecretStore) -> None:
    assert store.current() is store.current()


def test_notices_a_change_once_the_time_is_over_and_no_sooner(mount: Mount, clock: Clock) -> None:
    store = SecretStore(Folder(mount.folder, KEYS), check_seconds=5)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    clock.now += 4.9
    assert password(store) == OLD_PASSWORD
    clock.now += 0.2
    assert password(store) == NEW_PASSWORD


class Counted(Folder):
    """Counts how often somebody looks."""

    looks = 0

    def version(self) -> str:
        self.looks += 1
        return super().version()


def test_looks_once_in_so_many_seconds_however_often_it_is_asked(
    mount: Mount, clock: Clock
) -> None:
    source = Counted(mount.folder, KEYS)
    store = SecretStore(source, check_seconds=5)
    source.looks = 0
    for _ in range(1000):
        store.current()
        clock.now += 0.01
    assert source.looks == 1


def test_a_new_generation_is_tried_then_published_then_announced(
    mount: Mount, store: SecretStore
) -> None:
    seen = []
    store.on_try.append(lambda snapshot: seen.append(("try", snapshot.generation, password(store))))
    store.on_adopt.append(
        lambda snapshot: seen.append(("adopt", snapshot.generation, password(store)))
    )
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD, "GENERATION": "1700000100"})
    assert password(store) == NEW_PASSWORD
    assert seen == [("try", 1700000100, OLD_PASSWORD), ("adopt", 1700000100, NEW_PASSWORD)]


def test_what_is_unfit_is_not_even_tried(mount: Mount, store: SecretStore) -> None:
    tried: list[Snapshot] = []
    store.on_try.append(tried.append)
    mount.write({"DATABASE_PASSWORD": "short-1"})  # pragma: allowlist secret
    store.current()
    assert tried == []


def test_what_is_refused_is_not_published_and_not_announced(
    mount: Mount, store: SecretStore, rejected: list[SecretError]
) -> None:
    announced: list[Snapshot] = []
    store.on_adopt.append(announced.append)
    store.on_try.append(refuse)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    assert password(store) == OLD_PASSWORD
    assert [str(error) for error in rejected] == ["DATABASE_PASSWORD in the database is refused"]
    assert announced == []


@pytest.fixture
def done(mount: Mount, store: SecretStore) -> Iterator[threading.Event]:
    """Let another thread try a new generation until this event is set."""
    trying, done = threading.Event(), threading.Event()

    def slow_hook(snapshot: Snapshot) -> None:
        trying.set()
        assert done.wait(20)

    store.on_try.append(slow_hook)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    thread = threading.Thread(target=store.current)
    thread.start()
    assert trying.wait(20)
    yield done
    done.set()
    thread.join()
    assert password(store) == NEW_PASSWORD


def test_other_threads_go_on_while_one_tries(store: SecretStore, done: threading.Event) -> None:
    started = time.monotonic()
    assert password(store) == OLD_PASSWORD
    assert time.monotonic() - started < 10  # the hook ends after this test


def test_refresh_waits_for_the_thread_that_tries(store: SecretStore, done: threading.Event) -> None:
    threading.Timer(0.2, done.set).start()
    assert store.refresh()["DATABASE_PASSWORD"].reveal() == NEW_PASSWORD


def test_refresh_does_not_wait_for_ever(
    store: SecretStore, done: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "REFRESH_SECONDS", 0.05)
    assert store.refresh()["DATABASE_PASSWORD"].reveal() == OLD_PASSWORD


def test_refresh_looks_before_the_time_is_over(mount: Mount, clock: Clock) -> None:
    store = SecretStore(Folder(mount.folder, KEYS), check_seconds=3600)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    assert password(store) == OLD_PASSWORD
    assert store.refresh()["DATABASE_PASSWORD"].reveal() == NEW_PASSWORD


def put_link_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def empty_folder(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "is missing"),
    "an empty folder": (empty_folder, "is missing"),
    "unreadable": (put_link_loop, "can't be read"),
    "no file": (put_folder, "is not a regular file"),
    "world-readable": (lambda path: path.chmod(0o444), "is open to every user"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "too large": (lambda path: path.write_bytes(b"Xq7-" * 300_000), "is larger than 1 MiB"),
    "NUL": (lambda path: path.write_bytes(b"Xq7-value\0-with-NUL"), "holds a NUL"),
    "not UTF-8": (lambda path: path.write_bytes(b"Xq7-value-\xff-latin"), "is not UTF-8"),
    "too short": (lambda path: path.write_bytes(b"Xq7-1"), "is too short"),
    "a placeholder": (lambda path: path.write_bytes(b"changeme"), "is a known placeholder"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_keeps_the_last_good_one_says_so_once_and_recovers(
    mount: Mount,
    store: SecretStore,
    clock: Clock,
    rejected: list[SecretError],
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    make, reason = FAULTS[fault]
    mount.write({"SECRET_KEY": SECRETS["SECRET_KEY"][::-1]})
    path = mount.folder / "..data" / ("SECRET_KEY" if "folder" in fault else "DATABASE_PASSWORD")
    path.chmod(0o600)
    make(path)
    for tries in (1, 2, 3):
        assert store.current()["SECRET_KEY"].reveal() == SECRETS["SECRET_KEY"]
        assert len(rejected) == tries
        clock.now += 60
    assert rejected[0].key == path.name
    assert rejected[0].reason.startswith(reason)
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in errors] == [
        f"secrets not adopted, the last good ones stay: {rejected[0]}"
    ]
    assert "Xq7" not in caplog.text
    write_generation(mount.folder, {**SECRETS, "DATABASE_PASSWORD": NEW_PASSWORD})
    assert password(store) == NEW_PASSWORD  # at once: this is another generation


def write_generation(folder: Path, values: dict[str, str]) -> None:
    """Swap in a generation, whatever is wrong with the one before."""
    fresh = Mount(folder.parent / "fresh")
    fresh.write(values)
    new = folder / "..fresh"
    shutil.copytree(fresh.folder / "..data", new)
    (folder / "..data_tmp").symlink_to(new.name)
    (folder / "..data_tmp").replace(folder / "..data")


def test_the_loss_of_the_folder_is_survived(
    mount: Mount, store: SecretStore, rejected: list[SecretError]
) -> None:
    shutil.rmtree(mount.folder)
    assert password(store) == OLD_PASSWORD
    assert store.refused
    assert [error.reason for error in rejected] == ["can't be read: no such file or directory"]
    mount.write({**SECRETS, "DATABASE_PASSWORD": NEW_PASSWORD})
    assert password(store) == NEW_PASSWORD
    assert store.refused is None


def test_each_problem_is_logged_once_and_again_after_a_recovery(
    mount: Mount, store: SecretStore, caplog: pytest.LogCaptureFixture
) -> None:
    for value in ("short-1", "", "short-2", "", NEW_PASSWORD, "short-3"):
        mount.write({"DATABASE_PASSWORD": value})
        store.current()
    errors = [record.args for record in caplog.records if record.levelname == "ERROR"]
    reasons = [error.reason.split(":")[0] for (error,) in errors]  # type: ignore[union-attr, misc]
    assert reasons == ["is too short", "is empty", "is too short"]


def test_what_was_refused_before_a_return_to_the_good_one_is_tried_and_logged_anew(
    mount: Mount, store: SecretStore, rejected: list[SecretError], caplog: pytest.LogCaptureFixture
) -> None:
    good = (mount.folder / "..data").readlink()
    bad = mount.folder / "..bad"
    shutil.copytree(mount.folder / good, bad)
    (bad / "SECRET_KEY").unlink()
    for target in (bad.name, good, bad.name):
        (mount.folder / "..data_tmp").symlink_to(target)
        (mount.folder / "..data_tmp").replace(mount.folder / "..data")
        store.current()
        assert bool(store.refused) is (target == bad.name)
    assert len(rejected) == 2
    assert caplog.text.count("secrets not adopted") == 2


def test_the_pauses_before_a_refused_one_is_tried_again_grow_up_to_a_minute(
    mount: Mount, store: SecretStore, clock: Clock
) -> None:
    tries: list[float] = []
    store.on_try.append(lambda snapshot: tries.append(clock.now))
    store.on_try.append(refuse)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    for _ in range(3000):
        store.current()
        clock.now += 0.1
    pauses = [round(later - earlier) for earlier, later in itertools.pairwise(tries)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_another_generation_is_tried_at_once(
    mount: Mount, store: SecretStore, rejected: list[SecretError]
) -> None:
    store.on_try.append(refuse)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    store.current()
    store.on_try.remove(refuse)
    store.current()
    assert len(rejected) == 1
    mount.write({"GENERATION": "1700000100"})
    assert password(store) == NEW_PASSWORD


def test_refresh_cuts_a_long_pause(
    mount: Mount, store: SecretStore, clock: Clock, rejected: list[SecretError]
) -> None:
    store.on_try.append(refuse)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    for _ in range(300):
        store.current()
        clock.now += 0.2
    tries = len(rejected)
    clock.now = 1000 + 31 + 10  # ten seconds after the last try
    store.refresh()
    assert len(rejected) == tries
    clock.now += 1.1
    store.refresh()
    assert len(rejected) == tries + 1
    store.refresh()
    assert len(rejected) == tries + 1
    store.on_try.remove(refuse)
    clock.now += 11.1
    assert store.refresh()["DATABASE_PASSWORD"].reveal() == NEW_PASSWORD


def test_a_hook_with_a_fault_of_its_own_ends_no_request(
    mount: Mount, store: SecretStore, rejected: list[SecretError], caplog: pytest.LogCaptureFixture
) -> None:
    def fail(news: object) -> None:
        raise RuntimeError(NEW_PASSWORD)

    store.on_try.append(fail)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    assert password(store) == OLD_PASSWORD
    assert "could not be tried: RuntimeError" in str(rejected[0])
    store.on_try.remove(fail)
    store.on_adopt.append(fail)
    store.on_reject.insert(0, fail)
    mount.write({"GENERATION": "1700000100"})
    assert password(store) == NEW_PASSWORD
    mount.write({"GENERATION": "never"})
    assert password(store) == NEW_PASSWORD
    assert "GENERATION" in str(rejected[-1])
    assert caplog.text.count("a hook of the secret store failed: RuntimeError") == 2
    assert NEW_PASSWORD not in caplog.text


class Faulty(Folder):
    """Has a fault that is not the file system's."""

    fault: type[Exception] | None = None

    def version(self) -> str:
        if self.fault:
            raise self.fault(NEW_PASSWORD)
        return super().version()


@pytest.mark.parametrize("fault", [ValueError, RecursionError, MemoryError])
def test_a_source_with_a_fault_of_its_own_ends_no_request(
    mount: Mount, caplog: pytest.LogCaptureFixture, fault: type[Exception]
) -> None:
    source = Faulty(mount.folder, KEYS)
    store = SecretStore(source, check_seconds=0)
    source.fault = fault
    assert password(store) == OLD_PASSWORD
    assert store.refresh()["DATABASE_PASSWORD"].reveal() == OLD_PASSWORD
    assert f"the secrets can't be looked at: {fault.__name__}" in caplog.text
    assert NEW_PASSWORD not in caplog.text
    source.fault = None
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    assert password(store) == NEW_PASSWORD


def test_reasons_that_are_never_the_same_are_not_remembered_for_ever(
    mount: Mount, store: SecretStore, clock: Clock
) -> None:
    def refuse_anew(snapshot: Snapshot) -> None:
        raise SecretError("DATABASE_PASSWORD", "the database", f"is refused at {clock.now}")

    store.on_try.append(refuse_anew)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    for _ in range(250):
        store.current()
        clock.now += 60
    assert len(store._problems) <= 100


def test_says_when_it_adopted(
    mount: Mount, store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_200.0)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    store.current()
    assert store.adopted_at == 1_700_000_200.0


def test_says_what_it_refused_and_since_when_until_another_one_is_adopted(
    mount: Mount, store: SecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.refused is None
    told: list[Refused | None] = []
    for seconds, value in enumerate(("short-1", "", "", NEW_PASSWORD, "short-2")):
        monkeypatch.setattr(time, "time", lambda now=1_700_000_200.0 + seconds: now)
        mount.write({"DATABASE_PASSWORD": value})
        store.current()
        told.append(store.refused)
    too_short = "is too short: at least 8 bytes, from a random source"
    empty = "is empty: write the value there"
    assert told == [
        Refused("DATABASE_PASSWORD", too_short, 1_700_000_200.0),
        Refused("DATABASE_PASSWORD", empty, 1_700_000_200.0),
        Refused("DATABASE_PASSWORD", empty, 1_700_000_200.0),
        None,
        Refused("DATABASE_PASSWORD", too_short, 1_700_000_204.0),
    ]


def test_what_a_hook_refuses_is_told_before_anybody_hears_of_it(
    mount: Mount, store: SecretStore
) -> None:
    heard: list[Refused | None] = []
    store.on_reject.append(lambda error: heard.append(store.refused))
    store.on_try.append(refuse)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    store.current()
    (refused,) = heard
    assert refused
    assert (refused.key, refused.reason) == ("DATABASE_PASSWORD", "is refused")


def test_does_not_start_without_a_good_generation(mount: Mount) -> None:
    mount.tamper("SECRET_KEY", None)
    with pytest.raises(SecretError, match="SECRET_KEY"):
        SecretStore(Folder(mount.folder, KEYS))


class StillWritten(Folder):
    """A folder that is written once more after the first look."""

    looks = 0

    def read(self) -> Snapshot:
        self.looks += 1
        try:
            return super().read()
        finally:
            if self.looks == 1:
                write_in_place(self.path, 2)


def test_waits_at_the_start_until_plain_files_are_written(tmp_path: Path) -> None:
    write_in_place(tmp_path, 1)
    source = StillWritten(tmp_path, PAIR)
    found = SecretStore(source).current()
    assert [number_of(found[name].reveal()) for name in NAMES] == [2, 2]
    assert source.looks > 2


def test_refresh_waits_until_plain_files_are_settled(tmp_path: Path) -> None:
    write_in_place(tmp_path, 1)
    store = SecretStore(Folder(tmp_path, PAIR), check_seconds=3600)
    write_in_place(tmp_path, 2)
    assert number_of(store.refresh()["DATABASE_PASSWORD"].reveal()) == 2


def test_plain_files_are_looked_at_again_as_soon_as_they_can_be_settled(tmp_path: Path) -> None:
    write_in_place(tmp_path, 1)
    store = SecretStore(Folder(tmp_path, PAIR), check_seconds=1)
    time.sleep(1)
    write_in_place(tmp_path, 2)
    assert number_of(store.current()["DATABASE_PASSWORD"].reveal()) == 1
    time.sleep(2 * SETTLE_SECONDS)
    assert number_of(store.current()["DATABASE_PASSWORD"].reveal()) == 2


class Restless:
    """A source that is always being written, but for its first generation."""

    def __init__(self, first: Snapshot) -> None:
        self._first: Snapshot | None = first

    def version(self) -> str:
        return "another"

    def read(self) -> Snapshot:
        first, self._first = self._first, None
        if first:
            return first
        raise Unsettled("TOKEN", "a folder", "is being written")


def test_files_that_are_written_for_long_are_a_problem_and_no_sooner(
    mount: Mount, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = SecretStore(Restless(Folder(mount.folder, KEYS).read()), check_seconds=1)
    rejected: list[SecretError] = []
    store.on_reject.append(rejected.append)
    for _ in range(95):
        clock.now += 0.1
        assert password(store) == OLD_PASSWORD
    assert rejected == []
    assert caplog.text == ""
    for _ in range(30):
        clock.now += 0.1
        store.current()
    assert [error.reason for error in rejected] == ["is being written"]


def test_a_folder_that_is_always_being_written_does_not_start(
    mount: Mount, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Restless(Folder(mount.folder, KEYS).read())
    source.read()

    def sleep(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(SecretError, match="is being written"):
        SecretStore(source)
    assert 10 < clock.now - 1000 < 11


def numbered(number: int) -> dict[str, str]:
    return {
        "DATABASE_USERNAME": f"user-{number}",
        "DATABASE_PASSWORD": f"Xk4mvqz-{number}",
        "GENERATION": str(number),
    }


def test_threads_that_ask_all_the_time_see_one_generation_after_the_other(mount: Mount) -> None:
    keys = [key for key in KEYS if key.name in numbered(0)]
    mount.write(numbered(0))
    store = SecretStore(Folder(mount.folder, keys), check_seconds=0)
    stop = threading.Event()
    generations = itertools.count(1)
    seen: set[int] = set()
    faults: list[str] = []

    def ask() -> None:
        last = 0
        while not stop.is_set():
            found = store.current()
            numbers = {int(found[name].reveal().split("-")[-1]) for name in found}
            if len(numbers) > 1 or min(numbers) < last:
                faults.append(f"{numbers} after {last}")
            last = max(numbers)
            seen.add(last)

    def write_another() -> bool:
        number = next(generations)
        mount.write(numbered(number))
        return number >= 40 and len(seen) > 10

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # in the middle of whatever a thread does, another has its turn
    try:
        poll(write_another, "40 generations, and reads of more than 10", 60, 0.002)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []
