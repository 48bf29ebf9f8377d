"""What the keeper reads of a pod's metrics, and how it asks for it."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.core import management
from app.core.metrics import Metrics
from app.secret_keys import KEYS
from keeper import certificates, pods
from keeper.certificates import KeyPair, expires_at, new_authority, new_certificate
from secret_files import Folder, Redactor, SecretStore
from tests.mount import Mount
from tests.promtool import needs_promtool, promtool
from tests.whole import whole_service

CERTIFICATE_END = "tls_certificate_expiry_timestamp_seconds"
END = "database_ca_expiry_timestamp_seconds"


@pytest.fixture
def scrape() -> Iterator[Callable[..., str]]:
    """Return a function that serves metrics, and asks for them over HTTP."""
    started: list[management.Server] = []

    def scrape(metrics: Metrics, query: str = "") -> str:
        started.append(management.start("127.0.0.1", 0, metrics.registry, {}))
        address = f"http://127.0.0.1:{started[-1].server_address[1]}/metrics{query}"
        with urllib.request.urlopen(address, timeout=10) as found:
            return str(found.read().decode())

    yield scrape
    for server in started:
        server.shutdown()
        server.server_close()


def end_of(file: Path) -> float | None:
    metrics = Metrics()
    metrics.watch_authorities(file)
    return metrics.registry.get_sample_value(END)


def authority(monkeypatch: pytest.MonkeyPatch, days: int) -> KeyPair:
    monkeypatch.setattr(certificates, "AUTHORITY_LIFETIME", timedelta(days=days))
    return new_authority("test CA")


def test_a_pod_tells_its_name() -> None:
    name = {"pod": socket.gethostname()}
    assert Metrics().registry.get_sample_value("pod_info", name) == 1


def test_no_authority_is_told_where_none_is_watched() -> None:
    assert Metrics().registry.get_sample_value(END) is None


@pytest.mark.parametrize("days", [(100, 50), (50, 100)])
def test_of_two_authorities_the_later_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: tuple[int, int]
) -> None:
    pairs = [authority(monkeypatch, number) for number in days]
    (tmp_path / "ca.crt").write_text("".join(pair.certificate for pair in pairs))
    ends = [expires_at(pair.certificate) for pair in pairs]
    assert end_of(tmp_path / "ca.crt") == max(ends) > min(ends)


def test_the_end_follows_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    metrics.watch_authorities(tmp_path / "ca.crt")
    for days in (50, 100, 30):
        pair = authority(monkeypatch, days)
        (tmp_path / "ca.crt").write_text(pair.certificate)
        assert metrics.registry.get_sample_value(END) == expires_at(pair.certificate)


@pytest.mark.parametrize("content", [None, "", "something else", "-----BEGIN CERTIFICATE-----\nx"])
def test_a_missing_or_broken_file_ends_at_0(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    assert end_of(tmp_path / "ca.crt") == 0


def test_half_a_bundle_ends_at_0(tmp_path: Path) -> None:
    """What libpq refuses is not trusted."""
    pair = new_authority("test CA")
    (tmp_path / "ca.crt").write_text(pair.certificate + pair.certificate[:-60])
    assert end_of(tmp_path / "ca.crt") == 0


def certificate_end_of(file: Path) -> float | None:
    metrics = Metrics()
    metrics.watch_certificate(file)
    return metrics.registry.get_sample_value(CERTIFICATE_END)


def test_the_end_is_that_of_the_certificate_which_is_served(tmp_path: Path) -> None:
    """What follows it in the file are those that signed it."""
    authority = new_authority("test CA")
    pair = new_certificate(authority, ["localhost"])
    (tmp_path / "tls.crt").write_text(pair.certificate + authority.certificate)
    end = certificate_end_of(tmp_path / "tls.crt")
    assert end == expires_at(pair.certificate) != expires_at(authority.certificate)


def test_the_certificates_end_follows_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    metrics.watch_certificate(tmp_path / "tls.crt")
    for days in (50, 100, 30):
        pair = authority(monkeypatch, days)
        (tmp_path / "tls.crt").write_text(pair.certificate)
        assert metrics.registry.get_sample_value(CERTIFICATE_END) == expires_at(pair.certificate)


@pytest.mark.parametrize("content", [None, "", "something else", "-----BEGIN CERTIFICATE-----\nx"])
def test_a_certificate_that_can_not_be_read_ends_at_0(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tls.crt").write_text(content)
    assert certificate_end_of(tmp_path / "tls.crt") == 0


@pytest.mark.parametrize("tls_dir", ["", "tls"])
def test_a_service_without_tls_tells_no_end(
    tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch, tls_dir: str
) -> None:
    service = whole_service(tmp_path, mount, monkeypatch, TLS_DIR=tls_dir)
    found = service.extensions["metrics"].registry.get_sample_value(CERTIFICATE_END)
    assert (found is None) == (not tls_dir)


@needs_promtool
def test_promtool_finds_no_fault_in_a_scrape(
    scrape: Callable[..., str], tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = scrape(whole_service(tmp_path, mount, monkeypatch).extensions["metrics"])
    assert CERTIFICATE_END in text
    assert promtool("check", "metrics", stdin=text) == ""


@needs_promtool
def test_promtool_would_find_a_fault() -> None:
    fault = "# HELP logins Logins.\n# TYPE logins counter\nlogins 1\n"
    assert 'should have "_total" suffix' in promtool("check", "metrics", stdin=fault)


def test_what_is_asked_for_by_name_alone_is_answered(
    scrape: Callable[..., str], tmp_path: Path, mount: Mount
) -> None:
    metrics = Metrics()
    metrics.watch_authorities(tmp_path / "ca.crt")
    metrics.watch(SecretStore(Folder(mount.folder, KEYS)), Redactor())
    query = "?" + "&".join(f"name[]={name}" for name in pods.METRICS)

    def names(text: str) -> set[str]:
        return {line.split()[0].split("{")[0] for line in text.splitlines() if line[0] != "#"}

    assert names(scrape(metrics, query)) == set(pods.METRICS)
    assert names(scrape(metrics)) > set(pods.METRICS)
