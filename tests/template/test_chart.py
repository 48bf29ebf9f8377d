"""What the template promises of its chart, and what its pages say of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.chart.conftest import (
    CUSTOM_KINDS,
    EXAMPLES,
    FOLDER,
    TEMPLATES,
    Render,
    environment,
    pod_of,
)
from tests.chart.pinned import PINNED
from tests.chart.test_every_object import VERSIONS
from tests.chart.test_names import NEWEST
from tests.pages import Block, blocks

PAGE = "chart/README.md"


def load(path: Path) -> object:
    return yaml.safe_load(path.read_text("utf-8"))


def test_the_tests_use_the_default_values() -> None:
    assert load(PINNED) == load(FOLDER / "values.yaml")


def test_the_tests_use_the_values_of_the_pages() -> None:
    folder = FOLDER.parent / "docs" / "external"
    assert {path.stem: load(path) for path in folder.glob("*.yaml")} == EXAMPLES


def test_the_tests_know_each_template() -> None:
    folder = FOLDER / "templates"
    names = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    assert names == TEMPLATES


def test_the_oldest_version_is_1_25() -> None:
    assert VERSIONS[0] == "1.25"


def test_no_setting_is_left_to_its_default(render: Render) -> None:
    """Defaults are for a laptop: the chart says what holds in a cluster."""
    (service,) = pod_of(render().one("Deployment"))["containers"]
    # this one follows from two others
    settings = {field.name.upper() for field in fields(Settings)} - {"DATABASE_CHANNEL_BINDING"}
    assert {variable["name"] for variable in service["env"]} == settings


@pytest.mark.parametrize("block", blocks(PAGE, "yaml"), ids=str)
def test_the_values_on_the_page_are_values_of_the_chart(render: Render, block: Block) -> None:
    objects = [*render(**yaml.safe_load(block.text)).objects]
    assert len(objects) >= 10
    for rendered in objects:
        # test_custom_resources.py has these
        if rendered["kind"] in CUSTOM_KINDS:
            continue
        assert kubernetes_validate.validate(rendered, NEWEST, strict=True) == NEWEST


def values_under_a_path(word: str) -> dict[str, object]:
    """Return the values on the page that serve under a path, by an Ingress or an HTTPRoute."""
    (text,) = (
        block.text
        for block in blocks(PAGE, "yaml")
        if block.heading == "Under a path" and word in block.text
    )
    return dict(yaml.safe_load(text))


@pytest.mark.parametrize("way", ["ingress", "httpRoute"])
def test_the_service_is_told_of_its_path(render: Render, way: str) -> None:
    (service,) = pod_of(render(**values_under_a_path(way)).one("Deployment"))["containers"]
    assert environment(service)["TRUSTED_PROXIES"] == "1"
    assert "example.org" in environment(service)["TRUSTED_HOSTS"].split(",")


def test_the_page_strips_a_path_by_an_ingress(render: Render) -> None:
    ingress = render(**values_under_a_path("ingress")).one("Ingress")
    said = {
        name.rpartition("/")[2]: text for name, text in ingress["metadata"]["annotations"].items()
    }
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    # its second group is what comes after the prefix
    assert path["path"] == f"{said['x-forwarded-prefix']}(/|$)(.*)"
    assert path["pathType"] == "ImplementationSpecific"
    assert (said["rewrite-target"], said["backend-protocol"]) == ("/$2", "HTTPS")


def test_the_page_strips_a_path_by_an_http_route(render: Render) -> None:
    (rule,) = render(**values_under_a_path("httpRoute")).one("HTTPRoute")["spec"]["rules"]
    (match,) = rule["matches"]
    rewrite, headers = rule["filters"]
    assert match["path"] == {"type": "PathPrefix", "value": "/shop"}
    assert rewrite["urlRewrite"]["path"] == {
        "type": "ReplacePrefixMatch",
        "replacePrefixMatch": "/",
    }
    # in place of one that the client wrote
    assert headers["requestHeaderModifier"] == {
        "set": [{"name": "X-Forwarded-Prefix", "value": match["path"]["value"]}],
        "remove": ["X-Forwarded-Host"],
    }
