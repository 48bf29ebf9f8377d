"""A secret of somebody else's is checked, and gets into a Secret or a folder by no other way."""

from __future__ import annotations

import base64
import getpass
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from keeper.folder_secrets import FolderSecrets
from secret_files import Key
from tools.cluster import give
from tools.cluster.client import Cluster

TOKEN = b"of-a-provider-5e91c07bd4\n"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(give, "KEYS", (Key("SECRET_KEY"), Key("MAIL_TOKEN", min_bytes=20)))
    monkeypatch.setattr(give, "GIVEN_KEYS", ("MAIL_TOKEN",))
    monkeypatch.setattr(give, "FOLDER", tmp_path)


class StandIn:
    """Takes what kubectl is asked for."""

    command = Cluster.command
    name = namespace = "flask-app"

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], str]] = []

    def ask(self, *words: str, stdin: str) -> None:
        self.asked.append((words[5:], stdin))


def run(
    monkeypatch: pytest.MonkeyPatch, name: str, cluster: Any = None, content: bytes = TOKEN
) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return give.give(name, cluster)


def test_what_is_deployed_gets_it_by_the_input_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = StandIn()
    assert run(monkeypatch, "MAIL_TOKEN", cluster) == 0
    ((words, stdin),) = cluster.asked
    assert words[:3] == ("patch", "secret", "flask-app-secrets")
    assert base64.b64decode(json.loads(stdin)["data"]["MAIL_TOKEN"]) == TOKEN
    # pragma: allowlist nextline secret
    assert "5e91c07bd4" not in " ".join(words) + "".join(capsys.readouterr())


def test_without_a_cluster_it_is_a_file_beside_what_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    objects = FolderSecrets(tmp_path)
    objects.patch(objects.get("secrets"), {"SECRET_KEY": "as-it-was"})
    assert run(monkeypatch, "MAIL_TOKEN") == 0
    stored = objects.get("secrets")
    assert (stored.text("SECRET_KEY"), stored.text("MAIL_TOKEN")) == ("as-it-was", TOKEN.decode())


def test_on_a_terminal_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt: TOKEN.decode())
    assert give.give("MAIL_TOKEN", None) == 0
    assert FolderSecrets(tmp_path).get("secrets").text("MAIL_TOKEN") == TOKEN.decode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"changeme", "is a known placeholder"),
        (b"pr-7f2e91", "is too short"),
        (b"\xff" * 30, "is not UTF-8"),
        (b"a\0" * 20, "holds a NUL byte"),
    ],
)
def test_what_the_service_would_refuse_is_written_nowhere(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    content: bytes,
    reason: str,
) -> None:
    assert run(monkeypatch, "MAIL_TOKEN", content=content) == 1
    assert capsys.readouterr().err.startswith(f"MAIL_TOKEN {reason}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "Which one?"),
        ("SECRET_KEY", "SECRET_KEY is no secret to be given"),
        ("MAIL_TOKENS", "of MAIL_TOKEN."),
    ],
)
def test_another_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert run(monkeypatch, name) == 2
    assert said in capsys.readouterr().err
