"""What the keeper signs is what TLS clients accept, in their strictest mode."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from app.keeper.certificates import KeyPair, new_authority, new_certificate

AUTHORITY = new_authority("flask-app-ca")


def handshake(pair: KeyPair, trusted: KeyPair, name: str, folder: Path) -> None:
    """Let a client that trusts one authority talk to a server with this certificate."""
    (folder / "tls.crt").write_text(pair.certificate)
    (folder / "tls.key").write_text(pair.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    client = ssl.create_default_context(cadata=trusted.certificate)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    one, other = socket.socketpair()
    one.settimeout(10)
    other.settimeout(10)

    def serve() -> None:
        with one, suppress(OSError):  # a client that refuses says why itself
            server.wrap_socket(one, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with other:
            client.wrap_socket(other, server_hostname=name).close()
    finally:
        thread.join()


@pytest.mark.parametrize("name", ["flask-app.default.svc", "localhost", "127.0.0.1"])
def test_is_accepted_for_its_names(tmp_path: Path, name: str) -> None:
    pair = new_certificate(AUTHORITY, ["flask-app.default.svc", "localhost", "127.0.0.1"])
    handshake(pair, AUTHORITY, name, tmp_path)


def test_is_refused_for_another_name(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(new_certificate(AUTHORITY, ["localhost"]), AUTHORITY, "example.org", tmp_path)


def test_is_refused_by_who_trusts_another_authority(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(
            new_certificate(AUTHORITY, ["localhost"]), new_authority("x"), "localhost", tmp_path
        )


def test_a_certificate_can_not_sign_another(tmp_path: Path) -> None:
    signer = new_certificate(AUTHORITY, ["localhost"])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(new_certificate(signer, ["localhost"]), signer, "localhost", tmp_path)


def test_ends_within_a_year_and_began_before_now() -> None:
    certificate = x509.load_pem_x509_certificate(
        new_certificate(AUTHORITY, ["localhost"]).certificate.encode()
    )
    now = datetime.now(UTC)
    assert certificate.not_valid_before_utc < now
    assert certificate.not_valid_after_utc < now + timedelta(days=366)


def test_a_long_name_is_no_problem() -> None:
    assert new_certificate(AUTHORITY, ["a" * 63 + ".example.org"])


def test_a_pair_shows_no_key() -> None:
    assert "PRIVATE" not in repr(AUTHORITY)
