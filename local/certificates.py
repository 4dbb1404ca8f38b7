"""The certificate of a gateway on this machine, and the authority of its own that vouches for it. Production has real ones."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from citybrain.gateway.settings import GatewaySettings

_AUTHORITY = timedelta(days=3650)
_CERTIFICATE = timedelta(days=90)
# What ends so soon is made anew.
_BEFORE_END = timedelta(days=30)
# Clocks of callers may be so far behind ours.
_BEFORE_START = timedelta(hours=1)


def names_of(host: str) -> tuple[str, ...]:
    """The names by which callers on this machine, and on others, know a gateway that listens at an address."""
    own = () if host in ("0.0.0.0", "::") else (host,)  # noqa: S104
    machine = socket.gethostname()
    return ("localhost", "127.0.0.1", "::1", *((machine,) if machine.isascii() else ()), *own)


def certified(settings: GatewaySettings) -> GatewaySettings:
    """With a certificate of the gateway's own where none is configured, if it is to make one."""
    folder = settings.own_tls.absolute() if settings.own_tls is not None else None
    if folder is None or (settings.certificate and settings.certificate.parent != folder):
        return settings
    made = Certificates(folder, names_of(settings.host))
    made.renew()
    return settings.model_copy(update={"certificate": made.certificate, "certificate_key": made.key})


class Certificates:
    """Files in a folder: `authority.pem`, `gateway.pem`, and the key of each, which only their owner reads."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """`names`: names and addresses by which callers know the gateway."""
        self._folder = folder
        self._names = tuple(dict.fromkeys(names))
        self.authority = folder / "authority.pem"
        self.certificate = folder / "gateway.pem"
        self.key = folder / "gateway-key.pem"
        self._authority_key = folder / "authority-key.pem"

    def renew(self, now: datetime | None = None) -> bool:
        """Makes what is missing, ends soon, or has other names; says whether something was made."""
        now = now or datetime.now(UTC)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        authority = _read(self.authority)
        made = authority is None or not self._authority_key.is_file() or _ends_soon(authority, now)
        if made:
            authority = self._make_authority(now)
        assert authority is not None
        own = _read(self.certificate)
        if (
            made
            or own is None
            or not self.key.is_file()
            or _ends_soon(own, now)
            or own.issuer != authority.subject
            or _names(own) != {str(_general(name).value) for name in self._names}
        ):
            self._make_certificate(authority, now)
            return True
        return False

    def _make_authority(self, now: datetime) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        # Each has a name of its own, so that a browser never takes an old one for it.
        name = _name(f"City on this machine, {now:%Y-%m-%d %H:%M:%S}")
        made = (
            _builder(name, name, key.public_key(), now, _AUTHORITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self._write_key(self._authority_key, key)
        _write(self.authority, made.public_bytes(serialization.Encoding.PEM), 0o644)
        return made

    def _make_certificate(self, authority: x509.Certificate, now: datetime) -> None:
        signer = serialization.load_pem_private_key(self._authority_key.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(_name("City gateway"), authority.subject, key.public_key(), now, _CERTIFICATE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in self._names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        # Envoy looks at the folder: the key first, since a certificate without its key would be refused.
        self._write_key(self.key, key)
        _write(self.certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)

    @staticmethod
    def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )  # fmt: skip
        _write(path, text, 0o600)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BEFORE_START)
        .not_valid_after(now + lasts)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names(certificate: x509.Certificate) -> set[str]:
    told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(one.value) for one in told}


def _ends_soon(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_after_utc - now < _BEFORE_END


def _read(path: Path) -> x509.Certificate | None:
    """None: there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


def _write(path: Path, content: bytes, mode: int) -> None:
    written = path.with_suffix(".new")
    written.unlink(missing_ok=True)
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    written.replace(path)
