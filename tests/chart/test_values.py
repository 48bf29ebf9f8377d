"""Every value arrives in its place, and every value is turned by somebody."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.chart.conftest import FOLDER, VARIANTS, Chart, Loader, Render, Rendered
from tests.chart.pinned import leaves

#: Values by their dotted paths.
Flat = dict[str, Any]
NOTHING: Flat = {}

# nothing in the chart reads `global`: it is there for parent charts
LEAVES = [leaf for leaf in leaves() if leaf != "global"]


def nested(flat: Flat) -> dict[str, Any]:
    """Return values as Helm wants them."""
    values: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        inner = values
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return values


def at(found: Any, path: str) -> Any:
    """Return what is at a path such as `spec.ports[https].port`; None: nothing is.

    In brackets is the key of a mapping, or an element's number or `name` in a list.
    """
    for bracketed, plain in re.findall(r"\[([^\]]+)\]|([^.\[\]]+)", path):
        key = bracketed or plain
        if isinstance(found, list) and key.isdigit():
            found = found[int(key)] if int(key) < len(found) else None
        elif isinstance(found, list):
            found = next((one for one in found if one.get("name") == key), None)
        else:
            found = (found or {}).get(key)
    return found


class Row(NamedTuple):
    """One value, and where it arrives."""

    name: str
    value: Any
    #: The object, as kind and name, and the path in it.
    owner: str
    path: str
    #: What is there, and is not there with `base` alone; None: nothing is.
    expected: Any
    #: Values that this one needs.
    base: Flat = NOTHING
    #: Values that can be turned together with it only.
    also: Flat = NOTHING

    def turned(self) -> Flat:
        return self.base | self.also | {self.name: self.value}

    def found(self, rendered: Rendered) -> Any:
        kind, _, name = self.owner.partition("/")
        for one in rendered.objects:
            if (one["kind"], one["metadata"]["name"]) == (kind, name):
                return at(one, self.path)
        return None


#: What rows.yaml calls the objects with pods: kind and name, their pod's path, and its container.
PODS = {
    "service": ("Deployment/flask-app", "spec.template", "service"),
    "keeper": ("CronJob/flask-app-keeper", "spec.jobTemplate.spec.template", "keeper"),
    "database": ("StatefulSet/flask-app-database", "spec.template", "postgresql"),
    "test": ("Pod/flask-app-test", "", "request"),
}

NAMES = [f"flask-app{rest}" for rest in ("", ".shop", ".shop.svc", ".shop.svc.cluster.local")]

#: What stands in rows.yaml for what is long, or another one in another project.
WORDS = {
    "<version>": yaml.safe_load((FOLDER / "Chart.yaml").read_text("utf-8"))["appVersion"],
    "<digest>": "sha256:" + "0123456789abcdef" * 4,
    "<hosts>": ",".join([*NAMES, "localhost", "127.0.0.1"]),
    "<name>": "flask-app",
}


def place(owner: str, path: str) -> tuple[str, str]:
    """Return an object's kind and name, and a path in it, that rows.yaml has in short."""
    if owner not in PODS:
        kind, dash, rest = owner.replace("policy", "NetworkPolicy").partition("-")
        return f"{kind}/flask-app{dash}{rest}" if "/" not in owner else owner, path
    name, template, container = PODS[owner]
    pod = f"{template}.spec".removeprefix(".")
    path = re.sub(r"^vault\[", "meta.annotations.[vault.hashicorp.com/", path)
    path = re.sub(r"^\$(\w+)$", r"container.env[\1].value", path)
    path = re.sub(r"^container\b", f"pod.containers[{container}]", path)
    path = re.sub(r"^meta\b", f"{template}.metadata", path)
    return name, re.sub(r"^pod\b", pod, path)


def read_rows() -> list[Row]:
    text = Path(__file__).with_name("rows.yaml").read_text("utf-8")
    for short, word in WORDS.items():
        text = text.replace(short, word)
    file = yaml.load(text, Loader)

    def values_of(names: str) -> Flat:
        return {path: one for name in names.split() for path, one in file["values"][name].items()}

    rows = []
    for row in file["rows"]:
        name, value = next(iter(row.items()))
        base = values_of(row.get("with", "")) | row.get("and", {})
        for place_ in row["at"] if isinstance(row["at"], list) else [row["at"]]:
            owners, *paths = place_.split(" ")
            rows += [
                Row(
                    *(name, value, *place(owner, path), row.get("is", value)),
                    base=base,
                    also=values_of(row.get("also", "")),
                )
                for owner, path in itertools.product(owners.split("+"), paths)
            ]
    return rows


ROWS = read_rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}={row.value}-{row.owner}")
def test_a_value_arrives(render: Render, row: Row) -> None:
    found = row.found(render(**nested(row.turned())))
    # 1 == 1.0 == True
    assert (type(found), found) == (type(row.expected), row.expected)
    assert row.found(render(**nested(row.base))) != row.expected


def test_every_value_has_a_row() -> None:
    assert {row.name for row in ROWS} == set(LEAVES)


