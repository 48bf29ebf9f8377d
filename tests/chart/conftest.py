"""Renders the chart with Helm's own engine, from a wheel: no helm program is needed.

The engine's Python package is young; nothing but this file knows it.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import helm_python.chart
import kubernetes_validate
import pytest
import yaml
from helm_python.errors import HelmError

FOLDER = Path(__file__).parents[2] / "chart"

Object = dict[str, Any]

#: The values files of docs/external, by name: one for each source of secrets and its manager.
EXAMPLES: dict[str, dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((FOLDER.parent / "docs" / "external").glob("*.yaml"))
}

#: Values files that together turn everything, by name; "default" turns nothing. Of the examples,
#: one for each source: the others have another manager.
VARIANTS: dict[str, dict[str, Any]] = {
    path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text())
    for path in sorted((FOLDER / "ci").glob("*-values.yaml"))
} | {
    name: EXAMPLES[name]
    for name in ("existing", "external-secrets-aws", "vault-agent-database", "csi-vault")
}

#: A database that is not the chart's, verified with a ConfigMap.
OWN_DATABASE: dict[str, Any] = {
    "postgresql": {"enabled": False},
    "database": {"host": "db.example.org", "adminSecret": "db-admin", "caConfigMap": "db-ca"},
}

#: Where the service's certificate is from, but for the keeper.
ISSUED: dict[str, Any] = {"tls": {"source": "cert-manager"}}
EXISTING: dict[str, Any] = {"tls": {"source": "existing", "existingSecret": "shop-tls"}}

#: The kinds of objects that are not Kubernetes' own.
CUSTOM_KINDS = {
    "BackendTLSPolicy",
    "Certificate",
    "ExternalSecret",
    "HTTPRoute",
    "Issuer",
    "PodMonitor",
    "PrometheusRule",
    "SecretProviderClass",
    "SecretStore",
    "ServiceMonitor",
}


class Loader(yaml.CSafeLoader):
    """Reads YAML, and refuses a key that stands twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice in one mapping: {sorted(keys)}"
        return super().construct_mapping(node, deep)


@functools.cache
def pickled(text: str) -> bytes:
    """Return the objects of one template; most values leave most templates as they are."""
    return pickle.dumps([document for document in yaml.load_all(text, Loader) if document])


class Rendered:
    """The objects and the notes that the chart renders."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.notes = next(text for name, text in texts.items() if name.endswith("NOTES.txt"))
        self._texts = texts

    @cached_property
    def templates(self) -> dict[str, list[Object]]:
        """The objects of each template, by its path below chart/templates."""
        return {
            name.partition("/templates/")[2]: pickle.loads(pickled(text))
            for name, text in self._texts.items()
            if name.endswith(".yaml")
        }

    @cached_property
    def objects(self) -> list[Object]:
        """The objects of all templates."""
        return [one for objects in self.templates.values() for one in objects]

    def names(self, template: str) -> list[str]:
        """Return the kind and name of each object of a template, sorted."""
        return sorted(f"{o['kind']}/{o['metadata']['name']}" for o in self.templates[template])

    def of_kind(self, kind: str) -> list[Object]:
        """Return all objects of a kind, of which there has to be one at least."""
        found = [found for found in self.objects if found["kind"] == kind]
        assert found, f"no {kind} is rendered"
        return found

    def one(self, kind: str, name: str | None = None) -> Object:
        """Return the one object of that kind, and of that name if one is given."""
        (found,) = (
            one for one in self.of_kind(kind) if name is None or one["metadata"]["name"] == name
        )
        return found

    @property
    def fullname(self) -> str:
        """Return the first part of every object's name."""
        return str(self.one("Deployment")["metadata"]["name"])

    def pod_templates(self) -> dict[str, Object]:
        """Return metadata and spec of every pod, by its owner's kind and name."""
        templates = {}
        for owner in self.objects:
            spec = owner.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            template = owner if owner["kind"] == "Pod" else spec.get("template")
            if template:
                templates[f"{owner['kind']}/{owner['metadata']['name']}"] = template
        assert len(templates) >= 3
        return templates

    def pods(self) -> dict[str, Object]:
        """Return the spec of every pod, by its owner's kind and name."""
        return {owner: template["spec"] for owner, template in self.pod_templates().items()}


def pod_of(owner: Object) -> Object:
    """Return the spec of the pods of a Deployment, a StatefulSet or a Job."""
    found: Object = owner["spec"]["template"]["spec"]
    return found


def containers(pod: Object) -> list[Object]:
    """Return all containers of a pod, those that run first included."""
    return [*pod["containers"], *pod.get("initContainers", [])]


def environment(container: Object) -> dict[str, str]:
    """Return the variables of a container that have a value of their own."""
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def secret_volumes(pod: Object) -> dict[str, Object]:
    """Return the volumes of a pod that are Secrets, by name."""
    return {v["name"]: v["secret"] for v in pod.get("volumes", []) if "secret" in v}


def is_selected(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Tell whether a selector, which has labels alone, selects what has these labels."""
    return selector.items() <= labels.items()


def source_of(values: dict[str, Any]) -> str:
    """Return where the secrets are from, with these values."""
    return str(values.get("secrets", {}).get("source", "keeper"))


Render = Callable[..., Rendered]


class Refused(Exception):
    """The chart does not render with these values; the message is Helm's."""


@pytest.fixture(scope="session")
def chart() -> helm_python.chart.Chart:
    return helm_python.chart.Chart.load(FOLDER)


@pytest.fixture(scope="session")
def render(chart: helm_python.chart.Chart) -> Render:
    """Return a function that renders the chart with some values turned, as objects of one's own."""
    kept: dict[str, dict[str, str] | Refused] = {}

    def texts(values: dict[str, Any], **release: Any) -> dict[str, str] | Refused:
        try:
            # as an install does: the schema first
            return chart.render(values, namespace="shop", **release)
        except HelmError as error:
            return Refused(str(error))

    def render(release: str = "flask-app", revision: int = 1, **values: Any) -> Rendered:
        key = repr((release, revision, values))
        if key not in kept:
            kept[key] = texts(values, name=release, revision=revision)
        found = kept[key]
        if isinstance(found, Refused):
            raise Refused(*found.args)
        return Rendered(found)

    return render


@pytest.fixture(scope="session", autouse=True)
def schemas() -> Iterator[None]:
    """Read each schema of Kubernetes once, and not for every object."""
    read_once = functools.cache(kubernetes_validate.utils.schema_contents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", read_once)
        yield


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the values of each variant in turn."""
    return VARIANTS[request.param]


@pytest.fixture(scope="session")
def lint() -> Callable[[], dict[str, Any]]:
    """Return a function that does what `helm lint --strict` does."""
    return lambda: helm_python.chart.lint(FOLDER, strict=True)
