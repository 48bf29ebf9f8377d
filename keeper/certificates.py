"""The certificate authority of a release, and the certificates that it signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFETIME = timedelta(days=3650)
CERTIFICATE_LIFETIME = timedelta(days=365)

#: Clocks of other machines may be behind by as much.
CLOCK_SKEW = timedelta(minutes=5)

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both in PEM."""

    certificate: str
    key: str = field(repr=False)


def new_authority(name: str, after: int = 0) -> KeyPair:
    """Make a certificate authority that signs itself.

    :param after: when its predecessor ends, in Unix seconds; it ends later.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    rest = datetime.fromtimestamp(after + 1, UTC) - datetime.now(UTC)
    certificate = (
        _builder(subject, key.public_key(), max(AUTHORITY_LIFETIME, rest))
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def new_certificate(authority: KeyPair, names: Sequence[str]) -> KeyPair:
    """Make a server certificate for DNS names and addresses, the first one its common name.

    :raises ValueError: `authority` is no certificate with its key.
    """
    signer = x509.load_pem_x509_certificate(authority.certificate.encode())
    try:
        signing_key = load_pem_private_key(authority.key.encode(), password=None)
    except TypeError:
        raise ValueError("the certificate authority's key is locked with a password") from None
    is_its_own = signing_key.public_key() == signer.public_key()
    if not isinstance(signing_key, ec.EllipticCurvePrivateKey) or not is_its_own:
        raise ValueError("the certificate authority's key is not one that this program made")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_name(names[0]), key.public_key(), CERTIFICATE_LIFETIME)
        .issuer_name(signer.subject)
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), False
        )
        .sign(signing_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def is_for(certificate: str, names: Sequence[str]) -> bool:
    """Tell whether a PEM certificate is for these DNS names and addresses, and no others.

    :raises ValueError: it is no certificate.
    """
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    return set(found) == {_general_name(name) for name in names}


def is_due(certificate: str) -> bool:
    """Tell whether a PEM certificate is at two thirds of its life.

    :raises ValueError: it is no certificate.
    """
    return datetime.now(UTC).timestamp() >= due_at(certificate)


def is_valid_now(certificate: str) -> bool:
    """Tell whether clients accept the times of a PEM certificate: it has begun, and not ended.

    One that begins later was made by a clock that was ahead by more than `CLOCK_SKEW`.

    :raises ValueError: it is no certificate.
    """
    return begins_at(certificate) <= datetime.now(UTC).timestamp() < expires_at(certificate)


def begins_at(certificate: str) -> int:
    """Return the begin of a PEM certificate's life, in Unix seconds.

    :raises ValueError: it is no certificate.
    """
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    return int(parsed.not_valid_before_utc.timestamp())


def due_at(certificate: str) -> float:
    """Return when two thirds of a PEM certificate's life are over, in Unix seconds.

    :raises ValueError: it is no certificate.
    """
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    life = parsed.not_valid_after_utc - parsed.not_valid_before_utc
    return (parsed.not_valid_before_utc + life * 2 / 3).timestamp()


def is_signed_by(certificate: str, authority: str) -> bool:
    """Tell whether an authority signed a certificate, both in PEM.

    :raises ValueError: one of them is no certificate.
    """
    signer = x509.load_pem_x509_certificate(authority.encode())
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    try:
        parsed.verify_directly_issued_by(signer)
    except (InvalidSignature, TypeError, ValueError):  # also of another name, or kind of key
        return False
    return True


def expires_at(certificate: str) -> int:
    """Return the end of a PEM certificate's life, in Unix seconds.

    :raises ValueError: it is no certificate.
    """
    return int(x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp())


def der(certificate: str) -> bytes:
    """Return a PEM certificate in DER, as it is served.

    :raises ValueError: it is no certificate.
    """
    return x509.load_pem_x509_certificate(certificate.encode()).public_bytes(Encoding.DER)


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(text: str) -> x509.Name:
    # a common name has at most 64 characters; the alternative names are what counts
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _USAGES})


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    return KeyPair(
        certificate.public_bytes(Encoding.PEM).decode(),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )
