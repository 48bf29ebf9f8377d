"""What the chart renders by default and with its values turned."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app import KEYS
from app.keeper.plan import Service
from app.keeper.settings import plan_from
from tests.chart.conftest import FOLDER, Object, Refused, Render

#: The oldest one that Chart.yaml allows, one in the middle, and the newest.
VERSIONS = ("1.25", "1.31", "1.37")

OWN_DATABASE = {
    "postgresql": {"enabled": False},
    "database": {"host": "db.example.org", "adminSecret": "db-admin", "caConfigMap": "db-ca"},
}
NODE_PORT = {"service": {"type": "NodePort", "nodePort": 30443}}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "own database": OWN_DATABASE,
    "node port": NODE_PORT,
    "everything turned": {
        "replicas": 5,
        "image": {"repository": "registry.example.org/shop", "tag": "1.2.3"},
        "imagePullSecrets": [{"name": "registry"}],
        "podAnnotations": {"example.org/owner": "shop"},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "logLevel": "DEBUG",
        "sessionLifetime": 31_536_000,
        "secrets": {"checkSeconds": 0.5},
        "tls": {"extraNames": ["shop.example.org"]},
        "keeper": {
            "waitSeconds": 600,
            "settleSeconds": 5,
            "rotation": {"interval": 604_800, "schedule": "@daily"},
        },
        "postgresql": {"storage": {"size": "10Gi", "className": "fast"}},
    },
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    return VARIANTS[request.param]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(render: Render, variant: dict[str, Any], version: str) -> None:
    objects = render(**variant).objects
    assert len(objects) >= 10
    for rendered in objects:
        assert kubernetes_validate.validate(rendered, version, strict=True) == version


def test_an_invalid_object_would_be_seen(render: Render) -> None:
    deployment = render().one("Deployment", "flask-app")
    deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] = "https"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


def test_what_is_rendered_by_default(render: Render) -> None:
    names = sorted(f"{o['kind']}/{o['metadata']['name']}" for o in render().objects)
    job = next(name for name in names if name.startswith("Job/"))
    assert job.startswith("Job/flask-app-keeper-")
    assert names == sorted(
        [
            "ConfigMap/flask-app-database",
            "CronJob/flask-app-keeper",
            "Deployment/flask-app",
            job,
            "Pod/flask-app-test",
            "Role/flask-app-keeper",
            "RoleBinding/flask-app-keeper",
            "Secret/flask-app-ca",
            "Secret/flask-app-database-admin",
            "Secret/flask-app-database-tls",
            "Secret/flask-app-secrets",
            "Secret/flask-app-tls",
            "Service/flask-app",
            "Service/flask-app-database",
            "Service/flask-app-metrics",
            "ServiceAccount/flask-app",
            "ServiceAccount/flask-app-keeper",
            "StatefulSet/flask-app-database",
        ]
    )


def test_no_secret_has_data(render: Render, variant: dict[str, Any]) -> None:
    for secret in render(**variant).of_kind("Secret"):
        assert set(secret) == {"apiVersion", "kind", "metadata", "type"}
        assert secret["type"] == "Opaque"


def test_templates_make_up_nothing(render: Render) -> None:
    templates = [path.read_text() for path in FOLDER.rglob("templates/**/*") if path.is_file()]
    assert len(templates) >= 10
    for word in (
        "lookup",
        "randAlpha",
        "randNumeric",
        "genCA",
        "genSelfSigned",
        "htpasswd",
        "subPath:",
    ):
        assert not [text for text in templates if word in text]
    assert render().objects == render().objects


def test_every_pod_is_hardened(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, owner
        assert security["runAsUser"] > 0, owner
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert pod["enableServiceLinks"] is False, owner
        assert pod["serviceAccountName"] != "default", owner
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), owner
        for container in pod["containers"] + pod.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, owner
            assert container["resources"]["limits"]["memory"], owner
            assert not container["image"].endswith(":latest"), owner


def test_no_secret_goes_through_the_environment(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        for container in pod["containers"] + pod.get("initContainers", []):
            assert "envFrom" not in container, owner
            for variable in container.get("env", []):
                assert set(variable) == {"name", "value"}, owner


def test_only_the_keeper_has_a_token(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    for owner, pod in rendered.pods().items():
        assert pod["automountServiceAccountToken"] is ("Job/" in owner), owner
    for account in rendered.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_the_keeper_may_get_and_patch_five_secrets_by_name(render: Render) -> None:
    (role,) = render().of_kind("Role")
    (rule,) = role["rules"]
    assert (rule["apiGroups"], rule["resources"]) == ([""], ["secrets"])
    assert sorted(rule["verbs"]) == ["get", "patch"]
    assert sorted(rule["resourceNames"]) == sorted(
        secret["metadata"]["name"] for secret in render().of_kind("Secret")
    )
    (binding,) = render().of_kind("RoleBinding")
    assert [subject["name"] for subject in binding["subjects"]] == ["flask-app-keeper"]


def test_the_administrator_of_ones_own_database_is_read_only(render: Render) -> None:
    (role,) = render(**OWN_DATABASE).of_kind("Role")
    rules = {tuple(rule["resourceNames"]): rule["verbs"] for rule in role["rules"]}
    assert rules[("db-admin",)] == ["get"]
    assert "flask-app-database-admin" not in str(role)


def secret_volumes(pod: Object) -> dict[str, Object]:
    return {v["name"]: v["secret"] for v in pod["volumes"] if "secret" in v}


def test_pods_name_the_keys_that_they_wait_for(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    for owner, pod in rendered.pods().items():
        for volume in secret_volumes(pod).values():
            assert volume["items"], owner
            assert volume["defaultMode"] == 0o400, owner
            assert "optional" not in volume, owner
    service = secret_volumes(rendered.pods()["Deployment/flask-app"])
    assert [item["key"] for item in service["secrets"]["items"]] == [key.name for key in KEYS]


def test_the_service_gets_of_the_databases_secret_the_ca_alone(render: Render) -> None:
    volumes = secret_volumes(render().pods()["Deployment/flask-app"])
    assert volumes["database-ca"]["secretName"] == "flask-app-database-tls"
    assert [item["key"] for item in volumes["database-ca"]["items"]] == ["ca.crt"]
    mounted = {volume["secretName"] for volume in volumes.values()}
    assert "flask-app-database-admin" not in mounted


def test_nobody_mounts_the_authority(render: Render, variant: dict[str, Any]) -> None:
    for owner, pod in render(**variant).pods().items():
        for volume in secret_volumes(pod).values():
            assert volume["secretName"] != "flask-app-ca", owner


def test_only_the_init_container_sees_the_administrators_password(render: Render) -> None:
    database = render().pods()["StatefulSet/flask-app-database"]
    (init,) = database["initContainers"]
    (server,) = database["containers"]
    assert "admin" in {mount["name"] for mount in init["volumeMounts"]}
    assert "admin" not in {mount["name"] for mount in server["volumeMounts"]}


def test_the_demo_database_takes_tls_and_passwords_only(render: Render) -> None:
    hba = render().one("ConfigMap", "flask-app-database")["data"]["pg_hba.conf"]
    lines = [line.split() for line in hba.splitlines() if line and not line.startswith("#")]
    assert lines
    assert {(line[0], line[-1]) for line in lines} == {
        ("local", "scram-sha-256"),
        ("hostssl", "scram-sha-256"),
    }


def test_the_service_verifies_the_database(render: Render, variant: dict[str, Any]) -> None:
    (container,) = render(**variant).pods()["Deployment/flask-app"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["DATABASE_SSLMODE"] == "verify-full"
    assert environment["DATABASE_CA_FILE"] == "/etc/database-ca/ca.crt"
    assert "database-ca" in {mount["name"] for mount in container["volumeMounts"]}


def test_services_find_their_pods(render: Render) -> None:
    rendered = render()
    labels = {
        owner["metadata"]["name"]: owner["spec"]["template"]["metadata"]["labels"]
        for kind in ("Deployment", "StatefulSet")
        for owner in rendered.of_kind(kind)
    }
    for service, owner in (
        ("flask-app", "flask-app"),
        ("flask-app-metrics", "flask-app"),
        ("flask-app-database", "flask-app-database"),
    ):
        selector = rendered.one("Service", service)["spec"]["selector"]
        assert selector.items() <= labels[owner].items()
        selected = [name for name, found in labels.items() if selector.items() <= found.items()]
        assert selected == [owner]
    assert rendered.one("Service", "flask-app-metrics")["spec"]["clusterIP"] == "None"


def keeper_job(render: Render, **values: Any) -> str:
    (job,) = render(**values).of_kind("Job")
    return str(job["metadata"]["name"])


def test_every_upgrade_has_another_keeper_job(render: Render) -> None:
    """A Job can't be changed, and one that failed does not start again."""
    assert keeper_job(render) == keeper_job(render, replicas=7)
    assert keeper_job(render) != keeper_job(render, image={"tag": "other"})
    assert keeper_job(render) != keeper_job(render, revision=2)


