"""A generation is a mapping of secrets, some with several values and some that are public."""

from __future__ import annotations

import pytest

from app.secret_keys import KEYS
from secret_files import Folder, SecretError
from tests.mount import OWN, Mount


def test_fallbacks_are_one_a_line(mount: Mount) -> None:
    first, second = "first-fallback-key-b1946ac92492d234", "second-fallback-key-2347c6235b4b4b0b"
    mount.write({"SECRET_KEY_FALLBACKS": f"{first}\n\n{second}\n"})
    found = Folder(mount.folder, KEYS).read()
    assert [key.reveal() for key in found.lines("SECRET_KEY_FALLBACKS")] == [first, second]


def test_optional_keys_may_be_missing(mount: Mount) -> None:
    mount.tamper("SECRET_KEY_FALLBACKS", None)
    mount.tamper("GENERATION", None)
    found = Folder(mount.folder, KEYS).read()
    assert found.lines("SECRET_KEY_FALLBACKS") == ()
    assert found.generation is None


def test_public_keys_are_not_confidential(mount: Mount) -> None:
    names = {secret.name for secret in Folder(mount.folder, KEYS).read().confidential()}
    assert names == {"SECRET_KEY", "DATABASE_PASSWORD", *OWN}


@pytest.mark.parametrize("generation", ["yesterday", "-1", "1.5", "9" * 30, "1700000000000"])
def test_refuses_a_malformed_generation(mount: Mount, generation: str) -> None:
    mount.write({"GENERATION": generation})
    with pytest.raises(SecretError, match=r"GENERATION .* is not a Unix time"):
        Folder(mount.folder, KEYS).read()
