"""Jobs of the keeper, made from the CronJob as `make rotate` makes them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import urllib3

from tools.poll import poll

from .client import Cluster, CommandError

#: How long a Job may take, in seconds.
LIMIT = 420


@dataclass(frozen=True)
class Job:
    """One run of the keeper on the cluster."""

    cluster: Cluster
    name: str

    def lines(self) -> Iterator[dict[str, Any]]:
        """Follow what it logs, line by line, until it ends."""
        self.wait_until_started()
        command = self.cluster.command("logs", "--follow", f"job/{self.name}")
        with subprocess.Popen(
            command, env=self.cluster.environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                for line in process.stdout or ():
                    yield entry(line)
            finally:
                process.kill()

    def kill_after(self, step: str, times: int) -> None:
        """Kill the keeper's process when it has logged a step, as the kernel can at any time."""
        command = ("docker", "exec", "--interactive", self.cluster.control_plane, "sh")
        # a shell that is there already: the keeper does not wait for one to start
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as shell:
            self.wait_for(step, times)
            shell.communicate("pkill -KILL -f -- '-m [k]eeper'")

    def wait_for(self, step: str, times: int = 1) -> None:
        """Wait until it logged a step, so many times.

        :raises CommandError: it ended without it.
        """
        seen = []
        for line in self.lines():
            seen.append(line["message"])
            times -= line.get("step") == step
            if times == 0:
                return
        raise CommandError(f"{self.name} ended without {step}: {seen}")

    def succeeds(self) -> bool:
        """Wait until it has ended, and tell whether all of it was done."""
        return poll(self._outcome, f"the end of {self.name}", LIMIT, 0.3) == "Complete"

    def log(self) -> str:
        """Return all that it logged."""
        return self.cluster.kubectl("logs", f"job/{self.name}", "--tail", "-1", check=False)

    def exit_status(self) -> int:
        """Return the exit status of its one container, which has ended."""
        (pod,) = self.cluster.objects("pods", f"job-name={self.name}")
        return int(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"])

    def _outcome(self) -> str:
        # an API server that is away for a moment is one of the tests
        path = f"/apis/batch/v1/namespaces/{self.cluster.namespace}/jobs/{self.name}"
        try:
            conditions = json.loads(self.cluster.get(path))["status"].get("conditions", [])
        except (CommandError, urllib3.exceptions.HTTPError):
            return ""
        ended = {one["type"] for one in conditions if one["status"] == "True"}
        return next((one for one in ("Complete", "Failed") if one in ended), "")

    def wait_until_started(self) -> None:
        """Wait until its container has started, which kubectl's own waiting does not cover.

        :raises PollTimeout: it does not start.
        """

        def has_started() -> bool:
            pods = self.cluster.items("pods", f"job-name={self.name}")
            states = [one["state"] for pod in pods for one in containers(pod)]
            return any("running" in state or "terminated" in state for state in states)

        poll(has_started, f"the start of {self.name}", 60)


def start(cluster: Cluster, *arguments: str, **environment: str) -> Job:
    """Start the keeper once, with these arguments, and these variables turned."""
    name = f"keeper-{'-'.join(arguments)}-{time.time_ns() // 1_000_000}".replace("--", "-")
    return create(cluster, name, arguments, environment)


def create(
    cluster: Cluster, name: str, arguments: Sequence[str], environment: Mapping[str, str]
) -> Job:
    """Create a Job of this name from the keeper's CronJob; it runs once, and goes in an hour.

    :param arguments: those of the keeper.
    :param environment: its variables that are turned.
    :raises CommandError: it can't be created, or there is no such variable.
    """
    made = cluster.kubectl(
        *("create", "job", name, "--from", f"cronjob/{cluster.fullname}-keeper"),
        *("--dry-run=client", "--output", "json"),
    )
    job = json.loads(made)
    job["spec"].update(backoffLimit=0, ttlSecondsAfterFinished=3600)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    container["args"] = list(arguments)
    kept = [one for one in container["env"] if one["name"] not in environment]
    turned = [{"name": name, "value": value} for name, value in environment.items()]
    if len(kept) + len(turned) != len(container["env"]):
        raise CommandError(f"the keeper has not all of these settings: {', '.join(environment)}")
    container["env"] = kept + turned
    cluster.kubectl("create", "--filename", "-", stdin=json.dumps(job))
    return Job(cluster, name)


def entry(line: str) -> dict[str, Any]:
    """Return a line of the keeper's log; what is no JSON is the whole message."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": line.rstrip("\n")}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the status of each container, of which a new pod has none yet."""
    return list(pod["status"].get("containerStatuses", []))
