"""The store follows the folder, and keeps the last good generation."""

from __future__ import annotations

import logging
import shutil

import pytest

from app import KEYS
from app.secret_files import SecretError, SecretStore
from tests.mount import SECRETS, Mount

NEW_PASSWORD = "new-pass-5d41402abc4b2a76"


@pytest.fixture
def store(mount: Mount) -> SecretStore:
    """Return a store that looks at the folder on every use."""
    return SecretStore(mount.folder, KEYS, check_seconds=0)


def test_follows_a_change(mount: Mount, store: SecretStore) -> None:
    adopted: list[int | None] = []
    store.on_adopt.append(lambda snapshot: adopted.append(snapshot.generation))
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD, "GENERATION": "1700000100"})
    assert store.current()["DATABASE_PASSWORD"].reveal() == NEW_PASSWORD
    assert adopted == [1700000100]


def test_gives_the_same_snapshot_while_nothing_changes(store: SecretStore) -> None:
    assert store.current() is store.current()


def test_looks_no_sooner_than_it_was_told(mount: Mount) -> None:
    store = SecretStore(mount.folder, KEYS, check_seconds=3600)
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    assert store.current()["DATABASE_PASSWORD"].reveal() == SECRETS["DATABASE_PASSWORD"]


def test_keeps_the_last_good_one_and_says_so_once(
    mount: Mount, store: SecretStore, caplog: pytest.LogCaptureFixture
) -> None:
    rejected: list[str] = []
    store.on_reject.append(lambda error: rejected.append(error.key))
    mount.write({"DATABASE_PASSWORD": "short-1"})
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert store.current()["DATABASE_PASSWORD"].reveal() == SECRETS["DATABASE_PASSWORD"]
    assert rejected == ["DATABASE_PASSWORD"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "short-1" not in caplog.text


def test_recovers(mount: Mount, store: SecretStore) -> None:
    mount.write({"DATABASE_PASSWORD": ""})
    store.current()
    mount.write({"DATABASE_PASSWORD": NEW_PASSWORD})
    assert store.current()["DATABASE_PASSWORD"].reveal() == NEW_PASSWORD


def test_survives_the_loss_of_the_folder(mount: Mount, store: SecretStore) -> None:
    shutil.rmtree(mount.folder)
    assert store.current()["DATABASE_PASSWORD"].reveal() == SECRETS["DATABASE_PASSWORD"]


def test_does_not_start_without_a_good_generation(mount: Mount) -> None:
    mount.tamper("SECRET_KEY", None)
    with pytest.raises(SecretError, match="SECRET_KEY"):
        SecretStore(mount.folder, KEYS)
