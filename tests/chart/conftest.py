"""Renders the chart with Helm's own engine, from a wheel: no helm program is needed.

The engine's Python package is young; nothing but this file knows it.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import helm_python.chart
import kubernetes_validate
import pytest
import yaml
from helm_python.errors import HelmError

from chart import docs
from tests.chart.pinned import write_chart

FOLDER = docs.FOLDER

Object = dict[str, Any]

#: The template's own files below chart/templates that render objects; a team adds others.
TEMPLATES = set(
    """
    certificates checks database deployment externalsecret horizontalpodautoscaler httproute ingress
    keeper-cronjob keeper-job monitoring networkpolicies poddisruptionbudget prometheusrule rbac
    secretproviderclass secrets service serviceaccounts tests/request
    """.split()
)

#: The keys of the service's Secret without a team's own, and those that a pod can't start without.
BASE_KEYS = [
    "SECRET_KEY",
    "SECRET_KEY_FALLBACKS",
    "DATABASE_USERNAME",
    "DATABASE_PASSWORD",
    "GENERATION",
]
REQUIRED = {"SECRET_KEY", "DATABASE_USERNAME", "DATABASE_PASSWORD"}

OBJECTS = {"session": "flask-app/session", "database": "flask-app/database"}
VAULT = {"address": "https://vault.example.org:8200", "role": "flask-app"}
AWS = {"region": "eu-central-1", "roleARN": "arn:aws:iam::123456789012:role/flask-app"}
_SYNC = "flask-app-external-secrets"
_LOGIN_KEYS = {"DATABASE_USERNAME": "username", "DATABASE_PASSWORD": "password"}
_SESSION_KEYS = {"SECRET_KEY": "session-key", "SECRET_KEY_FALLBACKS": "session-key-fallbacks"}
_OF_AWS = {"objects": OBJECTS, "keys": _LOGIN_KEYS}
_RENEWED = {"refreshInterval": "1m"}
_TRUSTED = VAULT | {"caSecret": "vault-ca"}
_PEERS = {
    "database": [{"ipBlock": {"cidr": "10.1.2.0/24"}}],
    "vault": [{"ipBlock": {"cidr": "10.1.3.0/24"}}],
}


def _example(source: str, *peers: str, **secrets: Any) -> dict[str, Any]:
    return {
        "secrets": {"source": source, **secrets},
        "postgresql": {"enabled": False},
        "database": {"host": "db.example.org", "caConfigMap": "db-ca"},
        "networkPolicy": {name: _PEERS[name] for name in ("database", *peers)},
    }


#: Values for each source of secrets and each manager: those of docs/external.
EXAMPLES: dict[str, dict[str, Any]] = {
    "existing": _example(
        "existing", existingSecret="shop-credentials", keys=_SESSION_KEYS | _LOGIN_KEYS
    ),
    "external-secrets-vault": _example(
        "external-secrets", objects=OBJECTS, vault=_TRUSTED | {"role": _SYNC}, **_RENEWED
    ),
    "external-secrets-aws": _example(
        "external-secrets",
        aws=AWS | {"roleARN": AWS["roleARN"].replace("flask-app", _SYNC)},
        **_OF_AWS,
        **_RENEWED,
    ),
    "vault-agent": _example("vault-agent", "vault", objects=OBJECTS, vault=_TRUSTED, **_RENEWED),
    "vault-agent-database": _example(
        "vault-agent",
        "vault",
        objects={"session": OBJECTS["session"]},
        vault=_TRUSTED | {"databasePath": "database/creds/flask-app"},
        **_RENEWED,
    ),
    "csi-vault": _example(
        "csi", objects=OBJECTS, vault=VAULT | {"providerCAFile": "/vault/tls/ca.crt"}
    ),
    "csi-aws": _example("csi", aws=AWS, **_OF_AWS),
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
    """The objects that some of the chart's templates render with some values, and the notes."""

    def __init__(self, texts: dict[str, str], names: Collection[str], values: Object) -> None:
        self.notes = next(text for name, text in texts.items() if name.endswith("NOTES.txt"))
        self.values = values
        self._texts = {name: text for name, text in texts.items() if name in names}

    @cached_property
    def templates(self) -> dict[str, list[Object]]:
        """The objects of each template, by its path below chart/templates."""
        return {name: pickle.loads(pickled(text)) for name, text in self._texts.items()}

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
        assert len(templates) >= 2
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


class Refused(Exception):
    """The chart does not render with these values; the message is Helm's."""


class Chart:
    """A chart, which renders the same values only once."""

    def __init__(self, folder: Path) -> None:
        self.helm = helm_python.chart.Chart.load(folder)
        self._kept: dict[str, dict[str, str] | Refused] = {}

    def texts(self, release: str, revision: int, values: dict[str, Any]) -> dict[str, str]:
        """Return what each template renders, by its path below chart/templates.

        :raises Refused: the schema or a template refuses the values.
        """
        key = repr((release, revision, values))
        if key not in self._kept:
            try:
                # as an install does: the schema first
                texts = self.helm.render(values, name=release, namespace="shop", revision=revision)
                self._kept[key] = {
                    name.partition("/templates/")[2]: text for name, text in texts.items()
                }
            except HelmError as error:
                self._kept[key] = Refused(str(error))
        found = self._kept[key]
        if isinstance(found, Refused):
            raise Refused(*found.args)
        return found

    def check_schema(self, values: dict[str, Any]) -> None:
        """Check values against the schema alone.

        :raises Refused: the schema refuses them.
        """
        try:
            self.helm.validate_schema(self.helm.merge_values(values))
        except HelmError as error:
            raise Refused(str(error)) from None

    def render(self, release: str = "flask-app", revision: int = 1, **values: Any) -> Rendered:
        """Render the template's own templates, as objects of one's own."""
        names = {f"{name}.yaml" for name in TEMPLATES}
        return Rendered(self.texts(release, revision, values), names, values)

    def whole(self, **values: Any) -> Rendered:
        """Render all templates, a team's own among them."""
        texts = self.texts("flask-app", 1, values)
        names = [name for name in texts if name.endswith((".yaml", ".yml"))]
        return Rendered(texts, names, self.helm.merge_values(values))


Render = Callable[..., Rendered]


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    """Return the chart with the default values of tests/chart/values.yaml."""
    folder = tmp_path_factory.mktemp("pinned") / "chart"
    write_chart(folder)
    return Chart(folder)


@pytest.fixture(scope="session")
def render(pinned: Chart) -> Render:
    """Return a function that renders the template's own templates with some values turned."""
    return pinned.render


@pytest.fixture(scope="session")
def chart() -> Chart:
    """Return the chart as it is, with the default values of chart/values.yaml."""
    return Chart(FOLDER)


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


@pytest.fixture(params=[*VARIANTS, "values.yaml"])
def whole(request: pytest.FixtureRequest, pinned: Chart, chart: Chart) -> Rendered:
    """Return all objects, a team's own among them: of each variant, and of chart/values.yaml."""
    name = request.param
    return chart.whole() if name == "values.yaml" else pinned.whole(**VARIANTS[name])
