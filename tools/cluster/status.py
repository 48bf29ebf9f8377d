"""One screen of what is deployed; nobody reads a value for it.

The ages are the keeper's to tell: its own account, which may read the release's Secrets and
nothing else, runs `status` in a Job that is gone afterwards. Helm reads its own records.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from keeper.screen import screen
from tools.poll import PollTimeout, poll
from tools.problem import Problem

from .client import NAMESPACE, RELEASE, Cluster, Object

#: How long the keeper's Job may take, in seconds.
LIMIT: Final = 60
#: When the Job ends and goes, if nobody is left to remove it, in seconds.
LEFT: Final = 300
PAUSE: Final = 0.3

COMPONENT: Final = "app.kubernetes.io/component"


def show(cluster: Cluster) -> int:
    """Print the screen, and return the exit status: 0 nothing is broken, 1 something is.

    :raises Problem: it can't be told.
    """
    text, is_sound = screen(facts(cluster), datetime.now(UTC))
    print(text)
    return 0 if is_sound else 1


def facts(cluster: Cluster) -> dict[str, Any]:
    """Return what the keeper knows, and beside it what helm and the API server do.

    :raises Problem: one of them does not answer.
    """
    release, source = deployed(cluster), source_of_secrets(cluster)
    found = cluster.release_objects("pods,jobs,cronjobs")
    cron_job = next((one for one in found if one["kind"] == "CronJob"), None)
    if cron_job:
        told = ask_keeper(cluster, cron_job)
    elif source == "keeper":
        raise Problem("The keeper's CronJob is missing: `make deploy` makes it again.")
    else:
        told = {"source": source, "pods": []}
    seen = of_component(found, "Pod", "service")
    # in the middle of an upgrade they may not agree
    is_keepers = "keeper" in (told["source"], source)
    return {
        **told,
        "source": told["source"] if is_keepers else source,
        "release": release,
        "pods": pods(told["pods"], seen, "was not asked: DNS lacks it" if cron_job else ""),
        "runs": cron_job and runs(cron_job, of_component(found, "Job", "keeper")),
    }


def deployed(cluster: Cluster) -> dict[str, Any]:
    """Return what helm says of the release's last revision.

    :raises Problem: there is none.
    """
    arguments = ("--namespace", NAMESPACE, "--max", "1", "--output", "json")
    try:
        last: dict[str, Any] = json.loads(cluster.ask("helm", "history", RELEASE, *arguments))[-1]
    except Problem as problem:
        if "not found" in str(problem):
            raise Problem(f"There is no release {RELEASE}: `make deploy` installs it.") from None
        raise
    return {**last, "name": RELEASE, "deployed": last["updated"]}


def source_of_secrets(cluster: Cluster) -> str:
    """Return the release's `secrets.source`.

    :raises Problem: helm does not say.
    """
    arguments = ("--namespace", NAMESPACE, "--all", "--output", "json")
    values = json.loads(cluster.ask("helm", "get", "values", RELEASE, *arguments))
    return str(values.get("secrets", {}).get("source", "keeper"))


def ask_keeper(cluster: Cluster, cron_job: Object) -> dict[str, Any]:
    """Run the keeper's `status` once, in a Job, and return what it tells.

    :raises Problem: the Job can't be started, or fails.
    """
    if sys.stderr.isatty():
        print("asking the keeper ...", file=sys.stderr)
    create = cluster.command("create", "--filename", "-", "--output", "name")
    made = cluster.ask(*create, stdin=status_job(cron_job))
    job = made.strip().removeprefix("job.batch/")
    try:
        _wait(cluster, job)
        return answer(cluster.ask(*cluster.command("logs", f"job/{job}", "--tail", "-1")))
    finally:
        cluster.ask(*cluster.command("delete", "job", job, "--ignore-not-found", "--wait=false"))


def status_job(cron_job: Object) -> str:
    """Return a Job as the CronJob makes it, but for what the keeper is to do, as JSON."""
    template = copy.deepcopy(cron_job["spec"]["jobTemplate"])
    spec = template["spec"]
    spec.update(backoffLimit=0, activeDeadlineSeconds=LEFT, ttlSecondsAfterFinished=LEFT)
    container = spec["template"]["spec"]["containers"][0]
    container["args"] = ["status"]
    labels = template.get("metadata", {}).get("labels", {})
    metadata = {"generateName": f"{RELEASE}-status-", "labels": labels}
    return json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})


def _wait(cluster: Cluster, job: str) -> None:
    """Wait until the Job has ended, well or not.

    :raises Problem: it takes too long.
    """

    def get(*what: str) -> Any:
        return json.loads(cluster.ask(*cluster.command("get", *what, "--output", "json")))

    try:
        poll(lambda: _ended(get("job", job)), f"the end of {job}", LIMIT, PAUSE)
    except PollTimeout:
        pods = get("pods", "--selector", f"job-name={job}")["items"]
        raise Problem(
            f"The keeper's Job, which tells the ages, did not end within {LIMIT} s: "
            f"{why_waiting(pods)}."
        ) from None


def why_waiting(pods: Sequence[Object]) -> str:
    """Return why a Job's pod does not run, as far as its status says."""
    if not pods:
        return f"it has no pod; `kubectl --namespace {NAMESPACE} get events` may say why"
    status = pods[0]["status"]
    for container in status.get("containerStatuses", ()):
        if reason := container.get("state", {}).get("waiting", {}).get("reason"):
            return f"its pod waits, {reason}"
    for condition in status.get("conditions", ()):
        if condition["status"] == "False" and condition.get("message"):
            return f"its pod is {status['phase']}, {condition['message']}"
    return f"its pod is {status['phase']}"


