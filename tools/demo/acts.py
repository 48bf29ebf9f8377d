"""The acts before and after the rotation; each has to go as it is told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from secret_files import Secret
from tools.cluster.client import ROOT, Cluster
from tools.cluster.deploy import deploy as deploy_release
from tools.cluster.kind import https_port
from tools.leakscan.engine import CLEAN, Place, Report, Row
from tools.leakscan.places import PLACES
from tools.leakscan.report import summary, table
from tools.leakscan.run import scanning
from tools.problem import Problem

from . import leak
from .stage import NotAsTold, Stage, open_page

#: Where the scan looks for what a pod can leave behind.
OF_PODS = ("kubernetes objects", "processes", "output", "etcd")


def deploy(stage: Stage, cluster: Cluster) -> Cluster:
    """Deploy, and return the cluster with the port that leads to it."""
    stage.act("Deploy")
    stage.say(
        "A cluster, an image, a Helm release. No password is typed, made or stored here: a Job in",
        "the cluster makes all of them, and Helm never sees one.",
    )
    stage.say()
    try:
        deploy_release(cluster, stage.progress, hints=False)
    except Problem as problem:
        raise NotAsTold(f"the deployment failed: {problem}") from None
    deployed = replace(cluster, port=https_port(cluster))
    deployed.wait_until_ready()
    return deployed


def open_it(stage: Stage, cluster: Cluster) -> None:
    """Show the page."""
    stage.act("Open the page")
    url = f"https://localhost:{cluster.port}"
    stage.line("Your browser opens it:" if open_page(url) else "Open it in your browser:")
    stage.say()
    stage.line(f"  {url}")
    stage.say()
    stage.say(
        "The browser warns, since the certificate is signed by the release's own authority, whose",
        f"certificate is in {cluster.state.relative_to(ROOT)}/ca.crt: here you may go on. The",
        "panel on top is live: each secret's name and age, how many keys sign and verify, the",
        "database role in use, and each pod with its generation. It never shows a value. Keep it",
        "in sight.",
    )


def scan(stage: Stage, cluster: Cluster, before: list[Secret]) -> None:
    """Scan for all values, also those from before the rotation; nothing may be found."""
    stage.act("Scan: where is a secret?")
    stage.say(
        f"The scan looks in {len(PLACES)} places for every value, those from before the rotation,",
        "too: in any encoding, and for digests of it. What can't be read is no pass.",
    )
    stage.say()
    started = time.monotonic()
    report = look(stage, cluster, PLACES, before)
    stage.say()
    stage.say(summary(report, time.monotonic() - started))
    if report.status != CLEAN:
        stage.line(table(report))
        raise NotAsTold("the scan is not clean before there is a planted leak: see the table above")


def leak_and_scan(stage: Stage, cluster: Cluster) -> None:
    """Plant a leak, see that the scan finds it, take it back, and see that it has gone."""
    stage.act("Plant a leak, and scan again")
    stage.say(
        f"A scan that finds nothing may just be blind. So the Secret {leak.SECRET} is made, with a",
        "canary: a random token that is good for nothing. Then somebody is in a hurry: starts a",
        "pod to debug, with the token as a variable, and prints the environment.",
    )
    stage.say()
    places = [place for place in PLACES if place.group in OF_PODS]
    with leak.canary(cluster) as value:
        with ExitStack() as planted:
            with stage.progress.step(f"start the pod {leak.POD}"):
                planted.enter_context(leak.leaked(cluster, value))
            found = _find(stage, cluster, places)
            with stage.progress.step("delete the pod, and wait until the node has swept after it"):
                planted.close()
                leak.wait_until_swept(cluster)
        again = [place for place in places if str(place) in found]
        after = look(stage, cluster, again)
    _tell_rest(stage, after)


def look(
    stage: Stage, cluster: Cluster, places: Sequence[Place], before: Sequence[Secret] = ()
) -> Report:
    """Scan these places, for values from before, too."""
    with scanning(cluster, stage.progress) as begun:
        begun.values.extend(before)
        return begun.report(places=places)


def _find(stage: Stage, cluster: Cluster, places: Sequence[Place]) -> set[str]:
    """Scan, tell where the canary is, and return the names of these places."""
    report = look(stage, cluster, places)
    stage.say()
    for row in report.rows:
        _tell_findings(stage, row)
    where = report.found().get(leak.CANARY, set())
    if missing := leak.SURFACES - where:
        raise NotAsTold(f"the scan is blind: the leak is not found in {', '.join(sorted(missing))}")
    _check_rest(stage, report)
    stage.say()
    stage.say(f"One careless command, and {len(where)} of these {len(places)} places have it.")
    stage.say()
    return where


def _tell_findings(stage: Stage, row: Row) -> None:
    """Tell in a line what was found in a place, and where."""
    if row.findings:
        first = min(row.findings)
        more = f", and {len(row.findings) - 1} more" if len(row.findings) > 1 else ""
        stage.line(f"  found in {row.place}: {first.what}, in {first.where}{more}")


def _check_rest(stage: Stage, report: Report) -> None:
    """See that nothing but the canary is found, and that all places could be read."""
    if report.found().keys() - {leak.CANARY} or report.faults() or report.unread():
        stage.line(table(report))
        raise NotAsTold("the scan has more to tell than what was planted: see the table above")


def _tell_rest(stage: Stage, report: Report) -> None:
    """Tell where it still is, as files keep what was deleted; elsewhere it may not be."""
    left = report.found().get(leak.CANARY, set())
    if still := leak.SURFACES & left:
        raise NotAsTold(f"the leak was taken back, and is still in {', '.join(sorted(still))}")
    _check_rest(stage, report)
    stage.say()
    stage.say("The leak is gone from all objects, processes and logs.")
    if left:
        stage.say(
            f"Not yet from {', '.join(sorted(left))}: a deleted object stays in files until they",
            "are written over. That is why what has leaked is rotated, and not only deleted.",
        )
