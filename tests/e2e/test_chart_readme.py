"""A release as the chart's own page installs it, and what the runbook says of one like it.

The runbook's other commands are run in the faults of test_alerts.py, on the release of
`make deploy`, which has no secret in the environment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.e2e.runbook import Runbook, told
from tests.e2e.shell import Shell
from tests.pages import Walk
from tools.cluster.client import Cluster
from tools.leakscan.run import image_of

#: A namespace that is not there: the page's commands make it.
NAMESPACE = "as-on-the-page"

#: What the pages call it.
ELSEWHERE = {
    "--namespace flask-app": f"--namespace {NAMESPACE}",
    "/namespaces/flask-app/": f"/namespaces/{NAMESPACE}/",
}


@dataclass(frozen=True)
class Installed:
    """A release, and what the page's commands have printed."""

    cluster: Cluster
    shown: str


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[Installed]:
    """Run all the commands of the chart's page, with the image that is there."""
    repository, _, tag = image_of(cluster).partition(":")
    image = {
        "registry.example.org/flask-app": repository,
        # of digits alone, it would be a number
        "--set image.tag=0.2.0": f"--set-string image.tag={tag}",
    }
    walk = Walk("chart/README.md")
    gone = ("delete", "namespace", NAMESPACE, "--ignore-not-found")
    cluster.kubectl(*gone, "--wait")
    try:
        with Shell(cluster, ELSEWHERE | image) as shell:
            blocks = walk.under("The chart flask-app")
            assert walk.left == []
            shown = "".join(shell.run(block.text) for block in blocks)
        yield Installed(replace(cluster, namespace=NAMESPACE), shown)
    finally:
        cluster.kubectl(*gone, "--wait=false")


def test_the_commands_of_the_charts_page_install_it_and_see_that_it_answers(
    installed: Installed,
) -> None:
    assert "STATUS: deployed" in installed.shown
    assert "Succeeded" in installed.shown
    assert len(installed.cluster.pods("service")) == 2


def are_two(shown: str) -> bool:
    """Tell whether two pods are shown: the old ones answer until they end."""
    return len(told(shown, "secrets_generation")) == 2


def test_pods_with_secrets_in_the_environment_follow_when_they_are_restarted(
    installed: Installed,
) -> None:
    """As the runbook says under PodBehind."""
    cluster = installed.cluster
    cluster.run(
        *("helm", "upgrade", "flask-app", "chart", "--namespace", NAMESPACE),
        *("--reuse-values", "--set", "secrets.inject=env", "--wait"),
    )
    generation = int(cluster.secret("flask-app-secrets")["GENERATION"].reveal())
    cluster.change_secret("flask-app-secrets", {"GENERATION": str(generation + 1)})
    with Runbook("docs/runbook.md").section(cluster, "PodBehind", ELSEWHERE) as section:
        # which is also what shows that they are behind
        behind = told(section.over(are_two), "secrets_generation")
        assert behind == dict.fromkeys(cluster.pods("service"), generation)
        assert "restarted" in section.inline("kubectl rollout restart")
        cluster.kubectl("rollout", "status", "deployment/flask-app", "--timeout", "120s")
        followed = told(section.over(are_two), "secrets_generation")
        assert followed == dict.fromkeys(cluster.pods("service"), generation + 1)
