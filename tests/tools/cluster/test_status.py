"""What `make status` makes of what kubectl, helm and the keeper's Job say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.cluster import status
from tools.cluster.client import Cluster
from tools.problem import Problem

Object = dict[str, Any]

CRON_JOB: Object = {
    "kind": "CronJob",
    "metadata": {"name": "flask-app-keeper", "labels": {}},
    "spec": {
        "suspend": False,
        "jobTemplate": {
            "metadata": {"labels": {"app.kubernetes.io/component": "keeper"}},
            "spec": {
                "backoffLimit": 3,
                "activeDeadlineSeconds": 3600,
                "template": {
                    "spec": {
                        "serviceAccountName": "flask-app-keeper",
                        "containers": [{"name": "keeper", "image": "x", "args": ["run"]}],
                    }
                },
            },
        },
    },
}

TOLD: Object = {"source": "keeper", "generation": 7, "pods": []}


def test_the_job_is_the_cronjobs_but_for_what_it_does() -> None:
    """Once, not for long, with the keeper's own account; and gone in any case."""
    job = json.loads(status.status_job(CRON_JOB))
    assert job["metadata"]["generateName"] == "flask-app-status-"
    spec = job["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["ttlSecondsAfterFinished"] <= 300
    assert status.LIMIT < spec["activeDeadlineSeconds"] <= 300
    pod = spec["template"]["spec"]
    assert pod["serviceAccountName"] == "flask-app-keeper"
    assert pod["containers"] == [{"name": "keeper", "image": "x", "args": ["status"]}]
    # what it was made from is as it was
    made = CRON_JOB["spec"]["jobTemplate"]["spec"]
    assert made["template"]["spec"]["containers"][0]["args"] == ["run"]


@pytest.mark.parametrize("before", ["", '{"level": "INFO", "message": "waiting"}\n'])
@pytest.mark.parametrize("after", ["", '\n{"level": "INFO", "message": "x"}'])
def test_the_answer_stands_among_lines_of_the_log(before: str, after: str) -> None:
    assert status.answer(before + json.dumps(TOLD, indent=2) + after) == TOLD


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("", "it says nothing"),
        ("exec: python: not found", "exec: python: not found"),
        ('{"message": "first"}\n{"message": "can\'t get the Secret x: 403"}', "can't get the"),
        (json.dumps(TOLD, indent=2)[:-2], '"pods": '),
    ],
)
def test_a_keeper_that_tells_nothing_is_one_sentence(log: str, said: str) -> None:
    with pytest.raises(Problem, match=f"^The keeper can't tell the ages: +{said}"):
        status.answer(log)


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        ([], "it has no pod; `kubectl --namespace flask-app get events` may say why"),
        ([{"status": {"phase": "Running"}}], "its pod is Running"),
        (
            [
                {
                    "status": {
                        "phase": "Pending",
                        "containerStatuses": [
                            {"state": {"waiting": {"reason": "ImagePullBackOff"}}}
                        ],
                    }
                }
            ],
            "its pod waits, ImagePullBackOff",
        ),
        (
            [
                {
                    "status": {
                        "phase": "Pending",
                        "conditions": [
                            {"status": "False", "message": "0/1 nodes are available"},
                        ],
                    }
                }
            ],
            "its pod is Pending, 0/1 nodes are available",
        ),
    ],
)
def test_why_the_job_does_not_end(pods: list[Object], why: str) -> None:
    assert status.why_waiting(pods) == why


def pod(name: str, address: str, ready: bool = True, restarts: int = 0) -> Object:
    return {
        "metadata": {"name": name},
        "status": {
            "podIP": address,
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"restartCount": restarts}],
        },
    }


def test_a_pod_has_what_it_told_and_what_is_seen_of_it() -> None:
    told: list[Object] = [
        {"name": "pod-1", "generation": 7, "role": "a", "problem": ""},
        {"name": "10.244.0.9", "generation": None, "role": "", "problem": "does not answer"},
        {"name": "gone", "generation": 6, "role": "b", "problem": ""},
    ]
    seen = [
        pod("pod-1", "10.244.0.8", restarts=3),
        pod("pod-2", "10.244.0.9", ready=False),
        pod("pod-3", "10.244.0.10"),
        {"metadata": {"name": "pod-4"}, "status": {"phase": "Pending"}},
    ]
    found = {one["name"]: one for one in status.pods(told, seen, "was not asked")}
    assert found.keys() == {"gone", "pod-1", "pod-2", "pod-3", "pod-4"}
    assert found["pod-1"] == told[0] | {"ready": True, "restarts": 3}
    assert found["pod-2"]["problem"] == "does not answer"
    assert not found["pod-2"]["ready"]
    assert found["gone"] == told[2]
    for name in ("pod-3", "pod-4"):
        assert found[name]["problem"] == "was not asked"
    assert not found["pod-4"]["ready"]


