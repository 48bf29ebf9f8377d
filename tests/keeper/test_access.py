"""The keeper knows its own patch again, gives way to others, and lets the log know every value."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg
import pytest

from keeper import access as module
from keeper.access import Access
from keeper.folder_secrets import FolderSecrets
from keeper.objects import NO_NOTES, Conflict, StoredSecret, Unavailable
from secret_files import Redactor, Secret

NAME = "secrets"
KEY = "a-key-that-was-there-3f0c1a"
NEW = "a-key-that-is-new-9d2b7e"


class Flaky(FolderSecrets):
    """Loses so many answers of a patch: it is done, and nobody hears of it."""

    lost = 0
    patches = 0

    def patch(
        self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        self.patches += 1
        patched = super().patch(secret, data, notes)
        if self.lost:
            self.lost -= 1
            raise Unavailable("the answer was lost", transient=True)
        return patched


@pytest.fixture
def objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flaky:
    monkeypatch.setattr(module, "PAUSE", 0)
    objects = Flaky(tmp_path)
    objects.patch(objects.get(NAME), {"SECRET_KEY": KEY, "GENERATION": "1"}, {"step": ""})
    objects.patches = 0
    return objects


@pytest.fixture
def access(objects: Flaky) -> Access:
    return Access(objects, Redactor(), wait_seconds=20)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_patch_whose_answer_was_lost_is_known_again(
    objects: Flaky, access: Access, lost: int
) -> None:
    objects.lost = lost
    patched = access.patch(access.get(NAME), {"SECRET_KEY": NEW}, {"step": "announced"})
    assert objects.patches == 1 + lost
    assert patched == objects.get(NAME)
    assert (patched.text("SECRET_KEY"), patched.notes) == (NEW, {"step": "announced"})


def test_what_another_one_wrote_is_a_conflict(objects: Flaky, access: Access) -> None:
    stored = access.get(NAME)
    objects.patch(stored, {"SECRET_KEY": NEW}, {"step": "announced"})
    # even if it is the very same: it was not this one
    with pytest.raises(Conflict):
        access.patch(stored, {"SECRET_KEY": NEW}, {"step": "announced"})


@pytest.mark.parametrize(
    ("values", "notes"), [({"SECRET_KEY": "another"}, {}), ({}, {"step": "promoted"})]
)
def test_what_another_one_wrote_while_the_answer_was_lost_is_a_conflict(
    objects: Flaky,
    access: Access,
    monkeypatch: pytest.MonkeyPatch,
    values: dict[str, str],
    notes: dict[str, str],
) -> None:
    stored = access.get(NAME)
    objects.lost = 1
    patch = objects.patch

    def patch_or_come_too_late(
        secret: StoredSecret, data: Mapping[str, str], noted: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        if objects.patches == 1:
            FolderSecrets.patch(objects, objects.get(NAME), values, notes)
        return patch(secret, data, noted)

    monkeypatch.setattr(objects, "patch", patch_or_come_too_late)
    with pytest.raises(Conflict):
        access.patch(stored, {"SECRET_KEY": NEW}, {"step": "announced"})


def test_unchanged_is_what_has_the_same_values_and_notes(objects: Flaky, access: Access) -> None:
    stored = access.get(NAME)
    objects.patch(stored, {})  # as Helm does with a label: another version, and nothing else
    found = access.unchanged(stored)
    assert found.version != stored.version
    assert found.data == stored.data
    access.patch(found, {"GENERATION": "2"})
    with pytest.raises(Conflict, match="the Secret secrets was changed by somebody else"):
        access.unchanged(found)
    stored = access.get(NAME)
    access.patch(stored, {}, {"step": "announced"})
    with pytest.raises(Conflict):
        access.unchanged(stored)


def test_the_log_knows_every_value_before_it_is_sent_or_used(tmp_path: Path) -> None:
    redactor = Redactor()
    sent: list[str] = []

    class Spy(FolderSecrets):
        def patch(
            self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
        ) -> StoredSecret:
            for value in data.values():
                sent.extend(map(redactor.redact, value.splitlines()))
            raise Unavailable("403", transient=False)

    access = Access(Spy(tmp_path), redactor, wait_seconds=0)
    values = {"SECRET_KEY": KEY, "SECRET_KEY_FALLBACKS": f"{NEW}\n{KEY}", "GENERATION": "17000000"}
    with pytest.raises(Unavailable):
        access.patch(access.get(NAME), values)
    assert sent == ["[redacted]", "[redacted]", "[redacted]", "17000000"]
    made = access.new_secret("DATABASE_PASSWORD", "a-password-that-was-just-made")
    assert redactor.redact(f"line with {made.reveal()}") == "line with [redacted]"


def test_the_log_knows_what_was_there(objects: Flaky) -> None:
    learnt: list[str] = []

    class Spy(Redactor):
        def learn(self, secrets: Iterable[Secret]) -> None:
            learnt.extend(secret.reveal() for secret in secrets)

    Access(objects, Spy(), wait_seconds=0).get(NAME)
    assert KEY in learnt


def test_what_may_pass_is_tried_again_for_so_long_and_told_once(
    access: Access, objects: Flaky, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tries = iter([Unavailable("away", transient=True), psycopg.OperationalError("away"), None])

    def attempt() -> str:
        problem = next(tries)
        if problem:
            raise problem
        return "done"

    assert access.retry(attempt, "the database") == "done"
    assert [record.getMessage() for record in caplog.records] == ["waiting for the database: away"]


@pytest.mark.parametrize(
    ("problem", "wait_seconds"),
    [
        (Unavailable("403", transient=False), 20),
        (Conflict("changed"), 20),
        (psycopg.ProgrammingError("wrong"), 20),
        (psycopg.OperationalError("away"), -1),
    ],
)
def test_what_does_not_pass_is_not_tried_again(
    objects: Flaky, problem: Exception, wait_seconds: float
) -> None:
    tries = []

    def attempt() -> None:
        tries.append(1)
        raise problem

    with pytest.raises(type(problem)):
        Access(objects, Redactor(), wait_seconds).retry(attempt, "it")
    assert len(tries) == 1
