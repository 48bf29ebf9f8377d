"""What the keeper signs is what TLS clients accept, in their strictest mode."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from keeper import certificates
from keeper.certificates import (
    CLOCK_SKEW,
    KeyPair,
    der,
    due_at,
    expires_at,
    is_due,
    is_for,
    is_signed_by,
    is_valid_now,
    new_authority,
    new_certificate,
)

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


def lives(monkeypatch: pytest.MonkeyPatch, seconds: float) -> str:
    """Return a certificate that began `CLOCK_SKEW` ago and ends in so many seconds."""
    monkeypatch.setattr(certificates, "CERTIFICATE_LIFETIME", timedelta(seconds=seconds))
    return new_certificate(AUTHORITY, ["localhost"]).certificate


@pytest.mark.parametrize(("rest", "due"), [(0.52, False), (0.48, True), (-0.1, True)])
def test_is_due_at_two_thirds_of_its_life(
    monkeypatch: pytest.MonkeyPatch, rest: float, due: bool
) -> None:
    # what is over is the skew; with half of that left, two thirds of the life are over
    certificate = lives(monkeypatch, CLOCK_SKEW.total_seconds() * rest)
    assert is_due(certificate) is due


def test_two_thirds_of_a_life_of_ninety_days_are_sixty(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = lives(monkeypatch, 90 * 86400 - CLOCK_SKEW.total_seconds())
    assert expires_at(certificate) - due_at(certificate) == 30 * 86400


def test_a_new_authority_and_a_new_certificate_are_not_due() -> None:
    assert not is_due(AUTHORITY.certificate)
    assert not is_due(new_certificate(AUTHORITY, ["localhost"]).certificate)


def test_the_end_is_the_one_that_tls_clients_see(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(AUTHORITY.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tmp_path / "ca.crt")
    (seen,) = context.get_ca_certs()
    assert expires_at(AUTHORITY.certificate) == ssl.cert_time_to_seconds(str(seen["notAfter"]))


def test_in_der_it_is_what_ssl_makes_of_it() -> None:
    assert der(AUTHORITY.certificate) == ssl.PEM_cert_to_DER_cert(AUTHORITY.certificate)


def test_is_signed_by_its_authority_and_by_no_other() -> None:
    certificate = new_certificate(AUTHORITY, ["localhost"]).certificate
    assert is_signed_by(certificate, AUTHORITY.certificate)
    assert is_signed_by(AUTHORITY.certificate, AUTHORITY.certificate)
    # a successor has the same name
    assert not is_signed_by(certificate, new_authority("flask-app-ca").certificate)
    assert not is_signed_by(certificate, new_authority("another-ca").certificate)
    assert not is_signed_by(AUTHORITY.certificate, certificate)


def test_is_not_signed_by_an_authority_with_another_kind_of_key() -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.load_pem_x509_certificate(AUTHORITY.certificate.encode()).subject
    theirs = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime.now(UTC))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = ssl.DER_cert_to_PEM_cert(theirs.public_bytes(Encoding.DER))
    certificate = new_certificate(AUTHORITY, ["localhost"]).certificate
    assert not is_signed_by(pem, AUTHORITY.certificate)
    assert not is_signed_by(certificate, pem)


GARBAGE = ["", "something else", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(
    "question",
    [
        is_due,
        due_at,
        expires_at,
        der,
        lambda text: is_for(text, ["localhost"]),
        lambda text: is_signed_by(text, AUTHORITY.certificate),
        lambda text: is_signed_by(AUTHORITY.certificate, text),
        lambda text: new_certificate(KeyPair(text, AUTHORITY.key), ["localhost"]),
        lambda text: new_certificate(KeyPair(AUTHORITY.certificate, text), ["localhost"]),
    ],
)
def test_what_is_no_certificate_is_a_value_error(
    question: Callable[[str], object], garbage: str
) -> None:
    with pytest.raises(ValueError):
        question(garbage)


def test_an_authority_with_the_key_of_another_signs_nothing() -> None:
    with pytest.raises(ValueError, match="the certificate authority's key"):
        new_certificate(KeyPair(AUTHORITY.certificate, new_authority("x").key), ["localhost"])


def test_an_authority_with_a_locked_key_signs_nothing() -> None:
    key = load_pem_private_key(AUTHORITY.key.encode(), password=None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(ValueError, match="the certificate authority's key"):
        new_certificate(KeyPair(AUTHORITY.certificate, locked.decode()), ["localhost"])


@pytest.mark.parametrize(
    ("ahead", "is_valid"),
    [
        (timedelta(0), True),
        (CLOCK_SKEW - timedelta(seconds=5), True),
        (CLOCK_SKEW + timedelta(seconds=5), False),
        (timedelta(days=-364), True),
        (timedelta(days=-366), False),
    ],
)
def test_is_valid_from_its_begin_to_its_end(
    monkeypatch: pytest.MonkeyPatch, ahead: timedelta, is_valid: bool
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Clock:
            return cls.fromtimestamp((datetime.now(tz) + ahead).timestamp(), tz)

    with monkeypatch.context() as patched:
        patched.setattr(certificates, "datetime", Clock)
        pair = new_certificate(AUTHORITY, ["localhost"])
    assert is_valid_now(pair.certificate) is is_valid