def job(name: str, *arguments: str, at: str = "05:00", **more: Any) -> Object:
    annotations = more.pop("annotations", {})
    began = f"2026-11-26T{at}:00Z"
    return {
        "metadata": {"name": name, "creationTimestamp": began, "annotations": annotations},
        "spec": {"template": {"spec": {"containers": [{"args": [*arguments]}]}}},
        "status": {"startTime": began, **more},
    }


def ended(how: str, at: str) -> Object:
    conditions = [
        {"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": "never"},
        {"type": how, "status": "True", "lastTransitionTime": f"2026-11-26T{at}:00Z"},
    ]
    return {"conditions": conditions}


MANUAL = {"cronjob.kubernetes.io/instantiate": "manual"}
HELMS = {"meta.helm.sh/release-name": "flask-app"}


@pytest.mark.parametrize(
    ("one", "what", "outcome", "when"),
    [
        (job("x", "run", **ended("Complete", "05:01")), "the CronJob's run", "done", "05:01"),
        (job("x", "run", **ended("Failed", "05:02")), "the CronJob's run", "failed", "05:02"),
        (
            job("x", "run", **ended("Complete", "05:02"), completionTime="2026-11-26T05:01:00Z"),
            "the CronJob's run",
            "done",
            "05:01",
        ),
        (job("x", "run"), "the CronJob's run", "under way since", "05:00"),
        (job("x", "run", annotations=MANUAL), "run", "under way since", "05:00"),
        (
            job("x", "run", annotations=HELMS),
            "the run of an install or an upgrade",
            "under way since",
            "05:00",
        ),
        (
            job("x", "rotate", "session", annotations=MANUAL, **ended("Complete", "05:01")),
            "rotate session",
            "done",
            "05:01",
        ),
    ],
)
def test_the_last_run_is_told_in_words(one: Object, what: str, outcome: str, when: str) -> None:
    last = status.runs(CRON_JOB, [one])["last"]
    time = f"2026-11-26T{when}:00Z"
    assert last == {"what": what, "outcome": outcome, "when": time, "job": "job/x"}


def test_the_last_run_is_the_newest_that_did_something() -> None:
    jobs = [
        job("old", "run", at="03:00"),
        job("new", "rotate", at="04:00"),
        job("older", "run", at="02:00"),
        job("a-look", "status", at="05:00"),
    ]
    assert status.runs(CRON_JOB, jobs)["last"]["job"] == "job/new"
    assert status.runs(CRON_JOB, []) == {"suspended": False, "last": None}
    suspended = {**CRON_JOB, "spec": {"suspend": True}}
    assert status.runs(suspended, []) == {"suspended": True, "last": None}


class StandIn:
    """Answers in the place of helm, kubectl and the keeper."""

    command = Cluster.command
    name = namespace = "flask-app"

    def __init__(self) -> None:
        self.source = self.told = "keeper"
        self.items: list[Object] = [CRON_JOB, {**pod("pod-1", "10.244.0.8"), "kind": "Pod"}]
        self.items[1]["metadata"]["labels"] = {status.COMPONENT: "service"}
        self.problem = ""
        self.log = ""
        self.deleted: list[str] = []

    def release_objects(self, kinds: str) -> list[Object]:
        return self.items

    def ask(self, program: str, *arguments: str, stdin: str = "") -> str:
        if program == "kubectl":
            return self.kubectl(*arguments[4:])
        if self.problem:
            raise Problem(self.problem)
        if arguments[0] == "history":
            one = {"revision": 2, "updated": "2026-11-26T03:00:00.123456789Z"}
            more = {"status": "deployed", "chart": "flask-app-0.1.0", "app_version": "0.1.0"}
            return json.dumps([one | more])
        return json.dumps({"secrets": {"source": self.source}})

    def kubectl(self, *arguments: str) -> str:
        if arguments[0] == "create":
            return "job.batch/flask-app-status-x\n"
        if arguments[:2] == ("get", "pods"):
            return json.dumps({"items": []})
        if arguments[0] == "get":
            return json.dumps(job("flask-app-status-x", "status", **ended("Complete", "05:00")))
        if arguments[0] == "delete":
            self.deleted.append(arguments[2])
            return ""
        if self.log:
            return self.log
        pods = [{"name": "pod-1", "generation": 7, "role": "a", "problem": ""}]
        if self.told != "keeper":
            return json.dumps({"source": "somebody else", "pods": pods}, indent=2)
        ages = {"made": "2026-11-26T04:00:00+00:00", "due": "2999-01-01T00:00:00+00:00"}
        keys = {"session_keys": {"sign": 1, "verify": 1}, "rotation": "none", "role": "a"}
        return json.dumps({**TOLD, **keys, "session": ages, "pods": pods}, indent=2)


