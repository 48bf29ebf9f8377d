"""`make audit` knows the release's Secrets by what the API server has of the release."""

from __future__ import annotations

from typing import Any

from tests.chart.conftest import Render, Rendered
from tools.cluster.audit import secrets_of

#: The kinds that it asks for.
KINDS = ("Deployment", "StatefulSet", "CronJob")


def known(rendered: Rendered) -> set[str]:
    return {*secrets_of(one for one in rendered.objects if one["kind"] in KINDS)}


def test_it_knows_every_secret_that_is_made(render: Render, variant: dict[str, Any]) -> None:
    rendered = render(**variant)
    made = {one["metadata"]["name"] for one in rendered.objects if one["kind"] == "Secret"}
    assert known(rendered) >= made
    assert known(rendered)


def test_it_knows_nothing_else_of_the_default(render: Render) -> None:
    parts = ("secrets", "tls", "ca", "database-admin", "database-tls")
    assert known(render()) == {f"flask-app-{part}" for part in parts}