def answer(log: str) -> dict[str, Any]:
    """Return what the keeper's `status` printed, which its log lines can stand around.

    :raises Problem: it told nothing; the message has its last line.
    """
    lines = log.splitlines()
    try:
        # the log has an object in each line; what was asked for begins with a line of its own
        text = "\n".join(lines[lines.index("{") :])
        told: dict[str, Any] = json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        said = lines[-1] if lines else "it says nothing"
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(said)["message"]
        raise Problem(f"The keeper can't tell the ages: {said}") from None
    return told


def of_component(found: Iterable[Object], kind: str, component: str) -> list[Object]:
    """Return the objects of a kind that belong to a component."""
    return [
        one
        for one in found
        if one["kind"] == kind and one["metadata"]["labels"].get(COMPONENT) == component
    ]


def pods(
    told: Iterable[Mapping[str, Any]], seen: Iterable[Object], silence: str
) -> list[dict[str, Any]]:
    """Return the pods as they told of themselves, with what the API server sees of them.

    :param silence: the problem of one that told nothing.
    """
    rows = {one["name"]: dict(one) for one in told}
    for pod in seen:
        name, status = pod["metadata"]["name"], pod["status"]
        # one that did not answer has its address for a name
        row = rows.pop(name, None) or rows.pop(status.get("podIP"), None)
        ready = {one["type"]: one["status"] for one in status.get("conditions", ())}.get("Ready")
        restarts = sum(one["restartCount"] for one in status.get("containerStatuses", ()))
        rows[name] = {
            **(row or {"generation": None, "role": "", "problem": silence}),
            "name": name,
            "ready": ready == "True",
            "restarts": restarts,
        }
    return [*rows.values()]


def runs(cron_job: Object, jobs: Iterable[Object]) -> dict[str, Any]:
    """Return what is known of the keeper's runs: the last one, and whether there will be more."""
    started = [job for job in jobs if _arguments(job)[:1] != ["status"]]
    last = max(started, key=lambda job: str(job["metadata"]["creationTimestamp"]), default=None)
    return {"suspended": bool(cron_job["spec"].get("suspend")), "last": last and _run(last)}


def _run(job: Object) -> dict[str, str]:
    status, began = job["status"], job["metadata"]["creationTimestamp"]
    outcome, when = "under way since", status.get("startTime", began)
    if ended := _ended(job):
        outcome = "done" if ended["type"] == "Complete" else "failed"
        # a second before the condition, at times
        when = status.get("completionTime", ended["lastTransitionTime"])
    name = f"job/{job['metadata']['name']}"
    return {"what": _what(job), "outcome": outcome, "when": when, "job": name}


def _ended(job: Object) -> dict[str, str] | None:
    """Return the condition by which a Job has ended, if it has."""
    for condition in job["status"].get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            found: dict[str, str] = condition
            return found
    return None


def _what(job: Object) -> str:
    """Return in a word who started a run, and what it had to do."""
    annotations = job["metadata"].get("annotations", {})
    arguments = _arguments(job)
    if "meta.helm.sh/release-name" in annotations:
        return "the run of an install or an upgrade"
    if arguments == ["run"] and "cronjob.kubernetes.io/instantiate" not in annotations:
        return "the CronJob's run"
    return " ".join(arguments)


def _arguments(job: Object) -> list[str]:
    found: list[str] = job["spec"]["template"]["spec"]["containers"][0].get("args", [])
    return found
