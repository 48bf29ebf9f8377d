"""The Job and the CronJob that fill the Secrets and renew what is in them."""

from __future__ import annotations

from typing import Any

import pytest

from keeper.plan import Plan, Service
from keeper.settings import plan_from
from tests.chart.conftest import (
    EXISTING,
    FOLDER,
    ISSUED,
    OWN_DATABASE,
    VARIANTS,
    Object,
    Render,
    environment,
    pod_of,
)
from tools.local.place import TABLES


def keepers(render: Render, **values: Any) -> tuple[Object, Object]:
    """Return the pod of the keeper's Job, and that of its CronJob."""
    rendered = render(**values)
    job, cron_job = rendered.one("Job"), rendered.one("CronJob")
    return job["spec"]["template"], cron_job["spec"]["jobTemplate"]["spec"]["template"]


def keeper_environment(render: Render, **values: Any) -> dict[str, str]:
    pod, _ = keepers(render, **values)
    (container,) = pod["spec"]["containers"]
    variables = environment(container)
    assert len(variables) == len(container["env"])
    return variables


def plan(render: Render, **values: Any) -> Plan:
    return plan_from(keeper_environment(render, **values))


def job_name(render: Render, **values: Any) -> str:
    return str(render(**values).one("Job")["metadata"]["name"])


def test_what_is_rendered(render: Render) -> None:
    (job,) = render().names("keeper-job.yaml")
    assert job.startswith("Job/flask-app-keeper-")
    assert render().names("keeper-cronjob.yaml") == ["CronJob/flask-app-keeper"]


def test_every_upgrade_has_another_job(render: Render) -> None:
    """A Job can't be changed, and one that failed does not start again."""
    assert job_name(render) == job_name(render, replicas=7)
    assert job_name(render) != job_name(render, image={"tag": "other"})
    assert job_name(render) != job_name(render, revision=2)


def test_a_jobs_failure_is_tried_again(render: Render) -> None:
    job, cron_job = render().one("Job")["spec"], render().one("CronJob")["spec"]
    assert job["backoffLimit"] == 6
    assert cron_job["jobTemplate"]["spec"]["backoffLimit"] == 3


def test_the_keeper_looks_on_schedule_and_never_twice_at_once(render: Render) -> None:
    spec = render().one("CronJob")["spec"]
    assert spec["schedule"] == "17 * * * *"
    assert spec["concurrencyPolicy"] == "Forbid"
    # one that hangs would keep all the later ones from starting
    assert 0 < spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 3600
    assert not {"timeZone", "suspend"} & set(spec)