def test_the_variants_turn_every_value(pinned: Chart) -> None:
    defaults = pinned.helm.merge_values({})
    missing = set(LEAVES)
    for variant in VARIANTS.values():
        values = pinned.helm.merge_values(variant)
        missing -= {leaf for leaf in LEAVES if at(values, leaf) != at(defaults, leaf)}
    assert not missing, f"turn these in chart/ci: {sorted(missing)}"


def test_common_labels_are_on_every_object_and_pod(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant | {"commonLabels": {"team": "a"}})
    for one in rendered.objects:
        assert one["metadata"]["labels"]["team"] == "a", one
    for where, pod in rendered.pod_templates().items():
        assert pod["metadata"]["labels"]["team"] == "a", where


def test_common_labels_select_nothing(render: Render, variant: dict[str, Any]) -> None:
    """A selector can't be changed, and these labels can."""
    without, with_them = (
        [
            [at(one, f"spec.{path}") for path in ("selector", "podSelector")]
            for one in render(**variant | {"commonLabels": labels}).objects
        ]
        for labels in ({}, {"team": "a"})
    )
    assert without == with_them


def test_a_label_of_its_own_goes_over_a_common_one(render: Render) -> None:
    rendered = render(commonLabels={"team": "a"}, podLabels={"team": "b"})
    labels = {
        where: pod["metadata"]["labels"]["team"] for where, pod in rendered.pod_templates().items()
    }
    assert labels.pop("Deployment/flask-app") == "b"
    assert set(labels.values()) == {"a"}


def test_common_annotations_are_on_every_object_and_no_pod(
    render: Render, variant: dict[str, Any]
) -> None:
    rendered = render(**variant | {"commonAnnotations": {"note": "a"}})
    for one in rendered.objects:
        assert one["metadata"]["annotations"]["note"] == "a", one
    for where, pod in rendered.pod_templates().items():
        if not where.startswith("Pod/"):
            assert "note" not in pod["metadata"].get("annotations", {}), where


def test_a_common_annotation_leaves_the_others(render: Render) -> None:
    rendered = render(
        commonAnnotations={"note": "a"},
        service={"annotations": {"b": "c"}},
        deploymentAnnotations={"note": "b"},
    )
    assert rendered.one("Service", "flask-app")["metadata"]["annotations"] == {
        "note": "a",
        "b": "c",
    }
    assert rendered.one("Deployment", "flask-app")["metadata"]["annotations"] == {"note": "b"}
    test = rendered.one("Pod", "flask-app-test")["metadata"]["annotations"]
    assert test["helm.sh/hook"] == "test"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("imagePullSecrets", [{"name": "registry"}]),
        ("priorityClassName", "low"),
        ("runtimeClassName", "kata"),
        ("hostUsers", False),
        ("hostUsers", True),
    ],
)
def test_what_every_pod_gets(
    render: Render, variant: dict[str, Any], name: str, value: Any
) -> None:
    for where, pod in render(**variant | {name: value}).pods().items():
        assert pod[name] == value, where


def test_the_user_is_that_of_every_pod_but_the_databases(render: Render) -> None:
    numbers = {"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3}
    pods = render(securityContext=numbers).pods()
    database = pods.pop("StatefulSet/flask-app-database")["securityContext"]
    assert {database[field] for field in numbers} == {999}
    for where, pod in pods.items():
        assert numbers.items() <= pod["securityContext"].items(), where


def test_placements_are_not_mixed_up(render: Render) -> None:
    rendered = render(
        nodeSelector={"on": "service"},
        keeper={"nodeSelector": {"on": "keeper"}},
        postgresql={"nodeSelector": {"on": "database"}},
    )
    found = {
        where.split("/")[0]: pod["nodeSelector"]["on"] for where, pod in rendered.pods().items()
    }
    assert found == {
        "Deployment": "service",
        "StatefulSet": "database",
        "CronJob": "keeper",
        "Job": "keeper",
        "Pod": "keeper",
    }


@pytest.mark.parametrize(
    ("name", "owner", "path"),
    [
        ("sessionLifetime", "service", "$SESSION_LIFETIME_SECONDS"),
        ("sessionLifetime", "keeper", "$SESSION_LIFETIME_SECONDS"),
        ("keeper.waitSeconds", "keeper", "$WAIT_SECONDS"),
        ("keeper.rotation.interval", "keeper", "$ROTATION_INTERVAL_SECONDS"),
        ("securityContext.runAsUser", "service", "pod.securityContext.runAsUser"),
        ("securityContext.runAsGroup", "service", "pod.securityContext.runAsGroup"),
        ("securityContext.fsGroup", "keeper", "pod.securityContext.fsGroup"),
    ],
)
def test_a_large_number_is_written_as_a_number(
    render: Render, name: str, owner: str, path: str
) -> None:
    """Helm reads it as a float, and would write 3.1536e+08."""
    row = Row(name, 315_360_000, *place(owner, path), None)
    found = row.found(render(**nested(row.turned())))
    assert isinstance(found, int | str)
    assert str(found) == "315360000"
