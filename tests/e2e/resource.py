"""Yours: the resource that the load, the demo and the end-to-end tests write and read.

It is the example's, notes. Name your own here when you drop the example, or delete this file.
"""

from __future__ import annotations

from tools.resource import Resource

RESOURCE = Resource(
    path="/api/notes",
    listing="/api/notes?limit=100",
    table="notes",
    column="text",
    body=lambda text: {"text": text},
    rejected={"text": 1},
    listed=lambda answer: ([note["text"] for note in answer["notes"]], answer["next"] or ""),
)
