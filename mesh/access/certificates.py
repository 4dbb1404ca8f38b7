"""TLS between processes of the mesh: the certificate by which this one is known, and the authorities by which it knows others.

The files are looked at again and again, so what is renewed in them is taken up without a restart. Files that do not fit each
other are passed over: they may be in the middle of a change.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

from citybrain.mesh.settings.values import Tls
from citybrain.observability.logs import logger

MESH_NAME = "mesh.citybrain.local"
"""The DNS name in the certificate of every process: who calls compares it, wherever the process answers (decision 66)."""

# A caller compares this name, not the address.
CHANNEL_OPTIONS = (("grpc.default_authority", MESH_NAME),)

_LOOK_S = 1.0
_log = logger("certificates")


class CertificateError(Exception):
    """The configured files cannot be used; the message names the value and says what to do."""


@dataclass(frozen=True, slots=True)
class Files:
    """The content of the three files at one time."""

    authorities: bytes
    certificate: bytes
    key: bytes

    @property
    def ends(self) -> datetime:
        """When the certificate ends."""
        return _load(self.certificate).not_valid_after_utc

    def for_channels(self) -> grpc.ChannelCredentials:
        """For calls to other processes."""
        return grpc.ssl_channel_credentials(self.authorities, self.key, self.certificate)

    def for_servers(self) -> grpc.ServerCertificateConfiguration:
        """For connections from other processes."""
        return grpc.ssl_server_certificate_configuration([(self.key, self.certificate)], self.authorities)


class OwnCertificate:
    """The certificate of this process. CertificateError: its files cannot be used now."""

    def __init__(self, tls: Tls, *, serves: bool = True, look_s: float = _LOOK_S) -> None:
        """`serves`: this process takes calls too. `look_s`: how often the files are looked at, at most."""
        assert tls.authorities and tls.certificate and tls.certificate_key
        self._paths = tls.authorities, tls.certificate, tls.certificate_key
        self._serves = serves
        self._look_s = look_s
        self._looked = time.monotonic()
        self._files = _read(*self._paths)
        _check(self._files, serves)
        self._problem = ""

    def current(self) -> Files:
        """What the files hold; the same object as long as they are the same. Any thread may ask."""
        now = time.monotonic()
        if now - self._looked >= self._look_s:
            self._looked = now
            self._look()
        return self._files

    def _look(self) -> None:
        try:
            found = _read(*self._paths)
            if found != self._files:
                _check(found, self._serves)
                self._files = found
                _log.info("certificate is taken up", ends=found.ends.isoformat())
            self._problem = ""
        except CertificateError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.warning("the certificate in use is kept", problem=self._problem)

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a server: without a certificate of our authorities nobody gets a connection. gRPC asks anew for each."""
        given = self.current()

        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            found = self.current()
            if found is given:
                return None
            given = found
            return found.for_servers()

        # The stubs do not say that None means: as before.
        return grpc.dynamic_ssl_server_credentials(given.for_servers(), newer, require_client_authentication=True)  # type: ignore[arg-type]


def certificate_of(tls: Tls) -> OwnCertificate | None:
    """The certificate of a process of the mesh with these settings; None: it has none, and speaks plain text."""
    return OwnCertificate(tls) if tls.given else None


def _read(authorities: Path, certificate: Path, key: Path) -> Files:
    read = []
    for name, path in (("authorities", authorities), ("certificate", certificate), ("certificate_key", key)):
        try:
            read.append(path.read_bytes())
        except OSError as error:
            why = error.strerror or error
            raise CertificateError(f"tls.{name} names {path}, which cannot be read: {why}: name a file (PEM)") from None
    return Files(*read)


def _check(files: Files, serves: bool) -> None:
    try:
        x509.load_pem_x509_certificates(files.authorities)
    except ValueError:
        raise CertificateError("tls.authorities has no certificate of an authority: give one or more (PEM)") from None
    try:
        own = _load(files.certificate)
    except ValueError:
        raise CertificateError("tls.certificate has no certificate: give this process's own first (PEM)") from None
    try:
        key = serialization.load_pem_private_key(files.key, None)
    except (ValueError, TypeError):
        raise CertificateError("tls.certificate_key has no key: give one (PEM) that needs no password") from None
    if key.public_key() != own.public_key():
        raise CertificateError("tls.certificate_key is not the key of tls.certificate: give the two that belong together")
    if own.not_valid_after_utc < datetime.now(UTC):
        raise CertificateError(f"tls.certificate ended at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it")
    if serves and MESH_NAME not in _names(own):
        raise CertificateError(
            f"tls.certificate is not for {MESH_NAME}, and callers compare that: have it made with this DNS name"
        )
    wanted = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH} | (
        {"server auth": ExtendedKeyUsageOID.SERVER_AUTH} if serves else {}
    )
    if lacking := [name for name, usage in wanted.items() if not _may(own, usage)]:
        raise CertificateError(f"tls.certificate may not be used for {' and '.join(lacking)}: have it made with these usages")


def _load(certificate: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return told.get_values_for_type(x509.DNSName)


def _may(certificate: x509.Certificate, usage: ObjectIdentifier) -> bool:
    try:
        return usage in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        # It may be used for everything.
        return True
