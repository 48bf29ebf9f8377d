"""Secrets from environment variables, for where files can't be had.

What is set in the environment stays as it is until the process ends: it can't
rotate. The variables are taken out of `os.environ`, so that no child process
and no dump of the environment has them; but ``/proc/PID/environ`` shows a
process's environment as it was at its start, to root and to the same user, and
the pod's spec or the Docker configuration names or holds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, MutableMapping
from typing import Final

from .key import Key, SecretError
from .snapshot import Snapshot, check

MISSING: Final = "set the variable"


class Environment:
    """One variable for each key, with the key's name.

    :param keys: what has to be there.
    :param environ: where they are taken from, and out of.
    """

    def __init__(self, keys: Iterable[Key], environ: MutableMapping[str, str] = os.environ) -> None:
        keys = tuple(keys)
        # what is not UTF-8 stands there as surrogates: https://peps.python.org/pep-0383/
        found = {
            key.name: value if value is None else value.encode(errors="surrogateescape")
            for key in keys
            for value in [environ.pop(key.name, None)]
        }
        self._outcome = check(keys, str(self), found, lambda name: str(self), MISSING)

    def __str__(self) -> str:
        return "the environment"

    def version(self) -> str:
        """Return the same text always: there is one generation."""
        return str(self)

    def read(self) -> Snapshot:
        """Return what was there.

        :raises SecretError: a value is missing or unfit; it says which and why.
        """
        if isinstance(self._outcome, SecretError):
            raise self._outcome
        return self._outcome