@pytest.fixture
def cluster() -> Any:
    return StandIn()


def test_all_of_it_is_one_screen(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.show(cluster) == 0
    told = capsys.readouterr()
    assert told.err == ""  # which is no terminal
    assert "flask-app, revision 2 (deployed), " in told.out
    assert ", chart flask-app-0.1.0, app 0.1.0" in told.out
    assert "deployed 2026-11-26 03:00:00 UTC" in told.out
    assert "no run is known" in told.out
    assert "pod-1  7           a     yes    0" in told.out
    assert cluster.deleted == ["flask-app-status-x"]
    assert told.out.endswith("\nNothing is broken.\n")


def test_what_is_broken_is_exit_status_1(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.items[1]["status"]["conditions"][0]["status"] = "False"
    assert status.show(cluster) == 1
    assert "\nBroken:\n  - the pod pod-1 is not ready\n" in capsys.readouterr().out


def test_another_source_is_named(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.source, cluster.told = "vault-agent", "somebody else"
    assert status.show(cluster) == 0
    told = capsys.readouterr().out
    assert "from elsewhere (vault-agent), where alone" in told
    assert "pod-1  7           a     yes    0" in told


@pytest.mark.parametrize(
    ("source", "told", "shown"),
    [
        ("keeper", "somebody else", "from elsewhere (somebody else), where alone"),
        ("existing", "keeper", "made by the keeper, generation 7"),
    ],
)
def test_helm_and_the_keeper_may_not_agree_for_a_moment(
    cluster: Any, capsys: pytest.CaptureFixture[str], source: str, told: str, shown: str
) -> None:
    cluster.source, cluster.told = source, told
    assert status.show(cluster) == 0
    assert shown in capsys.readouterr().out


def test_where_nothing_is_the_keepers_nobody_is_asked(
    cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.source = "existing"
    del cluster.items[0]
    assert status.show(cluster) == 0
    told = capsys.readouterr().out
    assert "from elsewhere (existing), where alone" in told
    assert "has nothing to do here, and nobody asks the pods for their generations" in told
    assert "pod-1  not told    not told  yes    0" in told
    assert not cluster.deleted


def sentence(cluster: Any, capsys: pytest.CaptureFixture[str]) -> str:
    """See that it can't be told, and return the one line that says why."""
    with pytest.raises(Problem) as caught:
        status.show(cluster)
    assert "".join(capsys.readouterr()) == ""
    (line,) = str(caught.value).splitlines()
    return line


def test_a_missing_cron_job_is_one_sentence(
    cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    del cluster.items[0]
    told = "The keeper's CronJob is missing: `make deploy` makes it again."
    assert sentence(cluster, capsys) == told


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (
            "helm fails: Error: release: not found",
            "There is no release flask-app: `make deploy` installs it.",
        ),
        ("helm fails: unreachable", "helm fails: unreachable"),
    ],
)
def test_a_helm_that_does_not_know_is_one_sentence(
    cluster: Any, capsys: pytest.CaptureFixture[str], problem: str, said: str
) -> None:
    cluster.problem = problem
    assert sentence(cluster, capsys) == said


def test_a_job_that_failed_is_one_sentence_and_removed(
    cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.log = '{"level": "ERROR", "message": "can\'t get the Secret x: 403 Forbidden"}'
    told = "The keeper can't tell the ages: can't get the Secret x: 403 Forbidden"
    assert sentence(cluster, capsys) == told
    assert cluster.deleted == ["flask-app-status-x"]


def test_a_job_that_does_not_end_is_one_sentence_and_removed(
    cluster: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "LIMIT", -1)
    monkeypatch.setattr(status, "_ended", lambda job: None)
    monkeypatch.setattr(status, "why_waiting", lambda pods: "its pod waits")
    told = "The keeper's Job, which tells the ages, did not end within -1 s: its pod waits."
    assert sentence(cluster, capsys) == told
    assert cluster.deleted == ["flask-app-status-x"]