def test_the_schedule_can_be_another_and_stand_still(render: Render) -> None:
    rotation = {"schedule": "@daily", "timeZone": "Europe/Berlin", "suspend": True}
    rendered = render(keeper={"rotation": rotation})
    spec = rendered.one("CronJob")["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("@daily", "Europe/Berlin")
    assert spec["suspend"] is True
    # the Job of an install or an upgrade still runs
    assert "suspend" not in rendered.one("Job")["spec"]


def test_the_job_and_the_cron_job_run_the_same(render: Render, variant: dict[str, Any]) -> None:
    once, again = keepers(render, **variant)
    assert once == again
    (container,) = once["spec"]["containers"]
    assert container["command"] == ["python", "-m", "keeper"]
    assert container["args"] == ["run"]
    assert once["spec"]["restartPolicy"] == "Never"


def test_the_keeper_has_the_services_image(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    (service,) = pod_of(rendered.one("Deployment"))["containers"]
    (keeper,) = pod_of(rendered.one("Job"))["containers"]
    for key in ("image", "imagePullPolicy"):
        assert keeper[key] == service[key]


def test_the_keeper_mounts_no_secret_of_the_release(
    render: Render, variant: dict[str, Any]
) -> None:
    """It asks the API server for them: what it has just written is not mounted yet."""
    rendered = render(**variant)
    own = {secret["metadata"]["name"] for secret in rendered.templates["secrets.yaml"]}
    volumes = pod_of(rendered.one("Job"))["volumes"]
    mounted = {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
    assert not mounted & own


def test_the_plan_is_what_the_values_say(render: Render) -> None:
    default = plan(render)
    assert default.service == Service("flask-app-metrics.shop.svc", 9090, 8443, 35)
    assert (default.wait_seconds, default.interval) == (300, 30 * 86400)
    assert default.session_lifetime == 86400
    assert default.service_secret == "flask-app-secrets"
    assert default.authority_secret == "flask-app-ca"
    assert default.administrator_secret == "flask-app-database-admin"
    assert default.administrator == "postgres"
    assert set(default.certificates) == {"flask-app-tls", "flask-app-database-tls"}
    assert default.database_certificate == "flask-app-database-tls"
    keeper = {"waitSeconds": 600, "settleSeconds": 5, "rotation": {"interval": 604_800}}
    turned = plan(render, keeper=keeper, sessionLifetime=31_536_000)
    assert turned.service
    assert (turned.wait_seconds, turned.service.settle_seconds) == (600, 5)
    assert (turned.interval, turned.session_lifetime) == (604_800, 31_536_000)


def test_a_database_of_ones_own_has_its_own_administrator_and_certificate(render: Render) -> None:
    own = plan(render, **OWN_DATABASE)
    assert (own.administrator, own.administrator_secret) == ("", "db-admin")
    assert (own.server.host, own.server.sslrootcert) == (
        "db.example.org",
        "/etc/database-ca/ca.crt",
    )
    assert set(own.certificates) == {"flask-app-tls"}
    assert own.database_certificate == ""


@pytest.mark.parametrize("tls", [ISSUED, EXISTING], ids=["cert-manager", "existing"])
def test_the_services_certificate_may_be_somebody_elses(
    render: Render, tls: dict[str, Any]
) -> None:
    demo = plan(render, **tls)
    assert set(demo.certificates) == {"flask-app-database-tls"}
    assert demo.authority_secret == "flask-app-ca"
    own = plan(render, **tls, **OWN_DATABASE)
    assert (own.certificates, own.authority_secret) == ({}, "")
    # nobody waits until pods serve what the keeper did not make
    for one in (demo, own):
        assert one.service
        assert one.service.tls_port == 0


def test_the_plan_names_what_is_rendered(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    found = plan(render, **variant)
    theirs = {variant.get("database", {}).get("adminSecret", "")}
    named = {
        found.service_secret,
        found.authority_secret,
        found.administrator_secret,
        *found.certificates,
    } - {"", *theirs}
    assert named == {secret["metadata"]["name"] for secret in rendered.templates["secrets.yaml"]}
    assert found.service
    headless = rendered.one("Service", found.service.host.partition(".")[0])
    assert found.service.host == f"{headless['metadata']['name']}.shop.svc"
    assert headless["spec"]["ports"][0]["port"] == found.service.metrics_port
    if found.service.tls_port:
        (service,) = pod_of(rendered.one("Deployment"))["containers"]
        assert found.service.tls_port in {port["containerPort"] for port in service["ports"]}


def test_the_services_tables_are_where_the_image_has_them(render: Render) -> None:
    folder = plan(render).tables_dir
    assert folder
    assert "COPY app /srv/app\n" in (FOLDER.parent / "Dockerfile").read_text("utf-8")
    assert FOLDER.parent / folder.relative_to("/srv") == TABLES


def test_the_keeper_and_the_service_mean_the_same_database(
    render: Render, variant: dict[str, Any]
) -> None:
    rendered = render(**variant)
    service = environment(pod_of(rendered.one("Deployment"))["containers"][0])
    keeper = environment(pod_of(rendered.one("Job"))["containers"][0])
    if "DATABASE_ADMIN_SECRET" not in keeper:
        # it does not touch the database
        assert not [name for name in keeper if name.startswith("DATABASE_")]
        return
    shared = {name for name in service if name.startswith("DATABASE_")} - {"DATABASE_POOLER"}
    if service["DATABASE_POOLER"] != "none":
        # the keeper connects past it
        shared -= {"DATABASE_HOST", "DATABASE_PORT"}
        assert keeper["DATABASE_HOST"] == variant["database"]["directHost"]
        assert keeper["DATABASE_PORT"] == str(variant["database"]["directPort"])
    if variant.get("postgresql", {}).get("enabled", True):
        # the keeper made the database's authority, and needs no file of it
        assert "DATABASE_CA_FILE" not in keeper
        shared -= {"DATABASE_CA_FILE"}
    assert {name: service[name] for name in shared} == {name: keeper[name] for name in shared}
    if keeper.get("DATABASE_CA_FILE", "").startswith("/etc/database-ca/"):
        for owner in ("Deployment", "Job"):
            pod = pod_of(rendered.one(owner))
            mounts = {one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
            assert "/etc/database-ca" in mounts, owner


def test_the_keeper_goes_past_a_pooler_and_does_not_know_of_it(render: Render) -> None:
    pooled = {"port": 6432, "pooler": "transaction", "directHost": "db-1.example.org"}
    values = OWN_DATABASE | {"database": OWN_DATABASE["database"] | pooled}
    keeper = keeper_environment(render, **values)
    assert (keeper["DATABASE_HOST"], keeper["DATABASE_PORT"]) == ("db-1.example.org", "5432")
    # its own connection has the database at the other end
    assert not {"DATABASE_POOLER", "DATABASE_CHANNEL_BINDING"} & set(keeper)


def test_names_of_the_certificate_are_those_of_the_service(render: Render) -> None:
    names = plan(render, tls={"extraNames": ["a.example.org", "192.0.2.7"]}).certificates
    assert names["flask-app-tls"] == (
        "flask-app",
        "flask-app.shop",
        "flask-app.shop.svc",
        "flask-app.shop.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "a.example.org",
        "192.0.2.7",
    )
    assert names["flask-app-database-tls"] == (
        "flask-app-database",
        "flask-app-database.shop",
        "flask-app-database.shop.svc",
        "flask-app-database.shop.svc.cluster.local",
    )


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
        variables = Asked(keeper_environment(render, **values))
        plan_from(variables)
        assert set(variables) <= variables.names
        given |= set(variables)
        read |= variables.names
    assert read == given
