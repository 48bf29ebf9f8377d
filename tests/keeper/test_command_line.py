"""``python -m keeper``: its usage, its exit status, and one line of JSON for a problem."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import pytest

from keeper.__main__ import command_line, do
from keeper.keeper import Keeper
from keeper.kubernetes_secrets import KubernetesSecrets
from keeper.objects import NO_NOTES, Conflict, SecretObjects, StoredSecret
from keeper.plan import PARTS
from keeper.pods import Pod, Pods
from keeper.settings import plan_from
from secret_files import Redactor
from tests.keeper.test_settings import ENVIRONMENT


def keeper(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "KUBERNETES" not in name}
    return subprocess.run(
        [sys.executable, "-m", "keeper", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
    )


def test_wrong_usage_is_2() -> None:
    done = keeper("fill")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m keeper")


def test_a_missing_setting_is_2() -> None:
    done = keeper("run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"].startswith("SERVICE_SECRET is not set")


def test_what_can_not_be_done_is_1() -> None:
    done = keeper("run", **ENVIRONMENT)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["message"].startswith("this is no pod with a token")


def test_a_part_that_can_not_be_rotated_is_2() -> None:
    done = keeper("rotate", "session", "nonsense", **ENVIRONMENT)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    message = "nonsense can't be rotated: name some of session, database, certificates"
    assert json.loads(line)["message"] == message


@pytest.mark.parametrize(
    "line", ["", "fill", "run now", "status now", "run --new-authority", "rotate --all"]
)
def test_what_is_no_command_or_belongs_to_another_one_is_wrong_usage(line: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line("keeper").parse_args(line.split())


@pytest.mark.parametrize("line", ["rotate", "rotate session database", "status"])
def test_each_command_needs_the_api_server(line: str, caplog: pytest.LogCaptureFixture) -> None:
    arguments = command_line("keeper").parse_args(line.split())
    assert do(arguments, KubernetesSecrets, plan_from(ENVIRONMENT), Redactor()) == 1
    (message,) = caplog.messages
    assert message.startswith("this is no pod with a token")


class Empty(SecretObjects):
    """A place in which every Secret is empty, and stays so."""

    def get(self, name: str) -> StoredSecret:
        return StoredSecret(name, "", {})

    def patch(
        self, secret: StoredSecret, data: Mapping[str, str], notes: Mapping[str, str] = NO_NOTES
    ) -> StoredSecret:
        raise AssertionError("nothing is to be written")


class Taken(Empty):
    def get(self, name: str) -> StoredSecret:
        raise Conflict("the Secret x was changed by somebody else")


def test_the_status_of_what_is_empty_is_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    plan = replace(plan_from(ENVIRONMENT), service=None)
    arguments = command_line("keeper").parse_args(["status"])
    assert do(arguments, Empty, plan, Redactor()) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["generation"], found["rotation"], found["role"], found["pods"]) == (
        0,
        "none",
        "",
        [],
    )
    assert found["source"] == "keeper"
    assert found["session_keys"] == {"sign": 1, "verify": 1}
    assert found["session"]["made"] < found["session"]["due"]


def test_the_status_as_a_text_fails_when_something_is_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = replace(plan_from(ENVIRONMENT), service=None)
    arguments = command_line("keeper").parse_args(["status", "--text"])
    assert do(arguments, Empty, plan, Redactor()) == 1
    told = capsys.readouterr().out.split("\nBroken:\n")[1].splitlines()
    assert "  - the secrets are not made yet: the keeper fills them" in told
    assert "  - no pod of the service is found" in told


def test_the_status_of_somebody_elses_secrets_is_of_what_is_the_keepers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = replace(plan_from(ENVIRONMENT), service_secret="", service=None)
    arguments = command_line("keeper").parse_args(["status"])
    assert do(arguments, Empty, plan, Redactor()) == 0
    assert json.loads(capsys.readouterr().out) == {
        "source": "somebody else",
        "certificates": {"flask-app-ca": {}, "flask-app-tls": {}},
        "pods": [],
    }


@pytest.mark.parametrize(
    ("line", "has_certificates", "theirs"),
    [
        ("rotate session", True, "session"),
        ("rotate certificates database", True, "database"),
        ("rotate", False, "session, database, certificates"),
        ("rotate certificates", False, "certificates"),
    ],
)
def test_what_is_somebody_elses_to_rotate_is_2(
    caplog: pytest.LogCaptureFixture, line: str, has_certificates: bool, theirs: str
) -> None:
    plan = replace(plan_from(ENVIRONMENT), service_secret="")
    if not has_certificates:
        plan = replace(plan, authority_secret="", certificates={})
    arguments = command_line("keeper").parse_args(line.split())
    assert do(arguments, Empty, plan, Redactor()) == 2
    assert caplog.messages == [f"what comes from another source is rotated there: {theirs}"]


def test_the_certificates_are_rotated_beside_somebody_elses_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(Keeper, "run", lambda self, parts, authority: asked.append(tuple(parts)))
    plan = replace(plan_from(ENVIRONMENT), service_secret="")
    for line in ("run", "rotate", "rotate certificates"):
        arguments = command_line("keeper").parse_args(line.split())
        assert do(arguments, Empty, plan, Redactor()) == 0
    assert asked == [(), ("certificates",), ("certificates",)]


def test_one_that_gives_way_is_3(caplog: pytest.LogCaptureFixture) -> None:
    arguments = command_line("keeper").parse_args(["rotate", "session"])
    assert do(arguments, Taken, plan_from(ENVIRONMENT), Redactor()) == 3
    assert caplog.messages == ["the Secret x was changed by somebody else: giving way"]


def test_rotate_without_a_part_is_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[str, ...], bool]] = []
    monkeypatch.setattr(
        Keeper, "run", lambda self, parts, authority: asked.append((tuple(parts), authority))
    )
    for line in ("run", "rotate", "rotate database", "rotate --new-authority session"):
        arguments = command_line("keeper").parse_args(line.split())
        assert do(arguments, Empty, plan_from(ENVIRONMENT), Redactor()) == 0
    assert asked == [((), False), (PARTS, False), (("database",), False), (("session",), True)]


def test_a_pod_is_asked_again_while_the_way_to_it_is_new(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = Pod("127.0.0.1", "one", {}, "a", problem="does not answer")
    looks = [[silent], [replace(silent, problem="")], [silent]]
    monkeypatch.setattr(Pods, "look", lambda self: looks.pop(0))
    monkeypatch.setattr("keeper.status.PAUSE", 0)
    arguments = command_line("keeper").parse_args(["status"])
    assert do(arguments, Empty, plan_from(ENVIRONMENT), Redactor()) == 0
    assert [pod["problem"] for pod in json.loads(capsys.readouterr().out)["pods"]] == [""]
    # and not for ever
    monkeypatch.setattr("keeper.status.PATIENCE", 0)
    assert do(arguments, Empty, plan_from(ENVIRONMENT), Redactor()) == 0
    (told,) = json.loads(capsys.readouterr().out)["pods"]
    assert told["problem"] == "does not answer"
