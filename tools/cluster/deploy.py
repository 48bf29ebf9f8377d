"""From nothing, or from an older release, to the running service; and back to that state."""

from __future__ import annotations

import json
import os
from typing import Final

from tools.problem import Problem
from tools.progress import Progress
from tools.resource import RESOURCE

from .client import NAMESPACE, RELEASE, Cluster, CommandError
from .kind import create, exists, https_port, quietly, require

#: What the database's image is called; the node has it from this machine, or pulls it.
POSTGRES: Final = "postgres:17"

#: What `kubectl get secret` prints the certificate authority with.
AUTHORITY: Final = '{{ index .data "ca.crt" | base64decode }}'

HINTS: Final = """
The service is at {url}. Its certificate is signed by a certificate authority
of its own, which now stands in {state}/ca.crt. In the cluster it is in the
Secret flask-app-tls, under ca.crt; this is how to ask for it:

  export KUBECONFIG='{kubeconfig}'
  kubectl --namespace flask-app get secret flask-app-tls \\
    --output go-template='{authority}'

Commands to try:

  curl --cacert {state}/ca.crt {url}/status
{write}  kubectl --kubeconfig '{kubeconfig}' --namespace flask-app \\
    logs --selector app.kubernetes.io/component=keeper
"""

#: How to write one of the service's resource.
WRITE: Final = """\
  curl --cacert {state}/ca.crt {url}{path} \\
    --header 'Content-Type: application/json' --data '{body}'
"""


def deploy(cluster: Cluster, progress: Progress, hints: bool = True) -> None:
    """Make the cluster, build the image, and install or upgrade the release in place.

    :param hints: whether to say what can be done next.
    :raises Problem: something of it fails.
    """
    require(cluster, "docker", "kind", "kubectl", "helm")
    create(cluster, progress)
    with progress.step("build the image"):
        tag = _build(cluster)
    with progress.step("load the images into the cluster"):
        _load(cluster, f"flask-app:{tag}", *([POSTGRES] if _is_here(cluster) else []))
    with progress.step("install or upgrade the release"):
        _install(cluster, tag)
    with progress.step("one request through the Service"):
        try:
            cluster.run("helm", "test", RELEASE, "--namespace", NAMESPACE)
        except CommandError as problem:
            raise Problem(f"{problem}\nThe Service does not answer.") from None
        form = ("--output", f"go-template={AUTHORITY}")
        authority = cluster.kubectl("get", "secret", f"{RELEASE}-tls", *form)
        (cluster.state / "ca.crt").write_text(authority)
    progress.finish()
    if hints:
        url = f"https://localhost:{https_port(cluster)}"
        where = {"state": cluster.state.relative_to(cluster.root), "authority": AUTHORITY}
        kubeconfig = cluster.state / "kubeconfig"
        write = ""
        if RESOURCE:
            body = json.dumps(RESOURCE.body("Hello"))
            write = WRITE.format(url=url, path=RESOURCE.path, body=body, **where)
        text = HINTS.format(url=url, kubeconfig=kubeconfig, write=write, **where)
        progress.say(text.rstrip("\n"))


def _build(cluster: Cluster) -> str:
    """Build the image, and return its tag."""
    # named for the cluster at first: another folder may be building, too
    built = f"flask-app:{cluster.name}"
    quietly(cluster, "docker", "build", "--provenance=false", "--tag", built, ".")
    # named for its content: an unchanged image restarts nothing, a changed one does
    digest = cluster.run("docker", "image", "inspect", "--format", "{{.Id}}", built).strip()
    tag = digest.removeprefix("sha256:")[:12]
    cluster.run("docker", "tag", built, f"flask-app:{tag}")
    return tag


def _is_here(cluster: Cluster) -> bool:
    """Tell whether this machine has the database's image, which spares the node a download."""
    return cluster.complete("docker", "image", "inspect", POSTGRES).returncode == 0


def _load(cluster: Cluster, *images: str) -> None:
    """Load those that the node lacks: together, since they have layers in common."""
    listed = ("ctr", "--namespace", "k8s.io", "images", "list", "--quiet")
    missing = [
        image for image in images if not cluster.node(*listed, f"name==docker.io/library/{image}")
    ]
    if missing:
        quietly(cluster, "kind", "load", "docker-image", *missing, "--name", cluster.name)


def _install(cluster: Cluster, tag: str) -> None:
    """Install or upgrade the release, and wait until it is ready.

    :raises Problem: it is not; the message says what its pods are at.
    """
    cluster.kubectl("apply", "--filename", "tools/cluster/namespace.yaml")
    values = ["tools/cluster/values.yaml", *filter(None, [os.environ.get("VALUES")])]
    try:
        cluster.run(
            *("helm", "upgrade", "--install", RELEASE, "chart", "--namespace", NAMESPACE),
            *(f"--values={file}" for file in values),
            *("--set-string", f"image.tag={tag}"),
            *("--wait", "--wait-for-jobs", "--timeout", "5m"),
        )
    except CommandError as problem:
        raise Problem(f"{problem}\n{_explanation(cluster)}") from None


def _explanation(cluster: Cluster) -> str:
    """Return why a release may not have become ready: its pods, and what they have said."""
    events = ("--field-selector", "type=Warning", "--sort-by", ".lastTimestamp")
    told = [
        "The release did not become ready:",
        cluster.kubectl("get", "pods", check=False),
        *cluster.kubectl("get", "events", *events, check=False).splitlines()[-5:],
    ]
    for component in ("keeper", "database", "service"):
        selector = f"app.kubernetes.io/component={component}"
        options = ("--all-containers", "--prefix", "--tail", "5")
        told.append(cluster.kubectl("logs", "--selector", selector, *options, check=False))
    return "\n".join(text.rstrip("\n") for text in told)


def reset(cluster: Cluster, progress: Progress) -> None:
    """Begin anew in the cluster that is there: with new secrets, and without a note.

    :raises Problem: there is none, or something of it fails.
    """
    require(cluster, "docker", "kind", "kubectl", "helm")
    if not exists(cluster):
        made = "`make deploy` makes it, in the known state"
        raise Problem(f"There is no cluster {cluster.name}: {made}.")
    # sees that it is on the port that is asked for, before anything is removed
    create(cluster, progress)
    ready = ("get", "--raw", "/readyz", "--request-timeout", "20s")
    if cluster.complete(*cluster.command(*ready)).returncode:
        way = "`make destroy`, then `make deploy`"
        raise Problem(f"The cluster {cluster.name} does not answer: {way}.")
    with progress.step("end the pods"):
        _remove(cluster, "deployments,statefulsets,cronjobs,jobs", "--all", "--wait=false")
        # as soon as can be: their data goes, too. With their own time to end, which may be a
        # minute, the namespace would wait for half of it before it looks again.
        _remove(cluster, "pods", "--all", "--grace-period", "1")
    with progress.step("remove the namespace with all that is in it"):
        _remove(cluster, "namespace", NAMESPACE, "--ignore-not-found")
    deploy(cluster, progress, hints=False)


def _remove(cluster: Cluster, *what: str) -> None:
    try:
        quietly(cluster, *cluster.command("delete", *what, "--timeout", "120s"))
    except Problem as problem:
        way = "`make destroy`, then `make deploy` begins anew, too"
        raise Problem(f"{problem}\nIt does not go; a finalizer may hold it. {way}.") from None
