"""The secrets of one generation, and the check that they have to pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .key import Key, SecretError, parse
from .value import Secret

#: The end of the year 9999, in Unix seconds: what is later is not in seconds.
_LAST_SECOND: Final = 253_402_300_799


@dataclass(frozen=True, eq=False)
class Snapshot(Mapping[str, Secret]):
    """The secrets of one generation. It never changes; the next one is another object."""

    #: Unique for each generation: what its source's `version` gave.
    version: str
    #: Unix time, in seconds, at which the values were made; None where nobody says.
    generation: int | None
    _values: Mapping[str, tuple[Secret, ...]] = field(repr=False)
    _public: frozenset[str] = field(repr=False)

    def __getitem__(self, name: str) -> Secret:
        """Return the secret of that name, or the first one of several lines."""
        values = self._values.get(name, ())
        if not values:
            raise KeyError(name)
        return values[0]

    def __iter__(self) -> Iterator[str]:
        return (name for name, values in self._values.items() if values)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def lines(self, name: str) -> tuple[Secret, ...]:
        """Return every value of a key with ``lines=True``; none where it is empty."""
        return self._values.get(name, ())

    def confidential(self) -> Iterator[Secret]:
        """Iterate over the values that nobody may see, each line on its own."""
        for name, values in self._values.items():
            if name not in self._public:
                yield from values


#: What a source found under one name: its content, why it can't be had, or nothing.
Found = bytes | str | None


def check(
    keys: Sequence[Key],
    version: str,
    found: Mapping[str, Found],
    place: Callable[[str], Path | str],
    remedy: str,
) -> Snapshot | SecretError:
    """Return the generation, if every value is fit, or what is wrong with the first that is not.

    The error is returned, not raised: a traceback has frames, and these hold the values.

    :param place: says where the key of that name was looked for.
    :param remedy: what to do about one that is missing.
    """
    values: dict[str, tuple[Secret, ...]] = {}
    for key in keys:
        content = found[key.name]
        if content is None and key.required:
            content = f"is missing: {remedy}"
        parsed = content if isinstance(content, str) else parse(key, content or b"")
        if isinstance(parsed, str):
            return SecretError(key.name, place(key.name), parsed)
        values[key.name] = parsed
    public = frozenset(key.name for key in keys if key.public)
    generation = [value.reveal() for value in values.get("GENERATION", ())]
    if not generation:
        return Snapshot(version, None, values, public)
    if not re.fullmatch("[0-9]{1,12}", generation[0]) or int(generation[0]) > _LAST_SECOND:
        reason = "is not a Unix time in whole seconds"
        return SecretError("GENERATION", place("GENERATION"), reason)
    return Snapshot(version, int(generation[0]), values, public)
