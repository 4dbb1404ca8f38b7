"""The certificate of a process: what cannot be used says why, what is renewed is taken up, half a change is passed over."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from citybrain.local.certificates import Certificates, for_mesh
from citybrain.mesh.access.certificates import MESH_NAME, CertificateError, OwnCertificate
from citybrain.mesh.settings.values import Tls

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    certificates = for_mesh(tmp_path / "mesh-tls")
    certificates.renew()
    return certificates


def put(source: Path, target: Path) -> None:
    """Replaces a file by rename."""
    written = target.with_suffix(".new")
    written.write_bytes(source.read_bytes())
    written.replace(target)


def other(tmp_path: Path, *names: str, now: datetime | None = None, usages: tuple[object, ...] = (SERVER, CLIENT)) -> Tls:
    certificates = Certificates(tmp_path / "other", names or (MESH_NAME,), "mesh", usages)  # type: ignore[arg-type]
    certificates.renew(now)
    return certificates.tls


def test_one_certificate_serves_and_calls_and_its_keys_are_for_their_owner_alone(made: Certificates) -> None:
    files = OwnCertificate(made.tls).current()
    assert files.certificate == made.certificate.read_bytes() and files.authorities == made.authority.read_bytes()
    keys = [path for path in made.key.parent.iterdir() if "key" in path.name]
    assert len(keys) == 2 and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    assert stat.S_IMODE(made.key.parent.stat().st_mode) == 0o700


def test_a_renewed_certificate_is_taken_up_and_what_stays_is_the_same(made: Certificates) -> None:
    own = OwnCertificate(made.tls, look_s=0)
    before = own.current()
    assert own.current() is before
    made.certificate.unlink()
    assert own.current() is before, "nothing that can be used is there"
    made.renew()
    assert own.current().certificate == made.certificate.read_bytes() != before.certificate


@pytest.mark.tells("field ends", "field problem")
def test_half_a_change_is_passed_over_until_the_rest_is_there(made: Certificates, tmp_path: Path) -> None:
    own = OwnCertificate(made.tls, look_s=0)
    before, new = own.current(), other(tmp_path)
    assert new.certificate and new.certificate_key
    put(new.certificate_key, made.key)
    assert own.current() is before
    put(new.certificate, made.certificate)
    assert own.current().key == new.certificate_key.read_bytes()


def test_files_are_looked_at_now_and_then_only(made: Certificates) -> None:
    own = OwnCertificate(made.tls, look_s=3600)
    before = own.current()
    made.certificate.unlink()
    made.renew()
    assert own.current() is before


def problem(tls: Tls, *, serves: bool = True) -> str:
    with pytest.raises(CertificateError) as caught:
        OwnCertificate(tls, serves=serves)
    return str(caught.value)


@pytest.mark.parametrize("name", ["authorities", "certificate", "certificate_key"])
def test_a_file_that_is_missing_or_holds_something_else_is_named(made: Certificates, tmp_path: Path, name: str) -> None:
    nowhere = tmp_path / "nowhere.pem"
    given = made.tls.model_copy(update={name: nowhere})
    assert problem(given) == f"tls.{name} names {nowhere}, which cannot be read: No such file or directory: name a file (PEM)"
    nowhere.write_text("nothing", encoding="utf-8")
    assert problem(given).startswith(f"tls.{name} has no ")


def test_files_that_others_would_refuse_are_refused_at_the_start(made: Certificates, tmp_path: Path) -> None:
    mixed = made.tls.model_copy(update={"certificate_key": other(tmp_path).certificate_key})
    assert "is not the key of tls.certificate" in problem(mixed)
    assert "is not for mesh.citybrain.local" in problem(other(tmp_path / "1", "health.example"))
    assert "may not be used for client auth: have it made" in problem(other(tmp_path / "2", usages=(SERVER,)))
    assert "may not be used for server auth" in problem(other(tmp_path / "3", usages=(CLIENT,)))
    long_ago = datetime.now(UTC) - timedelta(days=100)
    assert "tls.certificate ended at" in problem(other(tmp_path / "4", now=long_ago))


def test_who_only_calls_needs_neither_the_name_nor_the_right_to_serve(tmp_path: Path) -> None:
    callers = other(tmp_path, "operators.example", usages=(CLIENT,))
    assert OwnCertificate(callers, serves=False).current().certificate
    assert "client auth" in problem(other(tmp_path / "1", usages=(SERVER,)), serves=False)
