"""Renders the chart with Helm's own engine, from a wheel: no helm program is needed.

The engine's Python package is young; nothing but this file knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python.chart
import pytest
import yaml
from helm_python.errors import HelmError

FOLDER = Path(__file__).parents[2] / "chart"

Object = dict[str, Any]


class Rendered:
    """The objects and the notes that the chart renders."""

    def __init__(self, files: dict[str, str]) -> None:
        self.notes = next(text for name, text in files.items() if name.endswith("NOTES.txt"))
        self.objects: list[Object] = [
            document
            for name, text in files.items()
            if name.endswith(".yaml")
            for document in yaml.safe_load_all(text)
            if document
        ]

    def of_kind(self, kind: str) -> list[Object]:
        """Return all objects of a kind, of which there has to be one at least."""
        found = [found for found in self.objects if found["kind"] == kind]
        assert found, f"no {kind} is rendered"
        return found

    def one(self, kind: str, name: str) -> Object:
        """Return the one object of that kind and name."""
        (found,) = (one for one in self.of_kind(kind) if one["metadata"]["name"] == name)
        return found

    def pods(self) -> dict[str, Object]:
        """Return the spec of every pod, by its owner's kind and name."""
        specs = {}
        for owner in self.objects:
            spec = owner.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            pod = spec if owner["kind"] == "Pod" else spec.get("template", {}).get("spec")
            if pod:
                specs[f"{owner['kind']}/{owner['metadata']['name']}"] = pod
        assert len(specs) >= 3
        return specs


Render = Callable[..., Rendered]


class Refused(Exception):
    """The chart does not render with these values; the message is Helm's."""


@pytest.fixture(scope="session")
def chart() -> helm_python.chart.Chart:
    return helm_python.chart.Chart.load(FOLDER)


@pytest.fixture(scope="session")
def render(chart: helm_python.chart.Chart) -> Render:
    """Return a function that renders the chart with some values turned."""

    def render(release: str = "flask-app", revision: int = 1, **values: Any) -> Rendered:
        try:
            # as an install does: the schema first
            chart.validate_schema(chart.merge_values(values))
            return Rendered(chart.render(values, name=release, namespace="shop", revision=revision))
        except HelmError as error:
            raise Refused(str(error)) from None

    return render


@pytest.fixture(scope="session")
def lint() -> Callable[[], dict[str, Any]]:
    """Return a function that does what `helm lint --strict` does."""
    return lambda: helm_python.chart.lint(FOLDER, strict=True)
