"""A whole city behind its real Envoy, as callers of every kind see it."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from citybrain.audit.v1 import audit_service_pb2, records_pb2
from citybrain.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from citybrain.clock.v1.clock_pb2 import RestRequest
from joserfc.jwk import RSAKey

from citybrain.local.city import LocalCity
from citybrain.mesh.access.installation import caller_token, open_ring
from citybrain.mesh.access.keys import KeyRing
from citybrain.mesh.settings.values import Identity, OtherIssuer, Settings
from tests.helpers.callers import channel
from tests.helpers.paper_city import PaperCity

STAFF = "https://login.city.example"
_LIMIT_S = 30
_numbers = itertools.count(1)


def until(condition: Callable[[], Any], what: str, limit_s: float = _LIMIT_S) -> Any:
    """What the condition returns once it is true."""
    end, pause = time.monotonic() + limit_s, threading.Event()
    while not (found := condition()):
        assert time.monotonic() < end, f"never came: {what}"
        pause.wait(0.02)
    return found


def new_id(what: str) -> str:
    """A request id that nobody else has."""
    return f"{what}-{next(_numbers)}"


class Guarded:
    """A city on paper with two districts, its tokens, and what stands in its files."""

    def __init__(self, city: LocalCity, settings: Settings, staff: RSAKey) -> None:
        assert city.gateway is not None and city.mesh is not None
        self.city = city
        self.settings = settings
        self.staff = staff
        self.gateway = city.gateway.address
        self.ring: KeyRing = open_ring(settings)
        self.paper = PaperCity(self.gateway, city.data)
        self._all = channel(self.gateway, city.data, clearance="SECRET")

    @property
    def past(self) -> str:
        """Where the process itself listens, behind the gateway."""
        assert self.city.mesh is not None
        return next(iter(self.city.mesh.addresses.values()))

    def token(self, subject: str, **claims: Any) -> str:
        """A token of the installation."""
        return caller_token(self.settings, self.ring, subject=subject, **claims)

    def headers(self, token: str, what: str = "call", **more: str) -> dict[str, str]:
        """The headers of a call with a token."""
        return {"authorization": f"Bearer {token}", "x-request-id": new_id(what), **more}

    def close(self) -> None:
        """Hangs up."""
        self.paper.close()
        self._all.close()

    def sends_nothing(self, stream: str) -> None:
        """A stream is open, all is at rest, and no message was sent in it."""

        def look() -> bool:
            sent = self.paper.call(self.paper.clock.Rest, RestRequest()).sent
            assert not sent.get(stream)
            return stream in sent

        until(look, "the stream is open")

    # -- what stands in its files -----------------------------------------------------------------------------------------

    def written(self) -> int:
        """Where the last event stands that is no record of the audit trail, when all is at rest."""
        self.paper.rest()
        with contextlib.closing(sqlite3.connect(self.city.data / "events.db")) as database:
            sql = "SELECT position FROM events WHERE stream NOT LIKE 'audit/%' ORDER BY position DESC LIMIT 1"
            return sum(next(database.execute(sql), (0,)))

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The envelopes of all events of a type."""
        with contextlib.closing(sqlite3.connect(self.city.data / "events.db")) as database:
            found = database.execute("SELECT * FROM events WHERE type LIKE ?", (f"%.{kind}",))
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found]

    def recipients(self) -> list[str]:
        """To whom personal data were sent as events."""
        with contextlib.closing(sqlite3.connect(next(self.city.data.rglob("keys.db")))) as database:
            return [recipient for (recipient,) in database.execute("SELECT DISTINCT recipient FROM sent")]

    def records(self) -> dict[str, list[records_pb2.Record]]:
        """The audit trail by request id, as its reader sees it."""
        found: dict[str, list[records_pb2.Record]] = {}
        request = audit_service_pb2.ListRecordsRequest(page_size=1000)
        while True:
            page = AuditServiceStub(self._all).ListRecords(request, timeout=_LIMIT_S)
            for record in page.records:
                found.setdefault(record.request_id, []).append(record)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def recorded(self, ids: set[str]) -> dict[str, list[records_pb2.Record]]:
        """The audit trail, once it has these requests."""

        def look() -> Any:
            found = self.records()
            return found if found.keys() >= ids else None

        found: dict[str, list[records_pb2.Record]] = until(look, "every call is recorded")
        return found

    def logged(self, ids: set[str]) -> dict[str, dict[str, Any]]:
        """The lines of the gateway's access log by request id, once it has these requests."""

        def look() -> Any:
            lines = (self.city.data / "access.log").read_text().splitlines()
            found = {line.get("request_id", ""): line for line in map(json.loads, lines)}
            return found if found.keys() >= ids else None

        found: dict[str, dict[str, Any]] = until(look, "every call is in the access log")
        return found


@contextlib.contextmanager
def guarded_city(data: Path, **identity: Any) -> Iterator[Guarded]:
    """A city with roads, districts, ambulances and a hospital; a provider of identities is believed too."""
    staff = RSAKey.generate_key(2048, {"kid": "staff-1"}, private=True)
    keys = data / "staff.json"
    keys.write_text(json.dumps({"keys": [staff.as_dict(private=False, alg="RS256", use="sig")]}))
    others = {"staff": OtherIssuer(issuer=STAFF, jwks=str(keys))}
    settings = Settings(data=data / "city", time="driven", identity=Identity(others=others, **identity))
    with LocalCity(settings) as city:
        guarded = Guarded(city, settings, staff)
        try:
            guarded.paper.build()
            yield guarded
        finally:
            guarded.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_city(tmp_path_factory.mktemp("guarded")) as city:
        yield city
