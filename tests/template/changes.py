"""What teams do in their first month with a clone, in this order.

Each change is made in the folder of a clone, and leaves it as a team would commit it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.git import ENVIRONMENT

Change = Callable[[Path], None]


def add_route(clone: Path) -> None:
    """Add a route, with its test."""
    _write(
        clone / "app/greetings.py",
        '''
        """Greetings."""

        from __future__ import annotations

        from flask import Blueprint, Response, jsonify

        blueprint = Blueprint("greetings", __name__)


        @blueprint.get("/api/greetings/<name>")
        def greet(name: str) -> Response:
            """Greet somebody."""
            return jsonify(greeting=f"Hello, {name}!")
        ''',
    )
    _write(
        clone / "tests/app/test_greetings.py",
        '''
        """The greetings API."""

        from __future__ import annotations

        from flask.testing import FlaskClient


        def test_greets_by_name(client: FlaskClient) -> None:
            assert client.get("/api/greetings/Ada").get_json() == {"greeting": "Hello, Ada!"}
        ''',
    )


def add_helper_module(clone: Path) -> None:
    """Add a module without a route, and use it."""
    _write(
        clone / "app/politeness.py",
        '''
        """How people are addressed."""

        from __future__ import annotations


        def polite(name: str) -> str:
            """Return a name as a greeting has it."""
            return name.strip().title()
        ''',
    )
    _replace(
        clone / "app/greetings.py",
        ("jsonify\n\n", "jsonify\n\nfrom .politeness import polite\n\n"),
        ("{name}!", "{polite(name)}!"),
    )
    _replace(clone / "tests/app/test_greetings.py", ("greetings/Ada", "greetings/ada"))


def add_setting(clone: Path) -> None:
    """Add a setting, which the chart sets to another value than its default."""
    _replace(
        clone / "app/settings.py",
        (
            "from .core.settings import CoreSettings, SettingsError\n",
            "from .core import convert\n"
            "from .core.settings import CoreSettings, SettingsError, setting\n",
        ),
    )
    _append(
        clone / "app/settings.py",
        """
            #: How many people a greeting is for.
            greeting_limit: int = setting("3", convert.whole_number(1, 100))
        """,
    )
    _append(clone / ".env.example", "GREETING_LIMIT=3\n")
    _replace(
        clone / "chart/values.yaml",
        ("\nenv: []\n", '\nenv:\n  - name: GREETING_LIMIT\n    value: "50"\n'),
    )
    _write(
        clone / "tests/app/test_greeting_limit.py",
        '''
        """The setting GREETING_LIMIT."""

        from __future__ import annotations

        import pytest

        from app.settings import Settings, SettingsError


        def test_limit_comes_from_the_environment() -> None:
            assert Settings.from_mapping({"GREETING_LIMIT": "50"}).greeting_limit == 50


        def test_limit_is_at_most_a_hundred() -> None:
            with pytest.raises(SettingsError, match="GREETING_LIMIT"):
                Settings.from_mapping({"GREETING_LIMIT": "101"})
        ''',
    )
    _chart_docs(clone)


def add_secret(clone: Path) -> None:
    """Add a secret of its own, which the keeper makes."""
    _replace(
        clone / "app/secret_keys.py",
        (
            "public=True),\n)\n",
            'public=True),\n    Key("INVITE_KEY", min_bytes=32, lines=True),\n)\n',
        ),
    )
    _replace(clone / "chart/values.yaml", ("\n    made: []\n", "\n    made: [INVITE_KEY]\n"))
    _write(
        clone / "tests/app/test_invite_key.py",
        '''
        """The secret INVITE_KEY."""

        from __future__ import annotations

        from flask import Flask

        from secret_files import SecretStore


        def test_store_has_the_key(app: Flask) -> None:
            store: SecretStore = app.extensions["secrets"]
            assert len(store.current()["INVITE_KEY"].reveal()) >= 32
        ''',
    )
    _chart_docs(clone)


def add_table(clone: Path) -> None:
    """Add a table, a module that uses it, and its test."""
    _write(
        clone / "app/tables/guests.sql",
        """
        CREATE TABLE IF NOT EXISTS public.guests (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL
        );
        """,
    )
    _write(
        clone / "app/guests.py",
        '''
        """Guests, in a table."""

        from __future__ import annotations

        from flask import Blueprint, Response, current_app, jsonify
        from sqlalchemy import BigInteger, Column, MetaData, Table, Text, insert, select

        from .core.database import Database

        blueprint = Blueprint("guests", __name__)

        #: The keeper makes it: app/tables/guests.sql.
        guests = Table(
            "guests",
            MetaData(),
            Column("id", BigInteger, primary_key=True),
            Column("name", Text, nullable=False),
        )


        @blueprint.post("/api/guests/<name>")
        def add_guest(name: str) -> tuple[Response, int]:
            """Store a guest."""
            with _database().begin() as connection:
                connection.execute(insert(guests).values(name=name))
            return jsonify(name=name), 201


        @blueprint.get("/api/guests")
        def list_guests() -> Response:
            """List all guests."""
            with _database().begin() as connection:
                return jsonify(guests=list(connection.scalars(select(guests.c.name))))


        def _database() -> Database:
            database: Database = current_app.extensions["database"]
            return database
        ''',
    )
    _write(
        clone / "tests/app/test_guests.py",
        '''
        """The guests API."""

        from __future__ import annotations

        from flask.testing import FlaskClient


        def test_guest_is_stored_and_listed(client: FlaskClient) -> None:
            assert client.post("/api/guests/Ada").status_code == 201
            assert client.get("/api/guests").get_json() == {"guests": ["Ada"]}


        def test_a_test_begins_without_guests(client: FlaskClient) -> None:
            assert client.get("/api/guests").get_json() == {"guests": []}
        ''',
    )


def drop_example(clone: Path) -> None:
    """Delete the files that the page names, and nothing else."""
    page = (clone / "docs/your-service.md").read_text("utf-8")
    (block,) = re.findall(r"(?ms)^```\n(app/notes\.py\n.*?)^```$", page)
    for name in block.splitlines():
        (clone / name).unlink()


def rewrite_readme(clone: Path) -> None:
    """Write another README."""
    (clone / "README.md").write_text("# Greetings\n\nGreets people. `make run` starts it.\n")


def delete_pages(clone: Path) -> None:
    """Delete all pages but one."""
    for path in (clone / "docs").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "runbook.md":
            path.unlink()


def add_dependency(clone: Path) -> None:
    """Let the service need one more package; the lock files follow another day."""
    _replace(clone / "pyproject.toml", ('    "flask>=', '    "babel>=2",\n    "flask>='))


def restyle_page(clone: Path) -> None:
    """Give the page another look, title, text and order."""
    _append(
        clone / "app/static/style.css", "\nbody { background: light-dark(lavender, #1c1a2b); }\n"
    )
    for name in ("base.html", "index.html"):
        path = clone / "app/templates" / name
        path.write_text(
            path.read_text("utf-8").replace("Flask on Kubernetes", "Greetings"), "utf-8"
        )
    _replace(clone / "app/templates/index.html", ("<footer>", "<p>Welcome.</p>\n<footer>"))


def change_defaults(clone: Path) -> None:
    """Run three replicas with other resources on a database that is not the chart's."""
    _replace(
        clone / "chart/values.yaml",
        ("\nreplicas: null\n", "\nreplicas: 3\n"),
        (
            "    cpu: 50m\n    memory: 96Mi\n  limits:\n    memory: 256Mi\n\n# Environment",
            "    cpu: 100m\n    memory: 128Mi\n  limits:\n    memory: 512Mi\n\n# Environment",
        ),
        ("one volume, no backup.\n  enabled: true\n", "one volume, no backup.\n  enabled: false\n"),
        ('  host: ""\n', "  host: db.example.org\n"),
        ('  adminSecret: ""\n', "  adminSecret: db-admin\n"),
        ('  caConfigMap: ""\n', "  caConfigMap: db-ca\n"),
    )
    _chart_docs(clone)


