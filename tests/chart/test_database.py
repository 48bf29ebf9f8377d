"""The demo's database: who sees its password, and whom it lets in."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart.conftest import OWN_DATABASE, Render, environment, pod_of, secret_volumes

TEMPLATE = "database.yaml"

#: Runs a command that may leave core files, as far as this machine lets it.
MAY_LEAVE_CORES = ("sh", "-c", 'ulimit -S -c "$(ulimit -H -c)"; exec "$@"', "sh")


def config(render: Render, name: str) -> str:
    """Return a file of the database's ConfigMap."""
    return str(render().one("ConfigMap", "flask-app-database")["data"][name])


def test_what_is_rendered(render: Render) -> None:
    assert render().names(TEMPLATE) == [
        "ConfigMap/flask-app-database",
        "Service/flask-app-database",
        "StatefulSet/flask-app-database",
    ]


def test_a_database_of_ones_own_takes_its_place(render: Render) -> None:
    assert render(**OWN_DATABASE).templates[TEMPLATE] == []


def test_its_service_is_where_the_others_look(render: Render) -> None:
    rendered = render()
    service = rendered.one("Service", "flask-app-database")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"] == [
        {"name": "postgresql", "port": 5432, "targetPort": "postgresql"}
    ]
    (container,) = pod_of(rendered.one("Deployment"))["containers"]
    variables = environment(container)
    assert variables["DATABASE_HOST"] == "flask-app-database.shop.svc"
    assert variables["DATABASE_PORT"] == "5432"


