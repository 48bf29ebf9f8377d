"""Settings come from the environment, and a wrong one is named in a sentence."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from app.core.settings import CoreSettings, _read_dotenv
from app.secret_keys import SECRET_NAMES
from app.settings import Settings, SettingsError

ROOT = Path(__file__).parents[2]


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
        SettingsError,
        match=rf"^{name} stands in \.env \(line 1\), where no secret belongs: .* SECRETS_DIR",
    ) as caught:
        Settings.load()
    assert "a-value" not in str(caught.value)


LINES = {
    "SECRET_KEY: a-value": "SECRET_KEY",
    "secret_key=a-value": "SECRET_KEY",
    "Secret-Key = a-value": "SECRET_KEY",
    "secretKey: a-value": "SECRET_KEY",
    "  export SECRET_KEY=a-value": "SECRET_KEY",
    "export SECRET_KEY": "SECRET_KEY",
    "SECRET_KEY a-value": "SECRET_KEY",
    "set SECRET_KEY=a-value": "SECRET_KEY",
    '$env:SECRET_KEY = "a-value"': "SECRET_KEY",
    "-e SECRET_KEY=a-value": "SECRET_KEY",
    "- SECRET_KEY=a-value": "SECRET_KEY",
    "'SECRET_KEY'='a-value'": "SECRET_KEY",
    '{"PORT": "8080", "SECRET_KEY": "a-value"}': "SECRET_KEY",
    "PORT=8080 SECRET_KEY=a-value": "SECRET_KEY",
    "database_password = a-value": "DATABASE_PASSWORD",
    "PGPASSWORD=a-value": "DATABASE_PASSWORD",
    "DATABASE_URL=postgresql://flask:a-value@db/app": "DATABASE_PASSWORD",
    "database_url=sqlite:///a-value": "DATABASE_PASSWORD",
    "SQLALCHEMY_DATABASE_URI=sqlite:///a-value": "DATABASE_PASSWORD",
    "REPLICA=postgresql://flask:a-value@db/app": "DATABASE_PASSWORD",
    "DATABASE_HOST=postgresql://:a-value@db": "DATABASE_PASSWORD",
    "CONNINFO=host=db user=flask password=a-value": "DATABASE_PASSWORD",
    "REDIS_URL=redis://:a-value@cache:6379/0": "app/secret_keys.py",
    "API_TOKEN=a-value": "app/secret_keys.py",
    "stripe_api_key: a-value": "app/secret_keys.py",
    "AWS_SECRET_ACCESS_KEY=a-value": "app/secret_keys.py",
    "OAUTH_CLIENT_SECRET=a-value": "app/secret_keys.py",
    "MAIL_PASSWORD=a-value": "app/secret_keys.py",
    "DB_PASS=a-value": "app/secret_keys.py",
    "SENTRY_DSN=a-value": "app/secret_keys.py",
    "SOMETHING='-----BEGIN PRIVATE KEY-----": "TLS_DIR",  # pragma: allowlist secret
}


@pytest.mark.parametrize("line", LINES)
def test_a_secret_in_another_form_in_dotenv_is_refused_too(folder: Path, line: str) -> None:
    (folder / ".env").write_text(f"# the settings\nPORT=8081\n{line}\n")
    with pytest.raises(
        SettingsError, match=r" stands in \.env \(line 3\), where no secret belongs: "
    ) as caught:
        Settings.load()
    assert LINES[line] in str(caught.value)
    assert "a-value" not in str(caught.value)


ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_secret_in_dotenv_is_refused_in_any_encoding(
    folder: Path, encoding: str, line_break: str
) -> None:
    text = line_break.join(["SECRET_KEY=a-väluè-of-it", "PORT=8081", ""])
    (folder / ".env").write_bytes(text.encode(encoding))
    with pytest.raises(SettingsError, match=r"^SECRET_KEY stands in \.env ") as caught:
        Settings.load()
    assert "-of-it" not in str(caught.value)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_dotenv_that_is_not_utf_8_is_refused_rather_than_ignored(
    folder: Path, encoding: str
) -> None:
    (folder / ".env").write_bytes("DATABASE_NAME=größer\n".encode(encoding))
    if encoding == "utf-8-sig":
        assert Settings.load().database_name == "größer"
    else:
        with pytest.raises(SettingsError, match=r"^\.env can't be read: save it as UTF-8 text"):
            Settings.load()


@pytest.mark.parametrize("name", [field.name.upper() for field in fields(CoreSettings)])
def test_every_setting_may_stand_in_dotenv(folder: Path, name: str) -> None:
    """Whatever value it has: that one is not looked at here."""
    (folder / ".env").write_text(f"{name}=1\nexport {name}='postgres.example.org:5432'\n")
    assert _read_dotenv(Path(".env"), ()) == {name: "postgres.example.org:5432"}


@pytest.mark.parametrize(
    "line",
    [
        "# SECRET_KEY: does not belong here",
        "PORT=8081  # not SECRET_KEY=",
        "PASSWORD_FILE=/run/secrets/password",  # pragma: allowlist secret
        "TOKEN_LIFETIME_SECONDS=60",
        "UPSTREAM=https://example.org:8443/a@b",
        "COMPASS=north",
        "MONKEY=1",
        "",
    ],
)
def test_what_is_no_secret_may_stand_in_dotenv(folder: Path, line: str) -> None:
    (folder / ".env").write_text(f"{line}\nPORT=8081\n")
    assert Settings.load().port == 8081


def test_a_folder_of_that_name_is_no_dotenv(folder: Path) -> None:
    (folder / ".env").mkdir()
    assert Settings.load() == Settings.from_mapping({})


def test_an_unreadable_dotenv_is_a_clear_problem(folder: Path) -> None:
    (folder / ".env").write_bytes(b"PORT=\xff\n")
    with pytest.raises(SettingsError, match="can't be read"):
        Settings.load()