def add_deployment(clone: Path) -> None:
    """Add a second Deployment to the chart."""
    _write(
        clone / "chart/templates/mailer.yaml",
        """
        {{- $component := dict "root" . "component" "mailer" "suffix" "-mailer" -}}
        {{- $pod := dict "root" . "user" .Values.securityContext "placement" .Values -}}
        apiVersion: apps/v1
        kind: Deployment
        {{ include "NAME.metadata" $component }}
        spec:
          replicas: 1
          selector:
            matchLabels:
              {{- include "NAME.selectorLabels" $component | nindent 6 }}
          template:
            metadata:
              labels:
                {{- include "NAME.labels" $component | nindent 8 }}
            spec:
              serviceAccountName: {{ include "NAME.serviceAccountName" . | quote }}
              {{- include "NAME.pod" $pod | nindent 6 }}
              containers:
                - name: mailer
                  {{- include "NAME.image" . | nindent 10 }}
                  {{- include "NAME.containerSecurity" . | nindent 10 }}
                  command: [python, -c, "import time; time.sleep(1000000)"]
                  readinessProbe:
                    exec:
                      command: [test, -d, /proc/1]
                  livenessProbe:
                    exec:
                      command: [test, -d, /proc/1]
                  resources:
                    {{- toYaml .Values.resources | nindent 12 }}
        ---
        apiVersion: networking.k8s.io/v1
        kind: NetworkPolicy
        {{ include "NAME.metadata" $component }}
        spec:
          podSelector:
            matchLabels:
              {{- include "NAME.selectorLabels" $component | nindent 6 }}
          policyTypes: [Ingress, Egress]
        """.replace("NAME", _name(clone)),
    )


