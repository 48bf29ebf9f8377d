"""What objects are called, and that two releases never mean the same ones."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate
import pytest

from tests.chart.conftest import Render, Rendered, is_selected

NEWEST = "1.37"

#: Names have 63 characters at most, of which controllers take some for their suffixes.
MOST = {"StatefulSet": 63 - 11, "Job": 63 - 6, "CronJob": 52}

LONG = "a" * 50
#: A release's name has 53 characters at most. Without a digest, these two would be the same.
LONG_NAMES = (f"{LONG}xyz", f"{LONG}bcd")

#: With the chart's name behind it, it has as many as the objects' own may have.
FITS = "a" * (40 - len("-flask-app"))


def names(rendered: Rendered) -> set[tuple[str, str]]:
    return {(one["kind"], one["metadata"]["name"]) for one in rendered.objects}


def selectors(found: Any) -> list[dict[str, str]]:
    """Return everything in an object that selects pods of one release."""
    if isinstance(found, list):
        return [selector for one in found for selector in selectors(one)]
    if not isinstance(found, dict):
        return []
    inner = [selector for one in found.values() for selector in selectors(one)]
    # a Service's has no matchLabels
    selector: dict[str, str] = found.get("matchLabels") or found.get("selector") or {}
    return [selector, *inner] if "app.kubernetes.io/name" in selector else inner


def labels(rendered: Rendered) -> list[dict[str, str]]:
    return [one["metadata"]["labels"] for one in rendered.pod_templates().values()]


@pytest.mark.parametrize(
    ("release", "fullname"),
    [
        ("flask-app", "flask-app"),
        ("shop", "shop-flask-app"),
        ("my-flask-app-2", "my-flask-app-2"),
        ("a.b", "a-b-flask-app"),
        (FITS, f"{FITS}-flask-app"),
    ],
)
def test_names_are_made_from_the_releases(render: Render, release: str, fullname: str) -> None:
    rendered = render(release)
    assert rendered.one("Deployment")["metadata"]["name"] == fullname
    for _, name in names(rendered):
        assert name.startswith(fullname)


#: What YAML takes for a number or a truth, unless it is quoted.
BARE = ("2024", "true", "1e3")


@pytest.mark.parametrize("name", BARE)
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(render: Render, name: str) -> None:
    account = {"create": False, "name": f"0{name}"}
    values: dict[str, Any] = {
        "fullnameOverride": "notes",
        "priorityClassName": name,
        "runtimeClassName": name,
        "serviceAccount": account,
        "keeper": {"serviceAccount": {"create": False, "name": name}},
    }
    inside = {**values, "postgresql": {"storage": {"className": name}}}
    outside = {
        **values,
        "postgresql": {"enabled": False},
        "database": {"host": "db", "adminSecret": name, "caSecret": name},
        "tls": {"source": "existing", "existingSecret": name},
    }
    for turned in (inside, outside):
        for rendered in render(name, **turned).objects:
            assert kubernetes_validate.validate(rendered, NEWEST, strict=True) == NEWEST


def test_the_charts_name_can_be_another(render: Render) -> None:
    rendered = render("one", nameOverride="notes")
    assert rendered.one("Deployment", "one-notes")
    assert {one["metadata"]["labels"]["app.kubernetes.io/name"] for one in rendered.objects} == {
        "notes"
    }
    assert {one["app.kubernetes.io/name"] for one in labels(rendered)} == {"notes"}
    assert render("notes-2", nameOverride="notes").one("Deployment", "notes-2")


def test_names_can_be_made_from_something_else(render: Render) -> None:
    rendered = render("one", fullnameOverride="notes")
    assert {name.partition("-")[0] for _, name in names(rendered)} == {"notes"}
    # the release stays what it is
    assert {one["app.kubernetes.io/instance"] for one in labels(rendered)} == {"one"}


@pytest.mark.parametrize(
    ("release", "override"),
    [
        ("a" * 53, {}),
        ("a.b" * 17, {}),
        ("a" * 30 + "-" * 10 + "b", {}),
        ("b", {"nameOverride": "c" * 40}),
        ("b", {"fullnameOverride": "d" * 40}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_long_name_is_cut(
    render: Render, variant: dict[str, Any], release: str, override: dict[str, str]
) -> None:
    rendered = render(release, **{**variant, **override})
    for one in rendered.objects:
        name, kind = one["metadata"]["name"], one["kind"]
        # a name of somebody else's ServiceAccount is not the chart's to cut
        assert len(name) <= MOST.get(kind, 63), f"{kind}/{name}"
        assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name), f"{kind}/{name}"
    for found in labels(rendered):
        assert all(len(value) <= 63 for value in found.values())


def test_a_name_of_forty_characters_is_whole(render: Render) -> None:
    assert render(FITS).one("Deployment", f"{FITS}-flask-app")
    begin = f"{FITS}a-flask-app"[:31].removesuffix("-")
    cut = str(render(f"{FITS}a").one("Deployment")["metadata"]["name"])
    assert re.fullmatch(f"{begin}-[0-9a-f]{{8}}", cut)


@pytest.mark.parametrize("releases", [("one", "two"), LONG_NAMES], ids=["short", "long"])
def test_two_releases_share_no_object(
    render: Render, variant: dict[str, Any], releases: tuple[str, str]
) -> None:
    # a name that is given is given to both
    values = {**variant, "fullnameOverride": ""}
    one, other = (names(render(release, **values)) for release in releases)
    assert len(one) == len(other) >= 10
    assert not one & other


@pytest.mark.parametrize("releases", [("one", "two"), LONG_NAMES], ids=["short", "long"])
def test_two_releases_do_not_select_each_others_pods(
    render: Render, variant: dict[str, Any], releases: tuple[str, str]
) -> None:
    one, other = (render(release, **variant) for release in releases)
    found = selectors(one.objects)
    assert len(found) >= 4
    for selector in found:
        assert not [pod for pod in labels(other) if is_selected(selector, pod)]
        assert [pod for pod in labels(one) if is_selected(selector, pod)]
