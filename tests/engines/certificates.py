"""An authority of a test's own, and what it vouches for."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from citybrain.local.tcp_ports import HOST

_DAY = datetime.timedelta(days=1)


class Authority:
    """Signs certificates; everything is in a folder, as PEM."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority of a test")
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.trusted = folder / "authority.pem"
        """What others need to trust it."""
        self._write(self.trusted, self._signed(self._name, self._key).add_extension(constraints, critical=True))

    def vouch(self, name: str) -> tuple[Path, Path, Path]:
        """Files of a certificate for a name at our address, of its key, and of both together."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, secret, both = (self._folder / f"{name}-{what}.pem" for what in ("certificate", "key", "both"))
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        self._write(certificate, self._signed(_name(name), key).add_extension(address, critical=False))
        formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        secret.write_bytes(key.private_bytes(*formats))
        both.write_bytes(secret.read_bytes() + certificate.read_bytes())
        return certificate, secret, both

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - _DAY).not_valid_after(now + _DAY)
        )  # fmt: skip

    def _write(self, path: Path, certificate: x509.CertificateBuilder) -> None:
        path.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
