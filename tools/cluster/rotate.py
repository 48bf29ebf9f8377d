"""Rotates what is deployed, and tells each step of the keeper with its seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tools.problem import Problem
from tools.progress import Progress, timed

from .client import RELEASE, Cluster
from .job import Job, create


def rotate(cluster: Cluster, progress: Progress, parts: Sequence[str]) -> None:
    """Start a Job of the keeper, and follow it to its end.

    :param parts: some of session, database and certificates; all of them, if none is named.
    :raises Problem: the rotation is not finished.
    """
    name = f"{RELEASE}-rotate-{int(time.time())}"
    with ExitStack() as until_it_has_ended:
        with progress.step(f"start the Job {name}"):
            # once: what is left unfinished is the CronJob's to finish, or the next rotation's
            job = create(cluster, name, ["rotate", *parts], {})
            until_it_has_ended.enter_context(_going_on(job))
            job.wait_until_started()
        with progress.step("rotate") as step:
            for entry in job.lines():
                message = str(entry.get("message", entry))
                progress.say(timed(message, entry.get("seconds"), decimals=1))
                is_published = message.startswith("announced") or message == "promoted"
                step.restart("see every pod on the new generation" if is_published else "rotate")
            step.text = ""
        is_finished = job.succeeds()
    if not is_finished:
        stay = "Old and new secrets stay valid; the CronJob goes on within the hour"
        raise Problem(f"Not finished. {stay}, `make rotate` now.")
    progress.finish()


@contextmanager
def _going_on(job: Job) -> Iterator[None]:
    """Say where the keeper goes on, if nobody waits for its end."""
    try:
        yield
    except BaseException:
        print(f"The keeper goes on in the cluster: see the Job {job.name}.", file=sys.stderr)
        raise
