"""Settings come from the environment, and a wrong one is named in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.keys import SECRET_NAMES
from app.settings import Settings, SettingsError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults() -> None:
    settings = Settings.from_mapping({})
    assert settings.secrets_from == "files"
    assert settings.secrets_dir == Path("/etc/secrets")
    assert settings.secrets_check_seconds == 1
    assert settings.database_sslmode == "verify-full"
    assert settings.tls_dir is None
    assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8080, 9090)


def test_an_empty_variable_has_the_default() -> None:
    assert Settings.from_mapping({"PORT": "", "TLS_DIR": ""}) == Settings.from_mapping({})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "0"),
        ("METRICS_PORT", "65536"),
        ("DATABASE_PORT", "٨٠"),
        ("SECRETS_CHECK_SECONDS", "soon"),
        ("SECRETS_CHECK_SECONDS", "-1"),
        ("SECRETS_CHECK_SECONDS", "nan"),
        ("SESSION_LIFETIME_SECONDS", "0"),
        ("SESSION_LIFETIME_SECONDS", "315360001"),
        ("LOG_LEVEL", "LOUD"),
        ("DATABASE_SSLMODE", "verify"),
        ("SECRETS_FROM", "environment"),
    ],
)
def test_refuses_a_malformed_setting_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({name: value})
    assert str(caught.value).startswith(f"{name} has to be ")
    assert repr(value) in str(caught.value)


def test_two_ports_that_are_one_are_refused() -> None:
    with pytest.raises(SettingsError, match="METRICS_PORT has to be another port than PORT"):
        Settings.from_mapping({"PORT": "9090"})


def test_the_environment_goes_before_dotenv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".env").write_text("PORT=8081\nMETRICS_PORT=9091\n")
    monkeypatch.setenv("PORT", "8082")
    monkeypatch.delenv("METRICS_PORT", raising=False)
    settings = Settings.load()
    assert (settings.port, settings.metrics_port) == (8082, 9091)


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_in_dotenv_is_refused_and_not_shown(folder: Path, name: str) -> None:
    (folder / ".env").write_text(f"{name}=a-value-that-is-secret\n")
    with pytest.raises(
        SettingsError, match=rf"^{name} stands in \.env, where no secret belongs: .* SECRETS_DIR"
    ) as caught:
        Settings.load()
    assert "a-value" not in str(caught.value)


def test_an_unreadable_dotenv_is_a_clear_problem(folder: Path) -> None:
    (folder / ".env").write_bytes(b"PORT=\xff\n")
    with pytest.raises(SettingsError, match="can't be read"):
        Settings.load()


def test_the_example_is_valid_and_complete_enough(folder: Path) -> None:
    example = Path(__file__).parents[2] / ".env.example"
    (folder / ".env").write_text(example.read_text())
    assert Settings.load() == Settings.from_mapping({})
