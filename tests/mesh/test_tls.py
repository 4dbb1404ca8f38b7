"""A city whose processes speak TLS to each other: all works through it, and nobody else gets a word, whatever their token."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.health.v1.health_service_pb2_grpc import HealthServiceStub
from cryptography import x509

from citybrain.local.calling import PLAIN, channel, tls_at
from citybrain.local.certificates import Certificates, for_mesh
from citybrain.local.child import ChildError, MeshChild
from citybrain.local.city import LocalCity
from citybrain.local.reflection import Remote
from citybrain.mesh.access.certificates import CHANNEL_OPTIONS, MESH_NAME
from citybrain.mesh.operations.presence import present
from citybrain.mesh.settings.values import Processes, Settings, Tls
from tests.gateway.conftest import call_json
from tests.helpers.city_command import run
from tests.helpers.load import Callers
from tests.helpers.paper_city import WallCity
from tests.helpers.waiting import until

LIMIT_S = 60.0
APART = Processes(groups=(("emergency_command", "district_hub"), ("health",), ("sagas",)))


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCity]:
    with LocalCity(Settings(data=tmp_path_factory.mktemp("tls") / "data", processes=APART), tls=True) as running:
        yield running


def gateway(city: LocalCity) -> str:
    assert city.gateway is not None
    return city.gateway.address


def doors(city: LocalCity) -> list[str]:
    """Every address at which a process answers."""
    told = [one.said for one in present(city.data) if one.said["kind"] == "mesh"]
    assert len(told) == 4
    return [said[name] for said in told for name in ("address", "serves")]


def test_calls_through_the_gateway_work_in_grpc_and_json(city: LocalCity) -> None:
    with Remote(gateway(city), city.token()) as remote:
        assert list(remote.call("health/ListAmbulances", "{}", timeout_s=LIMIT_S, metadata=[]))
    answer = call_json(gateway(city), "GET", "/v1/incidents", headers={"authorization": f"Bearer {city.token()}"})
    assert (answer.status, "incidents" in answer.json()) == (200, True)


def test_an_emergency_goes_through_processes_that_call_each_other(city: LocalCity) -> None:
    paper = WallCity(gateway(city), city.data)
    paper.build()
    incident = paper.report("call-1")
    paper.until(lambda: paper.step(incident, "at_scene") == "waiting")
    paper.drive(incident)
    paper.until(lambda: paper.ended(incident))
    paper.close()


def showing(door: str, trusting: bytes, certificates: Certificates) -> grpc.Channel:
    """A channel that shows a certificate which our own programs would not use."""
    key, shown = certificates.key.read_bytes(), certificates.certificate.read_bytes()
    return grpc.secure_channel(door, grpc.ssl_channel_credentials(trusting, key, shown), CHANNEL_OPTIONS)


def listed(opened: grpc.Channel) -> health.ListAmbulancesResponse:
    answer: health.ListAmbulancesResponse = HealthServiceStub(opened).ListAmbulances(health.ListAmbulancesRequest(), timeout=5)
    return answer


def test_at_every_door_only_a_certificate_of_this_mesh_opens_whatever_token_is_shown(city: LocalCity, tmp_path: Path) -> None:
    token, mesh = city.token(), for_mesh(city.data / "mesh-tls")
    stranger = for_mesh(tmp_path / "stranger")
    stranger.renew()
    trusting = mesh.authority.read_bytes()
    ended = Certificates(city.data / "mesh-tls", (MESH_NAME,), "ended", mesh.usages)
    ended.renew(datetime.now(UTC) - timedelta(days=100))
    told, callers = [("authorization", f"Bearer {token}")], Certificates(city.data / "tls", ())
    for door in doors(city):
        others = {
            "plain text": grpc.insecure_channel(door),
            "no certificate": grpc.secure_channel(door, grpc.ssl_channel_credentials(trusting), CHANNEL_OPTIONS),
            "another authority": channel(door, "", tls=stranger.tls.model_copy(update={"authorities": mesh.authority})),
            "the gateway's, of another authority": showing(door, trusting, callers),
            "one that has ended": showing(door, trusting, ended),
        }
        for who, opened in others.items():
            with opened, pytest.raises(grpc.RpcError) as caught:
                HealthServiceStub(opened).ListAmbulances(health.ListAmbulancesRequest(), timeout=5, metadata=told)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, f"{who} at {door}"
        with channel(door, token, tls=mesh.tls) as opened:
            with contextlib.suppress(grpc.RpcError):
                listed(opened)
                continue
            # The process has another service.
            with pytest.raises(grpc.RpcError) as caught:
                listed(opened)
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED, door


def test_a_certificate_alone_is_no_token(city: LocalCity) -> None:
    with (
        channel(city.mesh.addresses["health"], "", tls=for_mesh(city.data / "mesh-tls").tls) as opened,  # type: ignore[union-attr]
        pytest.raises(grpc.RpcError) as caught,
    ):
        listed(opened)
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_commands_of_operators_show_the_certificate_by_themselves(city: LocalCity, tmp_path: Path) -> None:
    data, door = ["--data", str(city.data)], doors(city)[0]
    until(lambda: run(tmp_path, "status", *data).returncode == 0, "ready")
    found = json.loads(run(tmp_path, "status", "--json", *data).stdout)
    assert (found["ready"], len(found["processes"])) == (True, 4)
    assert run(tmp_path, "status", "--address", door, *data).returncode == 0
    assert run(tmp_path, "status", "--address", gateway(city), *data).returncode == 0
    assert "nothing is parked" in run(tmp_path, "events", "parked", *data).stdout
    assert "is live" in run(tmp_path, "rebuild", "emergency_command", "listed", *data).stdout
    past = city.mesh.addresses["health"]  # type: ignore[union-attr]
    assert "ambulances" in run(tmp_path, "call", "health/ListAmbulances", "--gateway", past, *data).stdout
    assert "incidents" in run(tmp_path, "call", "emergency_command/ListIncidents", "--gateway", gateway(city), *data).stdout


def test_what_the_city_makes_anew_is_shown_at_every_door(city: LocalCity) -> None:
    mesh = for_mesh(city.data / "mesh-tls")
    before = {shown(door, mesh.tls) for door in doors(city)}
    assert len(before) == 1
    city.renew_certificates()
    assert {shown(door, mesh.tls) for door in doors(city)} == before, "it does not end soon"
    mesh.certificate.unlink()
    city.renew_certificates()
    for door in doors(city):
        until(lambda door=door: shown(door, mesh.tls) not in before, "the new one")  # type: ignore[misc]
    test_calls_through_the_gateway_work_in_grpc_and_json(city)


def test_processes_say_at_the_start_which_file_cannot_be_used(tmp_path: Path) -> None:
    made = for_mesh(tmp_path / "mesh-tls")
    made.renew()
    wrong = made.tls.model_copy(update={"certificate": made.authority})
    with pytest.raises(ChildError, match=r"tls.certificate_key is not the key of tls.certificate"):
        MeshChild(tmp_path / "data", ["identity"], settings=Settings(data=tmp_path / "data", tls=wrong)).start()


# -- files that somebody else renews, mounted as Kubernetes does it --------------------------------------------------------


class Mounted:
    """A folder whose files are links into another one; a renewal changes where they lead, all at once."""

    def __init__(self, folder: Path, authority: Certificates) -> None:
        folder.mkdir()
        self._folder, self._authority, self._number = folder, authority, 0
        self.tls = Tls(authorities=folder / "ca.crt", certificate=folder / "tls.crt", certificate_key=folder / "tls.key")
        self.renew()
        for name in ("ca.crt", "tls.crt", "tls.key"):
            (folder / name).symlink_to(f"..data/{name}")

    def renew(self) -> int:
        """Another certificate of the same authority; returns its number."""
        self._authority.certificate.unlink(missing_ok=True)
        self._authority.renew()
        self._number += 1
        version = self._folder / f"..{self._number}"
        version.mkdir()
        for name, source in zip(
            ("ca.crt", "tls.crt", "tls.key"),
            (self._authority.authority, self._authority.certificate, self._authority.key),
            strict=True,
        ):
            shutil.copy(source, version / name)
        leads = self._folder / "..new"
        leads.symlink_to(version.name)
        leads.replace(self._folder / "..data")
        return x509.load_pem_x509_certificate(self._authority.certificate.read_bytes()).serial_number


def shown(door: str, tls: Tls) -> int:
    """The number of the certificate that a process shows."""
    context = ssl.create_default_context(cafile=str(tls.authorities))
    assert tls.certificate
    context.load_cert_chain(tls.certificate, tls.certificate_key)
    host, _, port = door.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=60) as raw,
        context.wrap_socket(raw, server_hostname=MESH_NAME) as one,
    ):
        told = one.getpeercert(binary_form=True)
    assert told is not None
    return x509.load_der_x509_certificate(told).serial_number


class Load(Callers):
    """Calls one after the other from several callers; `ways` are functions that make one call."""

    def __init__(self, *ways: Callable[[], Any]) -> None:
        self.failed: list[str] = []
        self.answered = [0] * len(ways)
        super().__init__([partial(self._call, *pair) for pair in enumerate(ways)])

    def more(self) -> None:
        """Waits for a few more answers on each way."""
        aim = [count + 4 for count in self.answered]
        until(lambda: bool(self.failed) or all(now >= then for now, then in zip(self.answered, aim, strict=True)), "answers")

    def _call(self, number: int, way: Callable[[], Any]) -> None:
        while self.goes_on():
            try:
                way()
            except Exception as error:
                self.failed.append(f"way {number}: {error}")
            else:
                self.answered[number] += 1


def test_certificates_are_renewed_under_load_without_a_refused_call_or_a_restart(tmp_path: Path) -> None:
    authority = for_mesh(tmp_path / "authority")
    mounted = Mounted(tmp_path / "mounted", authority)
    settings = Settings(data=tmp_path / "data", tls=mounted.tls, processes=APART)
    everybody = ("emergency_command", "district_hub", "health", "traffic", "sagas")
    with LocalCity(settings, only=everybody) as city:
        assert city.mesh is not None
        assert not (city.data / "mesh-tls").exists()
        token, pids, past = city.token(), city.mesh.pids, city.mesh.addresses["health"]
        paper = WallCity(gateway(city), city.data)
        paper.build()
        numbers = iter(range(10**6))

        def through_the_gateway() -> None:
            with channel(gateway(city), token) as opened:
                listed(opened)

        def past_the_gateway() -> None:
            with channel(past, token, tls=tls_at(past, settings)) as opened:
                listed(opened)

        def between_services() -> None:
            """A workflow reserves an ambulance, or says that there is none: sagas calls health."""
            incident = paper.report(f"call-{next(numbers)}")
            until(lambda: paper.step(incident, "reserve_ambulance") not in ("", "pending"), "the first step")
            paper.cancel(incident)
            until(lambda: paper.ended(incident), "the end")

        with (
            channel(gateway(city), token) as kept,
            channel(past, token, tls=mounted.tls) as kept_past,
            Load(
                through_the_gateway, past_the_gateway, between_services, lambda: listed(kept), lambda: listed(kept_past)
            ) as load,
        ):
            for _ in range(3):
                load.more()
                number = mounted.renew()
                for door in doors(city):
                    until(lambda door=door, number=number: shown(door, mounted.tls) == number, "the new certificate")  # type: ignore[misc]
            load.more()
        assert load.failed == []
        assert city.mesh.pids == pids
        paper.close()
        for name in city.mesh.children:
            said = (city.data / f"{name}.log").read_text(encoding="utf-8")
            assert said.count("certificate is taken up") == 3, name


def test_what_says_nothing_of_a_certificate_is_called_in_plain_text(tmp_path: Path) -> None:
    given = Tls(authorities=Path("a"), certificate=Path("c"), certificate_key=Path("k"))
    settings = Settings(data=tmp_path, tls=given, peers={"traffic": "traffic.example:7101"})
    assert tls_at("traffic.example:7101", settings) == given
    assert tls_at("gateway.example:8080", settings) == PLAIN
    assert tls_at("gateway.example:8080", settings, given) == given
