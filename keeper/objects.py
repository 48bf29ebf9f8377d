"""What the keeper wants of the place where its Secrets are stored.

Every Secret has a version, and a patch is for one version only: of two keepers
at once the second one gives way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from secret_files import Secret

#: The keys that are no secret: anybody may see them, also in a log.
PUBLIC_KEYS: Final = frozenset({"DATABASE_USERNAME", "GENERATION", "username", "tls.crt", "ca.crt"})

NO_NOTES: Final[Mapping[str, str]] = {}


class Unavailable(Exception):
    """A Secret can't be read or written; the message says which and why.

    :param transient: True where it may work in a moment.
    """

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class Conflict(Exception):
    """Somebody else changed the Secret meanwhile."""


@dataclass(frozen=True)
class StoredSecret:
    """A Secret as it was at one moment."""

    name: str
    version: str
    data: Mapping[str, Secret]
    #: What the keeper noted beside the values: never a value, nor anything made from one.
    notes: Mapping[str, str] = field(default_factory=dict)

    def has(self, *keys: str) -> bool:
        """Tell whether all of these keys are there and not empty."""
        return all(key in self.data and self.data[key].reveal() for key in keys)

    def text(self, key: str) -> str:
        """Return the value of a key that is there."""
        return self.data[key].reveal()

    def holds(self, data: Mapping[str, str], notes: Mapping[str, str]) -> bool:
        """Tell whether this is what a patch with these values and notes would leave."""
        values = all(self.data.get(key) == Secret(key, value) for key, value in data.items())
        return values and notes.items() <= self.notes.items()

    def confidential(self) -> Iterator[Secret]:
        """Iterate over the values that nobody may see, whole and line by line."""
        for key, value in self.data.items():
            if key not in PUBLIC_KEYS:
                yield value
                for line in value.reveal().splitlines():
                    if not line.startswith("-----"):  # what every PEM file has
                        yield Secret(key, line)


class SecretObjects(Protocol):
    """A place with Secrets of fixed names."""

    def get(self, name: str) -> StoredSecret:
        """Return the Secret as it is now.

        :raises Unavailable: it can't be read.
        """

    def patch(
        self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        """Set the keys in `data` and in `notes` at once, if the Secret is as `secret` has it.

        :raises Conflict: it is not.
        :raises Unavailable: it can't be written.
        """
