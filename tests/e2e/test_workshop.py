"""Each lab of the workshop on a real cluster: its page's commands, what is seen, and the way back.

A lab is one shell, as it is for those who do it. What its page leaves behind is found: after its
way back, the cluster has the objects that it had before the first lab, and no others. That takes a
minute: those that left nothing stay where they are, but for a run with WHOLE=1.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages import Walk
from tests.workshop import Lab, here, lab, missing
from tools.cluster.client import ROOT, SUSPENDED, Cluster
from tools.poll import poll
from tools.resource import RESOURCE

README = Walk("docs/workshop/README.md")
LABS = [
    lab("docs/workshop/1-environment.md"),
    lab("docs/workshop/2-access.md"),
    lab("docs/workshop/3-at-rest.md"),
    lab("docs/workshop/4-generations.md"),
    lab("docs/workshop/5-rotation.md"),
    lab("docs/workshop/6-leaks.md"),
    lab("docs/workshop/7-audit.md"),
    lab("docs/workshop/8-source.md"),
]

#: How long the machine may take for a lab, in seconds: people have ten minutes.
LIMIT = 600

#: Ends what one block of commands prints.
END = "---- end of a block"

#: The last that `make status` says in the known state.
WELL = "\n\nNothing is broken.\n"

#: What is another each time in the names of pods, ReplicaSets, the keeper's Jobs and volumes.
SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
ANOTHER = re.compile(
    rf"-([0-9a-f]{{8}}|{SAFE}{{8,10}})(-{SAFE}{{5}})?$|-{SAFE}{{5}}$|-[0-9a-f]{{8}}(-[0-9a-f]{{4,12}}){{4}}$"
)

#: Kinds whose objects come and go on their own.
OF_THEIR_OWN = ("certificatesigningrequests", "events", "ipaddresses", "leases")

#: Pods that do: what `make status` asked, and what makes and removes the volume's folder.
PASSING = ("Pod flask-app/flask-app-status-", "Pod local-path-storage/helper-pod-")

#: Of all objects that are not about to go.
NAMES = """{{ range .items }}{{ if not .metadata.deletionTimestamp -}}
{{ .kind }} {{ .metadata.namespace }}/{{ .metadata.name }}
{{ end }}{{ end }}"""


def shell(cluster: Cluster, commands: str, file: Path) -> str:
    """Run commands in a shell that ends at the first one that fails, and return what is shown."""
    with (
        file.open("w") as output,
        subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", commands],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            # what a page needs, it says
            env=without_helm(cluster.environment()),
            start_new_session=True,
        ) as process,
    ):
        try:
            ended = process.wait(LIMIT)
        finally:
            # also what it has started in the background
            kill(process.pid)
    shown = file.read_text()
    assert ended == 0, f"a command failed:\n{shown}"
    return shown


def without_helm(environment: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name not in ("KUBECONFIG", "HELM_KUBECONTEXT")
    }


def kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def commands_of(one: Lab, cluster: Cluster) -> str:
    """Return the blocks of a lab, with a line after what each of them prints."""
    text = "".join(f"{block.text}echo '{END}'\n" for block in one.commands)
    return here(text, cluster.name, cluster.port)


def objects(cluster: Cluster) -> set[str]:
    """Return the kind, namespace and name of every object, but for what is random in it."""
    kinds = cluster.kubectl("api-resources", "--verbs", "list", "--output", "name").split()
    wanted = ",".join(kind for kind in kinds if not kind.startswith(OF_THEIR_OWN))
    listed = cluster.kubectl("get", wanted, "--all-namespaces", f"--output=go-template={NAMES}")
    found = {ANOTHER.sub("-…", line) for line in listed.split("\n") if not line.startswith(PASSING)}
    assert "Deployment flask-app/flask-app" in found
    assert "Secret flask-app/flask-app-database-admin" in found
    return found


def until_gone(cluster: Cluster) -> None:
    """Wait for the end of the namespaces that the tests before have removed."""
    phases = ("get", "namespaces", "--output=jsonpath={.items[*].status.phase}")
    what = "the end of the namespaces that were removed"
    poll(lambda: "Terminating" not in cluster.kubectl(*phases), what, LIMIT, 1)


def values(cluster: Cluster) -> set[str]:
    """Return every value of the release's Secrets that nobody is to see."""
    names = ("flask-app-secrets", "flask-app-database-admin")
    existing = cluster.kubectl("get", "secrets", "--output", "name").split()
    return {
        value.reveal()
        for name in names
        if f"secret/{name}" in existing
        for key, value in cluster.secret(name).items()
        if key in ("SECRET_KEY", "DATABASE_PASSWORD", "password")
    }


@pytest.fixture(scope="module")
def known(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[str]]:
    """Begin in the known state, and return its objects; leave the cluster as the tests have it."""
    (block,) = README.under("Before each lab")
    assert README.left == []
    shown = shell(cluster, block.text, tmp_path_factory.mktemp("workshop") / "shown")
    assert shown.endswith(WELL)
    until_gone(cluster)
    yield objects(cluster)
    cluster.kubectl("patch", "cronjob", "flask-app-keeper", "--patch", SUSPENDED)


@pytest.mark.parametrize("one", LABS, ids=str)
def test_a_lab_goes_as_its_page_says(
    cluster: Cluster, known: set[str], one: Lab, tmp_path: Path
) -> None:
    secret = values(cluster)
    began = time.monotonic()
    shown = shell(cluster, commands_of(one, cluster), tmp_path / "shown")
    done = time.monotonic()
    print(shown)
    blocks = shown.split(f"{END}\n")
    for block, expected, printed in zip(one.commands, one.seen, blocks, strict=False):
        line = missing(here(expected, cluster.name, cluster.port), printed)
        assert line is None, f"{block} does not print: {line}"
    assert not [value for value in secret | values(cluster) if value in shown]

    if os.environ.get("WHOLE") != "1" and objects(cluster) == known:
        return

    # a mess that no lab makes, but people do
    cluster.kubectl("scale", "deployment/flask-app", "--replicas", "1")
    text = here(one.way_back.text, cluster.name, cluster.port)
    shown = shell(cluster, text, tmp_path / "back")
    print(shown)
    print(f"{one}: {done - began:.0f} s, and {time.monotonic() - done:.0f} s for the way back")
    assert shown.endswith(WELL)
    assert objects(cluster) == known
    (release,) = json.loads(cluster.run("helm", "list", "--output", "json", "-n", "flask-app"))
    assert release["revision"] == "1"
    if RESOURCE:
        assert RESOURCE.listed(cluster.request(RESOURCE.listing)) == ([], "")
