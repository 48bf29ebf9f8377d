"""Objects that are not Kubernetes' own, against the definitions of those who made them.

The definitions are in the folder CRD_DIR: without it, nothing here says that an object is valid.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.conftest import CUSTOM_KINDS, EXAMPLES, VARIANTS, Object, Render, Rendered

#: Schemas by API version and kind.
Definitions = dict[tuple[str, str], Object]

ALL = VARIANTS | EXAMPLES

#: Kinds whose definition CRD_DIR may lack; where it has one, they are checked, too.
MAY_LACK = {"BackendTLSPolicy", "HTTPRoute"}

CRD_DIR = os.environ.get("CRD_DIR", "")
needs_definitions = pytest.mark.skipif(
    not CRD_DIR, reason="CRD_DIR names no folder with CustomResourceDefinitions"
)


def unknown(value: Any, schema: Object, path: str) -> Iterator[str]:
    """Yield the path of each field that the schema does not know, which would be dropped."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from unknown(one, schema.get("items", {}), f"{path}[{number}]")
    elif isinstance(value, dict):
        fields, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        is_open = schema.get("x-kubernetes-preserve-unknown-fields") or others is True
        for name, one in value.items():
            if name in fields:
                yield from unknown(one, fields[name], f"{path}.{name}")
            elif others and others is not True:
                yield from unknown(one, others, f"{path}.{name}")
            elif not is_open:
                yield f"{path}.{name}"


def with_both_types(schema: Any) -> Any:
    """Return a schema in which what may be a number or a text says so in JSON Schema's words."""
    if isinstance(schema, list):
        return [with_both_types(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: with_both_types(one) for name, one in schema.items()}
    if schema.get("x-kubernetes-int-or-string") is True:
        found["type"] = ["integer", "string"]
    return found


def faults(one: Object, schema: Object) -> list[str]:
    """Return what the API server would refuse or drop in an object."""
    # every object has these, and a definition says nothing about them
    spec = {name: value for name, value in one.items() if name not in ("apiVersion", "metadata")}
    dropped = [f"{path} is unknown" for path in unknown(spec, schema, one["kind"])]
    validator = jsonschema.Draft202012Validator(with_both_types(schema))
    refused = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(one)]
    return dropped + refused


def definitions_in(folder: Path) -> Definitions:
    """Read the schema of each version that is served."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.load_all(path.read_text("utf-8"), yaml.CSafeLoader):
            if document and document["kind"] == "CustomResourceDefinition":
                spec = document["spec"]
                for version in spec["versions"]:
                    if version["served"]:
                        api = f"{spec['group']}/{version['name']}"
                        schema = version["schema"]["openAPIV3Schema"]
                        found[api, spec["names"]["kind"]] = schema
    assert found, f"CRD_DIR: there is no CustomResourceDefinition in {folder.absolute()}"
    return found


@pytest.fixture(scope="module")
def definitions() -> Definitions:
    return definitions_in(Path(CRD_DIR))


def custom(rendered: Rendered) -> list[Object]:
    return [one for one in rendered.objects if one["kind"] in CUSTOM_KINDS]


def seen(render: Render) -> dict[tuple[str, str], Object]:
    """Return one object of each kind, from all variants."""
    return {
        (one["apiVersion"], one["kind"]): one
        for values in ALL.values()
        for one in custom(render(**values))
    }


def test_the_variants_have_each_kind(render: Render) -> None:
    assert {kind for _, kind in seen(render)} == CUSTOM_KINDS


@needs_definitions
def test_every_other_kind_has_a_definition(render: Render, definitions: Definitions) -> None:
    without = {kind for api, kind in seen(render) if (api, kind) not in definitions}
    assert without <= MAY_LACK


@needs_definitions
@pytest.mark.parametrize("name", ALL)
def test_every_object_is_what_its_definition_says(
    render: Render, definitions: Definitions, name: str
) -> None:
    for one in custom(render(**ALL[name])):
        schema = definitions.get((one["apiVersion"], one["kind"]))
        if schema is None:
            assert one["kind"] in MAY_LACK
        else:
            assert faults(one, schema) == [], one["kind"]


@needs_definitions
def test_a_fault_in_each_kind_would_be_seen(render: Render, definitions: Definitions) -> None:
    for owner, one in seen(render).items():
        if owner in definitions:
            schema = definitions[owner]
            assert faults(one, schema) == []
            misspelt = {**one, "spec": {**one["spec"], "misspelt": 1}}
            assert faults(misspelt, schema) == [f"{owner[1]}.spec.misspelt is unknown"]
            assert faults({**one, "spec": "text"}, schema)


#: A definition's schema with every word that matters here.
SCHEMA: Object = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string"},
                "level": {"enum": ["high", "low"]},
                "ports": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"port": {"x-kubernetes-int-or-string": True}},
                    },
                },
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "rest": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
    },
}


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "a", "level": "low"},
        {"name": "a", "ports": [{"port": 1}, {"port": "http"}]},
        {"name": "a", "labels": {"any": "text"}, "rest": {"any": {"thing": 1}}},
    ],
)
def test_what_a_definition_allows_is_no_fault(spec: Object) -> None:
    whole = {"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec}
    assert faults(whole, SCHEMA) == []


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({}, "'name' is a required property"),
        ({"name": 1}, "1 is not of type 'string'"),
        ({"name": "a", "level": "middle"}, "is not one of"),
        ({"name": "a", "nmae": "a"}, "A.spec.nmae is unknown"),
        ({"name": "a", "ports": [{"prot": 1}]}, "A.spec.ports[0].prot is unknown"),
        ({"name": "a", "ports": [{"port": 1.5}]}, "1.5 is not of type"),
        ({"name": "a", "labels": {"any": 1}}, "1 is not of type 'string'"),
    ],
)
def test_a_fault_would_be_seen(spec: Object, fault: str) -> None:
    (found,) = faults({"apiVersion": "a/v1", "kind": "A", "spec": spec}, SCHEMA)
    assert fault in found
