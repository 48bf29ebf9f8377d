"""The resource that the load, the demo and the end-to-end tests write and read.

A service names its own in tests/e2e/resource.py. Without that file they use the page, and the
session that goes with it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Resource:
    """How to write one and to read all of them, over the service's API."""

    #: Where POST adds one, and GET lists some.
    path: str
    #: Where GET lists all of them, from the first page on.
    listing: str
    #: Its table.
    table: str
    #: The column of the table that holds the text.
    column: str
    #: Makes the JSON body of a POST from a text.
    body: Callable[[str], object]
    #: A JSON body that is answered with 400.
    rejected: object
    #: Takes one answer of GET, and returns the texts in it and the path of the next page, or "".
    listed: Callable[[Any], tuple[list[str], str]]


#: Where a service names its own.
OWN: Final = "tests.e2e.resource"


def _own() -> Resource | None:
    try:
        resource: Resource = importlib.import_module(OWN).RESOURCE
    except ModuleNotFoundError as error:
        if not OWN.startswith(error.name or "-"):
            raise  # it is there, and imports something that is not
        return None
    return resource


RESOURCE: Final = _own()
#: A path whose answer needs the database.
READ: Final = RESOURCE.path if RESOURCE else "/"
