"""Keys change, Envoy is killed, a process crashes in a loop, callers are many: who calls rightly is served all the while."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.identity.v1 import identity_service_pb2 as identity
from citybrain.roads.v1.roads_pb2 import RoadPlace
from joserfc import jwt
from joserfc.jwk import ECKey
from typer.testing import CliRunner

from citybrain.cli.audit import app as audit
from citybrain.gateway import consumers
from citybrain.gateway.settings import GatewaySettings
from citybrain.local.child import MeshChild
from citybrain.local.city import LocalCity
from citybrain.local.contracts import descriptors
from citybrain.local.envoy import Envoy
from citybrain.local.issuer_keys import own_issuer
from citybrain.local.supervisor import Supervisor
from citybrain.mesh.access.installation import caller_token, open_ring
from citybrain.mesh.manifest import Manifest, find_manifests
from citybrain.mesh.settings.values import Identity, Restarts, Settings
from citybrain.mesh.startup.serve import rooms
from tests.e2e.access.conftest import Guarded, new_id, until
from tests.helpers.protocols import Ask, Told, in_grpc, in_grpc_web, in_json, over

pytestmark = pytest.mark.envoy

LIST = Ask("EmergencyCommandService/ListIncidents", command.ListIncidentsRequest(page_size=1))
UNITS = Ask("HealthService/ListAmbulances", health.ListAmbulancesRequest(page_size=1))
REPORT = Ask(
    "EmergencyCommandService/ReportEmergency",
    command.ReportEmergencyRequest(
        channel=command.CHANNEL_APP,
        severity=command.SEVERITY_MINOR,
        place=RoadPlace(edge_id="far", position_m=1),
        another_patient=True,
    ),
)
UNAVAILABLE = 14


class Callers:
    """Threads that call until they are told to end."""

    def __init__(self, *ways: Callable[[], Told | None], pause_s: float = 0.01) -> None:
        self._pause_s = pause_s
        self.told: Counter[tuple[int, str, str]] = Counter()
        self.broken: list[BaseException] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._on, args=(way,)) for way in ways]

    def _on(self, way: Callable[[], Told | None]) -> None:
        try:
            # Some calls, and not as many as this machine can: others test on it too.
            while not self._end.wait(self._pause_s):
                told = way()
                if told is not None:
                    self.told[(*told.outcome, told.message)] += 1
        except BaseException as error:
            self.broken.append(error)

    @property
    def done(self) -> int:
        """How many calls were answered as they should be."""
        return self.told[(0, "", "")]

    def more(self, calls: int = 20) -> None:
        """Waits until so many more were."""
        wanted = self.done + calls
        until(lambda: self.broken or self.done >= wanted, "calls are answered")

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


# -- keys ---------------------------------------------------------------------------------------------------------------------


def test_keys_change_and_go_under_load_and_no_call_is_refused(tmp_path: Path) -> None:
    longest_s = 2
    settings = Settings(data=tmp_path, time="driven", identity=Identity(longest_h=longest_s / 3600))
    with LocalCity(settings) as city:
        assert city.gateway is not None and city.mesh is not None
        gateway, past = city.gateway.address, next(iter(city.mesh.addresses.values()))

        def renewed(subject: str, **claims: Any) -> Callable[[], str]:
            """The same for a while, as callers do it; renewed long before its end."""
            ring, made, made_at = open_ring(settings), "", float("-inf")

            def token() -> str:
                nonlocal made, made_at
                if time.monotonic() - made_at > longest_s / 4:
                    made, made_at = caller_token(settings, ring, subject=subject, **claims), time.monotonic()
                return made

            return token

        def way(call: Callable[..., Told], address: str, ask: Ask, token: Callable[[], str]) -> Callable[[], Told]:
            return lambda: call(address, ask, {"authorization": f"Bearer {token()}", "x-request-id": new_id("turning")})

        operator = renewed("operator")

        def ask(ask: Ask) -> Any:
            told = way(in_grpc, gateway, ask, operator)()
            assert told.code == 0, told
            return told.answers[0]

        def keys() -> Any:
            return ask(Ask("IdentityService/GetKeys", identity.GetKeysRequest()))

        before = keys()
        private = json.loads((tmp_path / "identity" / "ring.json").read_text())["keys"]
        gone = next(ECKey.import_key(key) for key in private if key["kid"] == before.signing)
        reads = {"scopes": ["emergency.read"], "clearance": "INTERNAL"}
        ways = [
            way(in_grpc, gateway, LIST, renewed("reader-1", **reads)),
            way(in_json, gateway, LIST, renewed("reader-2", **reads)),
            way(in_json, gateway, REPORT, renewed("writer", scopes=["emergency.report"])),
            way(in_grpc, past, LIST, renewed("reader-4", **reads)),
        ]
        with Callers(*ways) as callers:
            callers.more()
            turned = ask(Ask("IdentityService/RotateKeys", identity.RotateKeysRequest(reason="a test"))).signing
            assert turned != before.signing and turned in before.key_ids
            callers.more()

            # As the service that looks after keys does every hour.
            until(open_ring(settings).tidy, "the last token of the key before has ended")
            callers.more()
            next_key = next(kid for kid in keys().key_ids if kid != turned)

            def published() -> set[str]:
                connection = http.client.HTTPConnection(gateway, timeout=30)
                connection.request("GET", "/.well-known/jwks.json")
                return {key["kid"] for key in json.loads(connection.getresponse().read())["keys"]}

            until(lambda: published() == {turned, next_key}, "the gateway knows the new keys, and the old one no more")
            callers.more()
            # The new one is not known to everybody yet.
            again = way(in_grpc, gateway, Ask("IdentityService/RotateKeys", identity.RotateKeysRequest(reason="x")), operator)()
            assert again.outcome == (9, "NO_NEXT_KEY")
        assert not callers.broken, callers.broken
        assert set(callers.told) == {(0, "", "")}, callers.told
        claims = {"iss": settings.identity.issuer, "aud": "citybrain", "sub": "mayor", "scope": "*", "exp": 2**33}

        def late() -> str:
            # A new one each time: who was believed once is remembered.
            return jwt.encode({"alg": "ES256", "kid": before.signing}, {**claims, "jti": new_id("late")}, gone)

        for call, address in ((in_grpc, gateway), (in_json, gateway), (in_grpc, past)):
            # Envoy takes up keys a moment after it publishes them, and a process looks once a second.
            told = way(call, address, LIST, late)
            until(lambda told=told: told().outcome == (16, "BAD_TOKEN"), f"{call} is refused")  # type: ignore[misc]


# -- Envoy --------------------------------------------------------------------------------------------------------------------


def test_envoy_is_killed_under_load_and_what_was_acknowledged_is_there_once(guarded: Guarded) -> None:
    token = guarded.token("writer", scopes=["emergency.report"])
    sent: list[str] = []
    acknowledged: dict[str, str] = {}

    def writes(call: Callable[..., Told]) -> Callable[[], Told | None]:
        def once() -> Told | None:
            """One report, sent again under the same id until it is answered."""
            headers = guarded.headers(token, "survives")
            sent.append(headers["x-request-id"])
            while True:
                try:
                    told = call(guarded.gateway, REPORT, headers)
                except (OSError, http.client.HTTPException):
                    # The connection ended: nobody knows what was done.
                    continue
                if told.code in (UNAVAILABLE, 1):
                    continue
                if told.code == 0:
                    acknowledged[headers["x-request-id"]] = told.answers[0].incident.incident_id  # type: ignore[attr-defined]
                return told

        return once

    before = len(guarded.events("IncidentOpened"))
    with Callers(writes(in_grpc), writes(in_json), writes(in_grpc_web)) as callers:
        for _ in range(2):
            callers.more(15)
            envoy = guarded.city.gateway
            assert envoy is not None
            pid = envoy.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid, envoy=envoy: envoy.pid not in (None, pid), "it is started again")  # type: ignore[misc]
        callers.more(15)
    assert not callers.broken, callers.broken
    assert set(callers.told) == {(0, "", "")}, callers.told
    assert acknowledged.keys() == set(sent)
    guarded.paper.rest()
    opened = guarded.events("IncidentOpened")[before:]
    # One for each report, however often it was sent; and each that a caller was told of.
    assert len(opened) == len(sent) == len(set(acknowledged.values()))
    assert {event["correlation_id"] for event in opened} == set(acknowledged.values())


# -- a process that crashes ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def apart(data: Path) -> Iterator[tuple[Envoy, MeshChild, MeshChild, Settings]]:
    """Two departments with files of their own, behind one Envoy, and keys for both."""
    settings = Settings(data=data / "keys")
    shared = Identity(keys=data / "keys" / "identity")
    manifests = {one.name: one for one in find_manifests(rooms())}
    command_, health_ = (
        MeshChild(data / name, [name], settings=Settings(data=data / name, identity=shared))
        for name in ("emergency_command", "health")
    )
    with command_, contextlib.ExitStack() as stack:
        health_.start()
        stack.callback(health_.kill)
        wanted: list[Manifest] = [manifests["emergency_command"], manifests["health"]]
        upstreams = {"emergency_command": command_.address, "health": health_.address}
        gateway = GatewaySettings(upstreams=upstreams, identity=own_issuer(settings))
        with Envoy(wanted, descriptors().read_bytes(), gateway, data / "gateway") as envoy:
            yield envoy, command_, health_, settings


def test_a_process_that_crashes_again_and_again_is_unavailable_and_no_other_is_touched(tmp_path: Path) -> None:
    with apart(tmp_path) as (envoy, _, broken, settings):
        token = caller_token(settings, open_ring(settings))
        headers = {"authorization": f"Bearer {token}"}
        ended: list[str] = []
        keeper = Supervisor([("health", broken)], ended.append, Restarts(first_pause_s=0.2, longest_pause_s=0.2, hang_s=0))
        broken.stop()
        keeper.start()
        crashing = threading.Event()

        def crash() -> None:
            while not crashing.is_set():
                if broken.running:
                    # It may have ended since.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(broken.pid, signal.SIGKILL)
                crashing.wait(0.01)

        crasher = threading.Thread(target=crash)
        with grpc.insecure_channel(envoy.address) as channel:
            others = Callers(
                lambda: over(channel, LIST, headers), lambda: in_json(envoy.address, LIST, headers),
                lambda: over(channel, REPORT, {**headers, "x-request-id": new_id("beside")}),
            )  # fmt: skip
            sufferers = Callers(
                lambda: over(channel, UNITS, headers), lambda: in_json(envoy.address, UNITS, headers),
                lambda: in_grpc_web(envoy.address, UNITS, headers),
            )  # fmt: skip
            crasher.start()
            try:
                with others:
                    until(lambda: len(ended) > 2, "it crashes")
                    with sufferers:
                        until(lambda: sum(sufferers.told.values()) > 5, "calls are answered, and wait for no deadline")
                    others.more()
            finally:
                crashing.set()
                crasher.join()
                until(lambda: in_json(envoy.address, UNITS, headers).code == 0, "it is back, and called at once")
                keeper.stop()
        assert not others.broken and set(others.told) == {(0, "", "")}, others.told
        # UNAVAILABLE, or an answer of a moment between two crashes; each in words that help.
        assert not sufferers.broken, sufferers.broken
        outcomes = {(code, reason) for code, reason, _ in sufferers.told}
        assert (UNAVAILABLE, "UNAVAILABLE") in outcomes and {code for code, _ in outcomes} <= {0, UNAVAILABLE}, sufferers.told
        assert all("x-request-id" in message for code, _, message in sufferers.told if code)


# -- many callers -------------------------------------------------------------------------------------------------------------


def test_each_caller_with_a_token_of_the_city_has_a_bucket_of_its_own(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch, number: int = 50
) -> None:
    # `number`: tests/soak has a thousand.
    made = consumers._bucket
    # They are never filled again, so that the speed of this machine does not matter.
    monkeypatch.setattr(consumers, "_bucket", lambda *asked: {**made(*asked), "tokens_per_fill": 1, "fill_interval": "100000s"})
    envoy = guarded.city.gateway
    assert envoy is not None
    manifests, contracts, settings = envoy._manifests, envoy._descriptors, envoy.settings
    envoy.update(manifests, contracts, settings.model_copy(update={"reads_per_s": 1, "burst_s": 1.0}))
    try:
        with grpc.insecure_channel(envoy.address) as channel, ThreadPoolExecutor(8) as pool:

            def call(which: int, scope: str = "emergency.read") -> int:
                token = guarded.token(f"consumer-{which}", scopes=[scope], clearance="PUBLIC")
                return over(channel, LIST, {"authorization": f"Bearer {token}"}).code

            assert Counter(pool.map(call, range(number))) == {0: number}
            assert Counter(pool.map(call, range(number))) == {8: number}
            # Another token of the same subject is no other caller.
            assert call(0, "*") == 8 and call(number) == 0
    finally:
        monkeypatch.undo()
        envoy.update(manifests, contracts, settings)


# -- and all of it was recorded -----------------------------------------------------------------------------------------------


def test_after_all_that_the_trail_is_sound_and_a_record_that_is_changed_is_found(guarded: Guarded, tmp_path: Path) -> None:
    def verified(data: Path) -> tuple[int, str]:
        done = CliRunner().invoke(audit, ["verify", "--data", str(data)])
        return done.exit_code, done.stdout

    data = guarded.city.data
    code, said = verified(data)
    assert code == 0 and said.rstrip().endswith(("sound", "chain", "chains")), said
    copied = tmp_path / "copied"
    copied.mkdir()
    with (
        contextlib.closing(sqlite3.connect(data / "events.db")) as source,
        contextlib.closing(sqlite3.connect(copied / "events.db")) as there,
    ):
        source.backup(there)
        sql = "SELECT position, data FROM events WHERE stream LIKE 'audit/%-%' AND instr(data, 'writer') ORDER BY position"
        position, kept = there.execute(sql).fetchone()
        # Somebody else is to have done it.
        there.execute("UPDATE events SET data = ? WHERE position = ?", (kept.replace(b"writer", b"nobody", 1), position))
        there.commit()
    code, said = verified(copied)
    assert code == 1 and "was changed" in said, said
