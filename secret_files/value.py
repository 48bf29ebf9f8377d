"""A value that does not print itself."""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """One secret value, shown everywhere as ``Secret('NAME')``.

    `repr`, `str`, f-strings, ``%`` and tracebacks with locals show the name;
    JSON, pickle and copy raise `TypeError`. Only `reveal` gives the value.
    """

    __slots__ = ("_value", "name")

    #: A hash of a secret is an oracle for it: a Secret can't be a key of a dict.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """Return the value. Call it where the value is used, and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        """Compare with another Secret, in a time that does not depend on the values."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __getstate__(self) -> NoReturn:
        self.__reduce_ex__(None)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{self!r} can't be copied or pickled: pass the Secret itself on")
