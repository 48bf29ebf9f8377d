"""The load is on the service's resource, or without one on the page and its session."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import load as loading
from tools import resource
from tools.resource import Resource

OWN = Resource(
    path="/api/books",
    listing="/api/books?limit=2",
    table="books",
    column="title",
    body=lambda text: {"title": text},
    rejected={"title": 1},
    listed=lambda answer: (answer["titles"], answer["next"]),
)

WaitFor = Callable[[Callable[[], bool], str], None]


class Load(loading.Load):
    """Load on a service that keeps what it gets, and lists two at a time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: list[str] = []
        self.kept: list[str] = []
        self.visits_of: dict[str, int] = {}

    def request(
        self, method: str, path: str, body: str = "", cookie: str = ""
    ) -> tuple[str, str] | None:
        """Answer as the service does."""
        self.asked.append(f"{method} {path}")
        self.seconds.append(0.001)
        if path == "/":
            cookie = cookie or f"browser-{len(self.visits_of)}"
            self.visits_of[cookie] = self.visits_of.get(cookie, 0) + 1
            return f'<strong id="visits">{self.visits_of[cookie]}<', cookie
        if body:
            self.kept.append(json.loads(body)["title"])
        start = int(path.partition("after=")[2] or 0)
        following = f"/api/books?after={start + 2}" if len(self.kept) > start + 2 else ""
        return json.dumps({"titles": self.kept[start : start + 2], "next": following}), ""


def loaded(wait_for: WaitFor) -> Load:
    """Return the load after some rounds."""
    with Load(1, Path("ca.crt"), pace=600) as load:
        wait_for(lambda: len(load.asked) > 120, "some requests")
    return load


def test_load_without_a_resource_is_on_the_page(
    wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "RESOURCE", None)
    load = loaded(wait_for)
    assert set(load.asked) == {"GET /"}
    assert load.lost() == set()
    load.check_unnoticed()


def test_load_writes_reads_and_misses_what_is_lost(
    wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "RESOURCE", OWN)
    monkeypatch.setattr(loading, "READ", OWN.path)
    load = loaded(wait_for)
    assert set(load.asked) == {"GET /", "GET /api/books", "POST /api/books"}
    load.check_unnoticed()
    lost = load.kept.pop()
    assert load.lost() == {lost}
    with pytest.raises(loading.Noticed, match="1 texts were lost"):
        load.check_unnoticed()


def test_a_service_may_name_no_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "OWN", "tests.e2e.nothing_of_that_name")
    assert resource._own() is None


def test_a_mistake_in_the_file_is_no_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "careless.py").write_text("import nothing_of_that_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(resource, "OWN", "careless")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        resource._own()
