"""The TLS context follows the files, and a broken pair leaves the last good one."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.tls import ServerContext
from keeper.certificates import KeyPair, new_authority, new_certificate

AUTHORITY = new_authority("test CA")


def write(folder: Path, certificate: KeyPair, key: KeyPair | None = None) -> None:
    (folder / "tls.crt").write_text(certificate.certificate)
    (folder / "tls.key").write_text((key or certificate).key)


@pytest.fixture
def build(tmp_path: Path) -> Callable[[], ssl.SSLContext]:
    """Return what gunicorn gives: a function that loads the files."""

    def build() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
        return context

    return build


def test_is_kept_while_the_files_stay(tmp_path: Path, build: Callable[[], ssl.SSLContext]) -> None:
    write(tmp_path, new_certificate(AUTHORITY, ["localhost"]))
    context = ServerContext(tmp_path)
    assert context.get(build) is context.get(build)


def test_is_made_anew_with_the_files(tmp_path: Path, build: Callable[[], ssl.SSLContext]) -> None:
    write(tmp_path, new_certificate(AUTHORITY, ["localhost"]))
    context = ServerContext(tmp_path)
    first = context.get(build)
    write(tmp_path, new_certificate(AUTHORITY, ["localhost"]))
    assert context.get(build) is not first


def test_a_pair_that_does_not_fit_leaves_the_last_good_one(
    tmp_path: Path, build: Callable[[], ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    good, other = (new_certificate(AUTHORITY, ["localhost"]) for _ in range(2))
    write(tmp_path, good)
    context = ServerContext(tmp_path)
    first = context.get(build)
    write(tmp_path, good, key=other)
    assert context.get(build) is first
    assert "the last good one stays" in caplog.text
    write(tmp_path, other)
    assert context.get(build) is not first


def test_does_not_start_without_a_pair(tmp_path: Path, build: Callable[[], ssl.SSLContext]) -> None:
    with pytest.raises(OSError):
        ServerContext(tmp_path).get(build)
