"""The act that it is all about: everything is rotated while people work."""

from __future__ import annotations

import time

from secret_files import Secret
from tools.cluster.checks import login, restarts
from tools.cluster.client import Cluster
from tools.cluster.job import start
from tools.leakscan.reader import reader
from tools.load import Load
from tools.resource import RESOURCE
from tools.table import Table

from .stage import NotAsTold, Stage

#: How long the load runs before and after the rotation, in seconds.
AROUND = 3
#: The requests in a second: a gap of a tenth of one is seen, and a laptop has time for the page.
PACE = 24

#: Less than this was no load, in requests.
LEAST = 100

#: What each step of the keeper means to those who watch.
MEANING = {
    "prepared": "the idle database role has a new password, which was tried",
    "announced": "the new login, and the new session key beside the old one",
    "seen": "every pod has read this from its files",
    "promoted": "the new key signs, the old one verifies: sessions go on",
    "revoked": "the old role is locked, and was seen to be refused",
    "rotated": "the Secret says that all is done",
}

#: What the load wrote, by its text.
WRITTEN = "^load [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"


def rotate_under_load(stage: Stage, cluster: Cluster) -> list[Secret]:
    """Load the service, rotate everything, and return the values that there were before."""
    stage.act("Load")
    with reader(cluster) as reads:
        values = reads.values()
    before = cluster.secret("flask-app-secrets")
    pods = restarts(cluster, "service", "database")
    try:
        with Load(int(cluster.port), cluster.state / "ca.crt", pace=PACE) as load:
            _warm_up(stage, load)
            stage.act("Rotate, under this load")
            _rotate(stage, cluster)
            time.sleep(AROUND)
        with stage.progress.step("see what became of it"):
            lost = load.lost()
            old, new = login(cluster, before), login(cluster, cluster.secret("flask-app-secrets"))
    finally:
        if RESOURCE:
            with stage.progress.step("remove what the load wrote"):
                where = f"{RESOURCE.column} ~ '{WRITTEN}'"
                cluster.sql(f"DELETE FROM {RESOURCE.table} WHERE {where}")
    restarted = restarts(cluster, "service", "database") != pods
    _tell_figures(stage, load, len(lost), restarted, old)
    check(load, lost, restarted, old, new)
    return values


def _warm_up(stage: Stage, load: Load) -> None:
    stage.say(
        "Twelve users read, write and come back with their sessions. Each request has a new",
        "connection, and none is tried twice: whatever fails now is counted.",
    )
    stage.say()
    with stage.progress.step("load") as step:
        time.sleep(AROUND)
        step.outcome = f"{load.per_second:.0f} requests a second"


def _rotate(stage: Stage, cluster: Cluster) -> None:
    stage.say(
        "The keeper, a Job in the cluster, replaces the session key, the database's password and",
        "the certificates. On the page, the steps go by: each pod's generation changes twice, the",
        "database role once, and the requests of the load go on.",
    )
    stage.say()
    with stage.progress.step("the rotation"):
        job = start(cluster, "rotate")
        for line in job.lines():
            name = str(line.get("step", ""))
            meaning = MEANING.get(name)
            told = f"{line['message']}: {meaning}" if meaning else line["message"]
            stage.line(f"{line.get('seconds', 0):5.1f} s  {told}")
        if not job.succeeds():
            raise NotAsTold(f"the rotation is not finished: see the log of the Job {job.name}")


def _tell_figures(stage: Stage, load: Load, lost: int, restarted: bool, old: str) -> None:
    figures = {
        "requests answered": f"{len(load.seconds)}, {load.per_second:.0f} a second",
        "requests failed": len(load.failures),
        "sessions lost": len(load.lost_sessions),
        "texts lost": lost,
        "pods restarted": "some" if restarted else "none",
        "the old login": old,
    }
    stage.say()
    for line in Table(("", "")).begin((f"  {name}", str(found)) for name, found in figures.items()):
        stage.line(line)


def check(load: Load, lost: set[str], restarted: bool, old: str, new: str) -> None:
    """See that nobody noticed anything, and that the old login is no good any more.

    :raises NotAsTold: otherwise.
    """
    if load.failures or load.lost_sessions or lost:
        first = [*load.failures, *load.lost_sessions][:1]
        raise NotAsTold(f"somebody noticed the rotation: {first or f'{len(lost)} texts are gone'}")
    if len(load.seconds) < LEAST:
        raise NotAsTold(f"{len(load.seconds)} requests are no load: is this machine very busy?")
    if restarted:
        raise NotAsTold("a pod was restarted: see `kubectl get pods`")
    if (old, new) != ("refused", "let in"):
        raise NotAsTold(f"the old login is {old}, the new one {new}")
