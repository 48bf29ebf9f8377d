"""The Secrets, which are empty: the keeper fills them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.conftest import (
    EXISTING,
    ISSUED,
    OWN_DATABASE,
    Render,
    Rendered,
    secret_volumes,
    source_of,
)

TEMPLATE = "secrets.yaml"


def names(rendered: Rendered) -> set[str]:
    """Return what the release's Secrets are called, without its own name."""
    return {name.removeprefix("Secret/flask-app-") for name in rendered.names(TEMPLATE)}


DEMO = {"secrets", "ca", "database-admin", "database-tls"}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, DEMO | {"tls"}),
        # the demo's database has a certificate of the keeper's in each case
        (ISSUED, DEMO),
        (EXISTING, DEMO),
        (OWN_DATABASE, {"secrets", "ca", "tls"}),
        ({**OWN_DATABASE, **ISSUED}, {"secrets"}),
        ({**OWN_DATABASE, **EXISTING}, {"secrets"}),
    ],
    ids=[
        "keeper",
        "cert-manager",
        "existing",
        "keeper, own database",
        "cert-manager, own database",
        "existing, own database",
    ],
)
def test_there_are_those_that_the_keeper_fills(
    render: Render, values: dict[str, Any], expected: set[str]
) -> None:
    assert names(render(**values)) == expected


def test_no_secret_has_data(whole: Rendered) -> None:
    secrets = [one for one in whole.objects if one["kind"] == "Secret"]
    # with everything from elsewhere there is none
    assert secrets or source_of(whole.values) != "keeper"
    for secret in secrets:
        assert set(secret) == {"apiVersion", "kind", "metadata", "type"}, (
            f"Secret {secret['metadata']['name']}: remove its data, which Helm would store"
        )
        assert secret["type"] == "Opaque"


def test_every_secret_of_the_release_that_is_mounted_is_there(
    render: Render, variant: dict[str, Any]
) -> None:
    """Others are the user's, or cert-manager's."""
    rendered = render(**variant)
    theirs = {
        variant.get("tls", {}).get("existingSecret"),
        variant.get("database", {}).get("caSecret"),
        variant.get("secrets", {}).get("existingSecret"),
        *(one["spec"]["target"]["name"] for one in rendered.templates["externalsecret.yaml"][:1]),
        *(one["spec"].get("secretName") for one in rendered.templates["certificates.yaml"]),
    }
    there = {secret["metadata"]["name"] for secret in rendered.templates[TEMPLATE]}
    for owner, pod in rendered.pods().items():
        mounted = {volume["secretName"] for volume in secret_volumes(pod).values()}
        assert mounted - theirs <= there, owner