def test_it_is_one_pod_that_an_upgrade_replaces_even_if_it_is_not_ready(render: Render) -> None:
    spec = render().one("StatefulSet")["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (1, "Parallel")
    assert spec["serviceName"] == "flask-app-database"


def test_a_server_that_hangs_for_a_minute_is_not_restarted(render: Render) -> None:
    """Such as one that is stopped: it goes on with all of its sessions."""
    (server,) = pod_of(render().one("StatefulSet"))["containers"]
    probe = server["livenessProbe"]
    # the first one may fail at once, and each of the others a period later
    until_restarted = (probe["failureThreshold"] - 1) * probe["periodSeconds"]
    assert until_restarted >= 60 + 30
    # pg_isready waits for 3 seconds by itself
    assert 3 < probe["timeoutSeconds"] < probe["periodSeconds"]


def test_its_user_is_the_images(render: Render) -> None:
    """PostgreSQL refuses a user whose number has no name."""
    rendered = render(securityContext={"runAsUser": None, "runAsGroup": 5, "fsGroup": 6})
    security = pod_of(rendered.one("StatefulSet"))["securityContext"]
    assert {security[name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {999}


def test_a_volume_has_the_clusters_default_class_unless_one_is_named(render: Render) -> None:
    (claim,) = render().one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim == {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    rendered = render(postgresql={"storage": {"className": "fast"}})
    (claim,) = rendered.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"


def test_its_pod_has_a_digest_of_its_configuration(render: Render) -> None:
    """Other annotations stay beside it; without it, a new configuration would not be read."""
    pods = [
        render(postgresql={"podAnnotations": annotations}).pod_templates()[
            "StatefulSet/flask-app-database"
        ]["metadata"]["annotations"]
        for annotations in ({}, {"a": "b"})
    ]
    assert len(pods[0]["checksum/config"]) == 64
    assert pods[1] == {**pods[0], "a": "b"}


def test_only_the_init_container_sees_the_administrators_password(
    render: Render, variant: dict[str, Any]
) -> None:
    for owner, pod in render(**variant).pods().items():
        secrets = secret_volumes(pod).items()
        admin = {name for name, one in secrets if one["secretName"].endswith("-admin")}
        assert admin == ({"admin"} if owner.startswith("StatefulSet/") else set()), owner
        for container in pod["containers"]:
            assert not admin & {mount["name"] for mount in container["volumeMounts"]}, owner
        for container in pod.get("initContainers", []):
            assert admin <= {mount["name"] for mount in container["volumeMounts"]}, owner
            assert set(environment(container)) == {"PGDATA"}


def test_it_takes_tls_and_passwords_only(render: Render) -> None:
    lines = [
        line.split()
        for line in config(render, "pg_hba.conf").splitlines()
        if line and not line.startswith("#")
    ]
    assert lines
    assert {(line[0], line[-1]) for line in lines} == {
        ("local", "scram-sha-256"),
        ("hostssl", "scram-sha-256"),
    }


def test_it_serves_the_keepers_certificate(render: Render) -> None:
    settings = dict(
        line.split(" = ") for line in config(render, "postgresql.conf").splitlines() if line
    )
    assert settings["ssl"] == "on"
    assert settings["password_encryption"] == "'scram-sha-256'"
    pod = pod_of(render().one("StatefulSet"))
    (server,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in server["volumeMounts"]}
    tls = secret_volumes(pod)["tls"]
    assert tls["secretName"] == "flask-app-database-tls"
    files = {f"'{mounts['tls']}/{item['path']}'" for item in tls["items"]}
    assert {settings["ssl_cert_file"], settings["ssl_key_file"]} <= files
    assert settings["unix_socket_directories"] == f"'{mounts['run']}'"
    assert settings["data_directory"] == f"'{environment(server)['PGDATA']}'"
    assert settings["hba_file"] == f"'{mounts['config']}/pg_hba.conf'"


def test_what_its_containers_run_is_in_the_config_map(render: Render) -> None:
    pod = pod_of(render().one("StatefulSet"))
    (init,), (server,) = pod["initContainers"], pod["containers"]
    assert init["command"] == ["sh", "/etc/postgresql/initdb.sh"]
    assert server["args"] == ["--config-file=/etc/postgresql/postgresql.conf"]
    files = {f"/etc/postgresql/{name}" for name in render().one("ConfigMap")["data"]}
    assert {init["command"][1], server["args"][0].partition("=")[2]} <= files


def test_its_server_is_the_containers_first_process_and_leaves_no_core(render: Render) -> None:
    (server,) = pod_of(render().one("StatefulSet"))["containers"]
    shell, option, script, *rest = server["command"]
    script = script.replace("postgres", """sh -c 'echo "$(ulimit -c) $$ $1"' sh""")
    command = [*MAY_LEAVE_CORES, shell, option, script, *rest, *server["args"]]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split()[::2] == ["0", server["args"][0]]


INITDB = """
for argument; do
  case $argument in
    --pgdata=*) mkdir "${argument#*=}"; touch "${argument#*=}/PG_VERSION";;
  esac
done
"""


class Volume:
    """The init container's script, with programs that only write down what they are told."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        self.data = folder / "pgdata"
        self.admin = folder / "admin"
        self.admin.mkdir()
        (folder / "bin").mkdir()
        self.program("initdb", INITDB)
        self.program("postgres", f'cat > "{folder}/statements"')
        self.script = folder / "initdb.sh"
        self.script.write_text(script.replace("/etc/database-admin", str(self.admin)))

    def program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        told = f'printf "%s\\n" {name} "$@" >> "{self.folder}/told"'
        limit = f'ulimit -c >> "{self.folder}/limits"'
        path.write_text(f"#!/bin/sh\n{told}\n{limit}\n{body}\n")
        path.chmod(0o755)

    def start(self, username: str = "postgres", password: str = "first") -> list[str]:
        """Run the script; return which programs it ran, with their arguments."""
        (self.admin / "username").write_text(username)
        (self.admin / "password").write_text(password)
        told = self.folder / "told"
        told.unlink(missing_ok=True)
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        variables = {"PATH": path, "PGDATA": str(self.data)}
        command = [*MAY_LEAVE_CORES, "sh", str(self.script)]
        subprocess.run(command, env=variables, check=True, timeout=30)
        return told.read_text().splitlines()

    def core_limits(self) -> set[str]:
        """Return the limits of a core file's size that the programs had."""
        return set((self.folder / "limits").read_text().split())

    def statements(self) -> str:
        """Return what the server in single-user mode was told."""
        return (self.folder / "statements").read_text()


@pytest.fixture
def volume(tmp_path: Path, render: Render) -> Volume:
    return Volume(tmp_path, config(render, "initdb.sh"))


def test_what_sees_the_administrators_password_leaves_no_core(volume: Volume) -> None:
    volume.start()
    volume.start()
    assert volume.core_limits() == {"0"}


def test_the_script_is_one(volume: Volume) -> None:
    subprocess.run(["sh", "-n", volume.script], check=True, timeout=30)


def test_an_empty_volume_is_filled(volume: Volume) -> None:
    told = volume.start()
    assert told[0] == "initdb"
    assert "postgres" not in told
    assert "--username=postgres" in told
    assert f"--pwfile={volume.admin}/password" in told
    assert "--auth=scram-sha-256" in told
    assert (volume.data / "PG_VERSION").exists()


def test_what_a_start_left_half_done_is_thrown_away(volume: Volume) -> None:
    half = volume.data.with_suffix(".new")
    half.mkdir()
    (half / "half").touch()
    assert volume.start()[0] == "initdb"
    assert not half.exists()
    assert [path.name for path in volume.data.iterdir()] == ["PG_VERSION"]


def test_a_volume_that_is_there_gets_this_releases_password(volume: Volume) -> None:
    volume.start()
    told = volume.start(password="second")
    assert told[:2] == ["postgres", "--single"]
    assert "initdb" not in told
    assert volume.statements() == "ALTER ROLE \"postgres\" PASSWORD 'second'\n"
    # a statement that fails would be logged, with the password
    assert "log_min_error_statement=panic" in told
    assert "second" not in " ".join(told)


@pytest.mark.parametrize(
    ("username", "password", "statement"),
    [
        ("o'hara", "it's", """ALTER ROLE "o'hara" PASSWORD 'it''s'"""),
        ('a"b', 'c"d', """ALTER ROLE "a""b" PASSWORD 'c"d'"""),
        ("a", "'; DROP TABLE notes; --", "ALTER ROLE \"a\" PASSWORD '''; DROP TABLE notes; --'"),
        ("a", "100%s\\n$HOME`id`", "ALTER ROLE \"a\" PASSWORD '100%s\\n$HOME`id`'"),
        # one line is one statement, and a file may end with a newline
        ("a\n", "b\n", "ALTER ROLE \"a\" PASSWORD 'b'"),
    ],
)
def test_a_quote_in_a_password_ends_nothing(
    volume: Volume, username: str, password: str, statement: str
) -> None:
    volume.start()
    volume.start(username, password)
    assert volume.statements() == f"{statement}\n"


def test_a_program_that_fails_half_way_leaves_the_volume_empty(volume: Volume) -> None:
    volume.program("initdb", f"{INITDB}\nexit 1")
    with pytest.raises(subprocess.CalledProcessError):
        volume.start()
    assert not volume.data.exists()