def change_version(clone: Path) -> None:
    """Release another version."""
    _replace(clone / "pyproject.toml", ('version = "0.1.0"', 'version = "1.4.0"'))
    _replace(
        clone / "chart/Chart.yaml",
        ("\nversion: 0.1.0", "\nversion: 1.4.0"),
        ("appVersion: 0.1.0", "appVersion: 1.4.0"),
    )
    _replace(clone / "CHANGELOG.md", ("## 0.1.0", "## 1.4.0\n\n### Added\n\n- Guests.\n\n## 0.1.0"))


def add_make_target(clone: Path) -> None:
    """Add a target to the Makefile."""
    _append(
        clone / "Makefile", "\n.PHONY: greet\ngreet: ## Greet whoever is there\n\t@echo Hello\n"
    )


def take_newer_python(clone: Path) -> None:
    """Build the image with Python 3.14."""
    path = clone / "Dockerfile"
    path.write_text(
        path.read_text("utf-8").replace("python:3.13-slim", "python:3.14-slim"), "utf-8"
    )


CHANGES: Final[tuple[Change, ...]] = (
    add_route,
    add_helper_module,
    add_setting,
    add_secret,
    add_table,
    drop_example,
    rewrite_readme,
    delete_pages,
    add_dependency,
    restyle_page,
    change_defaults,
    add_deployment,
    change_version,
    add_make_target,
    take_newer_python,
)


def _write(path: Path, text: str) -> None:
    """Write a file that is not there, from a text that is indented here."""
    assert not path.exists()
    path.write_text(_dedented(text).lstrip("\n"), "utf-8")


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text("utf-8") + _dedented(text), "utf-8")


def _replace(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts, each of which the file has once."""
    text = path.read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{path.name} has {text.count(old)} times {old!r}"
        text = text.replace(old, new)
    path.write_text(text, "utf-8")


def _dedented(text: str) -> str:
    """Remove the margin of 8 blanks that a text has here, and the blanks at its end."""
    return re.sub(r"(?m)^ {8}", "", text).rstrip(" ")


def _name(clone: Path) -> str:
    (name,) = re.findall(r"(?m)^name: (.*)$", (clone / "chart/Chart.yaml").read_text("utf-8"))
    return str(name)


def _chart_docs(clone: Path) -> None:
    """Do what `make chart-docs` does."""
    environment = {name: value for name, value in ENVIRONMENT.items() if name in os.environ}
    command = [sys.executable, "-B", "-m", "chart.docs"]
    subprocess.run(command, cwd=clone, env=environment, check=True, capture_output=True)
