"""The database's roles change under load, and no query fails; with a stale reader some do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import NullPool

from app.core.database import POOL
from app.core.database import Database as ServiceDatabase
from app.secret_keys import KEYS
from app.settings import Settings
from secret_files import Folder, SecretStore
from tests.load import Load
from tests.rotation import ROLES, Rotation
from tools.poll import poll

ROTATIONS = 6

POOLS: dict[str, Mapping[str, Any]] = {
    "QueuePool": POOL,
    "a recycling pool": {**POOL, "pool_recycle": 0},
    "NullPool": {"poolclass": NullPool},
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("stale", [False, True])
def test_no_query_fails_while_the_roles_alternate(
    settings: Settings,
    rotation: Rotation,
    wait_for: Callable[..., None],
    pool: str,
    stale: bool,
) -> None:
    """A store that never looks again is the control: its queries do fail."""
    source = Folder(rotation.mount.folder, KEYS)
    store = SecretStore(source, check_seconds=3600 if stale else 0.05)
    if stale:
        store.refresh = store.current  # type: ignore[method-assign]
    failed_logins: list[str] = []
    service = ServiceDatabase(settings, store, lambda: failed_logins.append("login"), POOLS[pool])
    with Load(service) as load:
        for _ in range(1 if stale else ROTATIONS):
            rotation.rotate()
            if not stale:
                wait_until_left(rotation, store, load, wait_for)
            rotation.lock_out()
            for _ in range(2):
                wait_for(load.turn(), "queries of every thread")
    service.engine.dispose()
    assert bool(load.failures) is stale, load.failures[:3]
    if not stale:
        assert load.roles == set(ROLES)


@pytest.mark.parametrize("check_seconds", [0, 0.05])
def test_no_query_fails_while_one_generation_follows_the_other(
    settings: Settings, rotation: Rotation, check_seconds: float
) -> None:
    store = SecretStore(Folder(rotation.mount.folder, KEYS), check_seconds)
    service = ServiceDatabase(settings, store, lambda: None)
    generations = itertools.count(1_700_000_000)

    with Load(service) as load:
        asked = load.turn(8)  # waited for: a busy machine gives a thread few turns

        def write_another() -> bool:
            number = next(generations)
            rotation.mount.write({"GENERATION": str(number)})
            return number >= 1_700_000_150 and asked()

        poll(write_another, "150 generations, and 8 queries of every thread", 60, 0.005)
    service.engine.dispose()
    assert load.failures == []


def wait_until_left(
    rotation: Rotation,
    store: SecretStore,
    load: Load,
    wait_for: Callable[..., None],
) -> None:
    """Wait until nobody has a session of the old role, nor its password in hand."""
    role = rotation.role()
    wait_for(lambda: store.current()["DATABASE_USERNAME"].reveal() == role, "the new login")
    wait_for(load.turn(), "a query of every thread")
    wait_for(lambda: rotation.sessions() == 0, "the end of the old sessions")