def test_the_keeper_looks_on_schedule_and_never_twice_at_once(render: Render) -> None:
    spec = render().one("CronJob", "flask-app-keeper")["spec"]
    assert spec["schedule"] == "17 * * * *"
    assert spec["concurrencyPolicy"] == "Forbid"
    turned = render(**VARIANTS["everything turned"]).one("CronJob", "flask-app-keeper")["spec"]
    assert turned["schedule"] == "@daily"


def keepers(render: Render, **values: Any) -> tuple[Object, Object]:
    """Return the pod of the keeper's Job, and that of its CronJob."""
    rendered = render(**values)
    (job,) = rendered.of_kind("Job")
    (cron_job,) = rendered.of_kind("CronJob")
    return job["spec"]["template"], cron_job["spec"]["jobTemplate"]["spec"]["template"]


def keeper_environment(render: Render, **values: Any) -> dict[str, str]:
    pod, _ = keepers(render, **values)
    (container,) = pod["spec"]["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_the_job_and_the_cron_job_run_the_same(render: Render, variant: dict[str, Any]) -> None:
    once, again = keepers(render, **variant)
    assert once == again
    (container,) = once["spec"]["containers"]
    assert container["command"] == ["python", "-m", "app.keeper"]
    assert container["args"] == ["run"]
    assert once["spec"]["restartPolicy"] == "Never"


def test_the_keepers_plan_is_what_the_values_say(render: Render) -> None:
    plan = plan_from(keeper_environment(render))
    assert plan.service == Service("flask-app-metrics.shop.svc", 9090, 8443, 35)
    assert (plan.wait_seconds, plan.interval) == (300, 30 * 86400)
    assert plan.session_lifetime == 86400
    assert plan.administrator == "postgres"
    assert set(plan.certificates) == {"flask-app-tls", "flask-app-database-tls"}
    assert plan.database_certificate == "flask-app-database-tls"
    turned = plan_from(keeper_environment(render, **VARIANTS["everything turned"]))
    assert turned.service
    assert (turned.wait_seconds, turned.service.settle_seconds) == (600, 5)
    assert (turned.interval, turned.session_lifetime) == (604_800, 31_536_000)
    assert "shop.example.org" in turned.certificates["flask-app-tls"]
    own = plan_from(keeper_environment(render, **OWN_DATABASE))
    assert (own.administrator, own.administrator_secret) == ("", "db-admin")
    assert (own.server.host, own.server.sslrootcert) == (
        "db.example.org",
        "/etc/database-ca/ca.crt",
    )
    assert set(own.certificates) == {"flask-app-tls"}


class Asked(dict[str, str]):
    """An environment that remembers which variables it was asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)


def test_the_keeper_reads_what_the_chart_sets_and_nothing_else(render: Render) -> None:
    given, read = set(), set()
    for values in VARIANTS.values():
        environment = Asked(keeper_environment(render, **values))
        plan_from(environment)
        assert set(environment) <= environment.names
        given |= set(environment)
        read |= environment.names
    assert read == given


def test_numbers_are_written_as_numbers(render: Render) -> None:
    """Helm reads a large one as a float, and would write 3.1536e+08."""
    environment = keeper_environment(
        render,
        sessionLifetime=315_360_000,
        keeper={"waitSeconds": 100_000_000, "rotation": {"interval": 315_360_000}},
    )
    for name in ("SESSION_LIFETIME_SECONDS", "ROTATION_INTERVAL_SECONDS"):
        assert environment[name] == "315360000"
    assert environment["WAIT_SECONDS"] == "100000000"


def test_a_long_release_name_is_cut(render: Render) -> None:
    # names and labels have 63 characters, of which controllers take some for their suffixes
    most = {"StatefulSet": 63 - 11, "Job": 63 - 6, "CronJob": 63 - 11}
    for rendered in render("a" * 53).objects:
        assert len(rendered["metadata"]["name"]) <= most.get(rendered["kind"], 63)
    assert render("a" * 39 + "-bcd").one("Deployment", "a" * 39)


def test_values_reach_their_objects(render: Render) -> None:
    rendered = render(**VARIANTS["everything turned"])
    deployment = rendered.one("Deployment", "flask-app")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert deployment["spec"]["replicas"] == 5
    assert container["image"] == "registry.example.org/shop:1.2.3"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["metadata"]["annotations"] == {"example.org/owner": "shop"}
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert environment["LOG_LEVEL"] == "DEBUG"
    assert environment["SESSION_LIFETIME_SECONDS"] == "31536000"
    assert environment["SECRETS_CHECK_SECONDS"] == "0.5"
    job = rendered.of_kind("Job")[0]["spec"]["template"]["spec"]["containers"][0]
    assert "shop.example.org" in str(job["env"])
    claim = rendered.of_kind("StatefulSet")[0]["spec"]["volumeClaimTemplates"][0]["spec"]
    assert claim["storageClassName"] == "fast"
    assert claim["resources"]["requests"]["storage"] == "10Gi"
    service = render(**NODE_PORT).one("Service", "flask-app")["spec"]
    assert (service["type"], service["ports"][0]["nodePort"]) == ("NodePort", 30443)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"postgresql": {"enabled": False}}, "no database: set database.host"),
        ({"database": {"host": "db.example.org"}}, "two databases"),
        (
            {"postgresql": {"enabled": False}, "database": {"host": "db"}},
            "database.adminSecret is empty",
        ),
        (
            {"postgresql": {"enabled": False}, "database": {"host": "db", "adminSecret": "a"}},
            "sslmode verify-full needs database.caConfigMap",
        ),
        ({"service": {"nodePort": 30443}}, "service.nodePort is set"),
        ({"image": {"tag": "latest"}}, "image"),
        ({"secretKey": "x"}, "secretKey"),
        ({"database": {"password": "x"}}, "password"),
        ({"secrets": {"SECRET_KEY": "x"}}, "SECRET_KEY"),
        ({"replicas": "two"}, "replicas"),
        ({"keeper": {"rotation": {"schedule": "hourly please"}}}, "schedule"),
        ({"keeper": {"rotation": {"schedule": ""}}}, "schedule"),
        ({"keeper": {"rotation": {"interval": 0}}}, "interval"),
        ({"keeper": {"rotation": {"interval": "30d"}}}, "interval"),
        ({"keeper": {"rotation": {"every": 1}}}, "every"),
        ({"keeper": {"settleSeconds": -1}}, "settleSeconds"),
        ({"database": {"name": "Robert'); --"}}, "name"),
    ],
)
def test_contradictions_and_secrets_are_refused(
    render: Render, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        render(**values)


def test_every_value_has_a_comment() -> None:
    lines = (FOLDER / "values.yaml").read_text().splitlines()
    values = [
        number
        for number, line in enumerate(lines)
        # a leaf, at most three levels down; below `resources` the words are Kubernetes' own
        if line.strip()
        and not line.strip().startswith("#")
        and not line.rstrip().endswith(":")
        and len(line) - len(line.lstrip()) <= 4
        and "cpu:" not in line
        and "memory:" not in line
    ]
    assert len(values) >= 20
    assert [lines[n] for n in values if not lines[n - 1].lstrip().startswith("#")] == []


def test_the_schema_knows_every_value_and_no_other(render: Render) -> None:
    schema = json.loads((FOLDER / "values.schema.json").read_text())

    def compare(values: Any, part: Any, path: str) -> None:
        part = schema["definitions"][part["$ref"].split("/")[-1]] if "$ref" in part else part
        if not isinstance(values, dict) or "properties" not in part:
            return
        assert part["additionalProperties"] is False, path
        known = set(part["properties"]) - {"global", "claims"}
        assert set(values) == known, path
        for name, value in values.items():
            compare(value, part["properties"][name], f"{path}.{name}")

    compare(yaml.safe_load((FOLDER / "values.yaml").read_text()), schema, "values")


def test_the_notes_say_where_to_look(render: Render) -> None:
    notes = render().notes
    assert "https://flask-app.shop.svc:8443" in notes
    assert "helm test flask-app --namespace shop" in notes
    assert '{{ index .data "ca.crt" | base64decode }}' in notes


def test_helm_lint_is_clean(lint: Callable[[], dict[str, Any]]) -> None:
    report = lint()
    assert report["total_charts_linted"] == 1
    assert [message for message in report["messages"] if message["severity"] > 1] == []
