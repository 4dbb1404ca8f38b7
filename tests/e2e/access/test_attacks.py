"""Whatever a caller tries, in whichever protocol, through the gateway or past it: told the same, nothing done, and recorded."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from citybrain.audit.v1 import records_pb2
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.identity.v1 import identity_service_pb2 as identity
from citybrain.options.v1 import options_pb2
from citybrain.roads.v1.roads_pb2 import RoadPlace
from joserfc import jwt
from joserfc.jwk import ECKey, Key

from citybrain.observability.trace_store import TraceStore
from tests.e2e.access.conftest import STAFF, Guarded, new_id, until
from tests.helpers import two_emergencies
from tests.helpers.protocols import GATEWAY, PROTOCOLS, Ask, Told, in_grpc, in_json

pytestmark = pytest.mark.envoy

SERVICES = "citybrain"
CANCEL, GET, FOLLOW, ISSUE = (
    "EmergencyCommandService/CancelIncident",
    "EmergencyCommandService/GetIncident",
    "EmergencyCommandService/FollowIncident",
    "IdentityService/IssueToken",
)
SPOOFED = {
    "x-caller": "sagas",
    "x-causation-id": "an-event",
    "baggage": "incident.id=inc-000000000000",
    "x-token-subject": "operator",
    "x-token-actor": "service:sagas",
    "x-token-issuer": "https://citybrain.local/identity",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-client-cert": "By=spiffe://city/sagas",
    "x-real-ip": "127.0.0.1",
    "x-envoy-internal": "true",
    "x-original-url": "/grpc.health.v1.Health/Check",
    "x-http-method-override": "GET",
    "forwarded": "for=127.0.0.1",
}


@dataclass(frozen=True)
class Attack:
    """What is sent in place of a good token, and how it must be refused."""

    name: str
    # None: no such header.
    authorization: str | None
    code: int
    reason: str
    # The gateway finds it too, so it reaches no service.
    at_gateway: bool
    # Who called, as the audit trail has it.
    subject: str = "nobody"
    headers: dict[str, str] = field(default_factory=dict)


def part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def as_json(key: Key) -> bytes:
    return json.dumps(key.as_dict(private=False)).encode()


def attacks(city: Guarded) -> Iterator[Attack]:
    now = int(time.time())
    own = {"iss": city.settings.identity.issuer, "aud": "citybrain", "sub": "mayor", "scope": "*", "clearance": "SECRET"}
    theirs = {**own, "iss": STAFF, "scope": "emergency.command emergency.read identity.issue", "exp": now + 600}
    signing = city.ring.published().get_by_kid(city.ring.signing)
    assert isinstance(signing, ECKey)

    def signed(claims: dict[str, Any], key: Any = signing, alg: str = "ES256", kid: str | None = None) -> str:
        return jwt.encode({"alg": alg, "kid": kid or key.kid}, claims, key)

    def by_secret(claims: dict[str, Any], kid: str, secret: bytes) -> str:
        said = f"{part({'alg': 'HS256', 'kid': kid})}.{part(claims)}"
        tag = hmac.new(secret, said.encode(), hashlib.sha256).digest()
        return f"{said}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"

    def staff(**claims: Any) -> str:
        return signed({**theirs, **claims}, city.staff, "RS256")

    good = signed({**own, "exp": now + 600})
    head, body, signature = good.split(".")
    refused: dict[str, str] = {
        "expired": signed({**own, "exp": now - 120}),
        "not valid yet": signed({**own, "exp": now + 600, "nbf": now + 300}),
        "without an end": signed(own),
        "of another issuer": signed({**own, "exp": now + 600, "iss": "https://login.evil.example"}),
        "for another audience": signed({**own, "exp": now + 600, "aud": "elsewhere"}),
        "for no audience": signed({name: told for name, told in {**own, "exp": now + 600}.items() if name != "aud"}),
        "of nobody": signed({name: told for name, told in {**own, "exp": now + 600}.items() if name != "sub"}),
        "alg none": f"{part({'alg': 'none'})}.{part({**own, 'exp': now + 600})}.",
        "alg none with a key": f"{part({'alg': 'nOnE', 'kid': signing.kid})}.{part({**own, 'exp': now + 600})}.{signature}",
        "RS256 as HS256, the key as JWK": by_secret(theirs, "staff-1", as_json(city.staff)),
        "RS256 as HS256, the key as PEM": by_secret(theirs, "staff-1", city.staff.as_pem(private=False)),
        "ES256 as HS256": by_secret({**own, "exp": now + 600}, str(signing.kid), as_json(signing)),
        "a key of its own": signed({**own, "exp": now + 600}, ECKey.generate_key("P-256", {"kid": "mine"}, private=True)),
        "a key of its own under a known id": signed(
            {**own, "exp": now + 600}, ECKey.generate_key("P-256", {"kid": str(signing.kid)}, private=True)
        ),
        "the key of another issuer": signed({**theirs, "iss": own["iss"], "aud": "citybrain"}, city.staff, "RS256"),
        "changed": f"{head}.{part({**own, 'exp': now + 600, 'sub': 'somebody'})}.{signature}",
        "without its signature": f"{head}.{body}.",
        "cut": good[:-20],
        "no token": "x",
    }  # fmt: skip
    for name, authorization in (("none", None), ("basic", "Basic bWF5b3I6eA=="), ("bare", good)):
        # With another scheme the gateway says that the token is not taken, and services that there is none.
        yield Attack(name, authorization, 16, "NO_TOKEN", at_gateway=True)
    yield Attack("none, with headers that say who calls", None, 16, "NO_TOKEN", at_gateway=True, headers=SPOOFED)
    for name, token in refused.items():
        yield Attack(name, f"Bearer {token}", 16, "BAD_TOKEN", at_gateway=True, headers=SPOOFED if name == "expired" else {})
    # Envoy knows signatures; who may give out what, services know.
    for name, claims in (
        ("a service of the mesh, from elsewhere", {"sub": "service:sagas"}),
        ("on behalf, from elsewhere", {"act": {"sub": "service:sagas"}}),
        ("everything, from elsewhere", {"scope": "*"}),
        ("a clearance that there is not", {"clearance": "COSMIC"}),
    ):
        yield Attack(name, f"Bearer {staff(**claims)}", 16, "BAD_TOKEN", at_gateway=False)
    few = city.token("few", scopes=["emergency.reader", "emergency", "health.read"])
    west = city.token("west-desk", scopes=["emergency.command", "emergency.read", "identity.issue"], district="west")
    yield Attack("without the scope", f"Bearer {few}", 7, "NO_SCOPE", at_gateway=False, subject="few")
    yield Attack(
        "without the scope, with headers", f"Bearer {few}", 7, "NO_SCOPE", at_gateway=False, subject="few", headers=SPOOFED
    )
    yield Attack("of another district", f"Bearer {west}", 7, "OTHER_DISTRICT", at_gateway=False, subject="west-desk")
    yield Attack(
        "of another district, with headers",
        f"Bearer {west}",
        7,
        "OTHER_DISTRICT",
        at_gateway=False,
        subject="west-desk",
        headers={**SPOOFED, "x-district": "east"},
    )


@pytest.fixture(scope="module")
def incident(guarded: Guarded) -> str:
    """An open incident in the east."""
    found = guarded.paper.report("to-be-attacked")
    guarded.paper.rest()
    return found


def asks(incident: str) -> list[Ask]:
    """What each attack is made on: a command, a read, a stream, and a token for oneself."""
    wanted = identity.IssueTokenRequest(subject="mayor", scopes=["emergency.command"], district_id="east")
    return [
        Ask(CANCEL, command.CancelIncidentRequest(incident_id=incident, reason="an attack")),
        Ask(GET, command.GetIncidentRequest(incident_id=incident)),
        Ask(FOLLOW, command.FollowIncidentRequest(incident_id=incident)),
        Ask(ISSUE, wanted),
    ]


def test_each_attack_is_refused_in_the_same_words_everywhere_does_nothing_and_is_recorded(
    guarded: Guarded, incident: str
) -> None:
    made: list[tuple[Attack, str, bool, str, Told]] = []
    before = guarded.written()
    for attack in attacks(guarded):
        for ask in asks(incident):
            ways: list[tuple[str, bool, Callable[..., Told]]] = [(guarded.gateway, True, one) for one in PROTOCOLS]
            for address, through, call in [*ways, (guarded.past, False, in_grpc)]:
                request_id = new_id("attack")
                headers = {"x-request-id": request_id, **attack.headers}
                if attack.authorization is not None:
                    headers["authorization"] = attack.authorization
                made.append((attack, ask.method, through, request_id, call(address, ask, headers)))
    assert guarded.written() == before
    assert guarded.paper.incident(incident).state == command.INCIDENT_STATE_OPEN

    for attack, method, through, request_id, told in made:
        where = (attack.name, method, "through" if through else "past", told)
        reasons = (attack.reason, "BAD_TOKEN") if through and attack.authorization else (attack.reason,)
        assert told.code == attack.code and told.reason in reasons, where
        assert told.domain == (GATEWAY if through and attack.at_gateway else SERVICES), where
        assert told.request_id == request_id and not told.shape, where
        assert told.http in (200, {16: 401, 7: 403}[attack.code]), where

    # What the gateway finds reaches no service, so it is in the gateway's log, and in no audit trail.
    at_gateway = {request_id for attack, _, through, request_id, _ in made if through and attack.at_gateway}
    records = guarded.recorded({request_id for *_, request_id, _ in made} - at_gateway)
    assert not records.keys() & at_gateway
    lines = guarded.logged(at_gateway)
    assert not [lines[one] for one in at_gateway if not lines[one]["details"].startswith("jwt_authn_")]
    for attack, method, _, request_id, told in made:
        if request_id in at_gateway:
            continue
        *opened, record = records[request_id]
        # A stream is recorded when it begins, and again when it is ended by an error.
        assert len(opened) <= (method == FOLLOW)
        assert record.decision == records_pb2.DECISION_REFUSED, (attack.name, method, record)
        assert (record.subject, record.code, record.reason) == (
            attack.subject,
            {16: "UNAUTHENTICATED", 7: "PERMISSION_DENIED"}[attack.code],
            told.reason,
        ), (attack.name, method, record)
        assert record.method.endswith(method)


def test_the_same_calls_with_a_good_token_are_done(guarded: Guarded) -> None:
    """Else the attacks would be refused for something else. A provider's token is good too, for what it may give."""
    claims = {
        "iss": STAFF, "aud": "citybrain", "sub": "zhang", "scope": "emergency.command emergency.read identity.issue",
        "clearance": "INTERNAL", "exp": int(time.time()) + 600,
    }  # fmt: skip
    token = jwt.encode({"alg": "RS256", "kid": "staff-1"}, claims, guarded.staff)
    ids = set()
    for call, address in [*((one, guarded.gateway) for one in PROTOCOLS), (in_grpc, guarded.past)]:
        incident = guarded.paper.report(new_id("to-be-cancelled"))
        guarded.paper.rest()
        for ask in reversed(asks(incident)):
            headers = guarded.headers(token, "good")
            told = call(address, ask, headers)
            assert told.code == 0 and told.answers, (ask.method, told)
            ids.add(headers["x-request-id"])
        assert guarded.paper.incident(incident).state == command.INCIDENT_STATE_CANCELLED
    for request_id, records in guarded.recorded(ids).items():
        if request_id in ids:
            assert {(one.subject, one.decision) for one in records} == {("staff:zhang", records_pb2.DECISION_ALLOWED)}


def test_a_token_is_given_for_no_more_than_its_giver_has(guarded: Guarded) -> None:
    giver = guarded.token("giver", scopes=["identity.issue", "health.read"], clearance="INTERNAL", district="west")
    wanted = {
        "NO_SCOPE": identity.IssueTokenRequest(subject="a", scopes=["health.dispatch"], district_id="west"),
        "LOW_CLEARANCE": identity.IssueTokenRequest(
            subject="a", scopes=["health.read"], district_id="west", clearance=options_pb2.CLASSIFICATION_SECRET
        ),
        # One that names no district would be bound to none.
        "OTHER_DISTRICT": identity.IssueTokenRequest(subject="a", scopes=["health.read"]),
    }
    for reason, request in wanted.items():
        for call, address in [*((one, guarded.gateway) for one in PROTOCOLS), (in_grpc, guarded.past)]:
            told = call(address, Ask(ISSUE, request), guarded.headers(giver))
            assert told.outcome == (7, reason) and "eyJ" not in told.raw, told
    everything = identity.IssueTokenRequest(subject="a", scopes=["*"], district_id="west")
    assert in_json(guarded.gateway, Ask(ISSUE, everything), guarded.headers(giver)).outcome == (7, "NO_SCOPE")
    as_service = identity.IssueTokenRequest(subject="service:sagas", scopes=["health.read"], district_id="west")
    assert in_grpc(guarded.past, Ask(ISSUE, as_service), guarded.headers(giver)).code == 3


@pytest.mark.parametrize("past", [False, True], ids=["through", "past"])
def test_no_header_says_who_did_something_or_why(guarded: Guarded, past: bool) -> None:
    place = RoadPlace(edge_id="e1", position_m=7)
    report = command.ReportEmergencyRequest(
        channel=command.CHANNEL_APP, severity=command.SEVERITY_MINOR, place=place, another_patient=True
    )
    token = guarded.token("app-7", scopes=["emergency.report"])
    known = {event["id"] for event in guarded.events("IncidentOpened")}
    for call in (in_grpc,) if past else PROTOCOLS:
        headers = {**SPOOFED, **guarded.headers(token, "spoofed")}
        told = call(guarded.past if past else guarded.gateway, Ask("EmergencyCommandService/ReportEmergency", report), headers)
        assert told.code == 0, told
        (record,) = guarded.recorded({headers["x-request-id"]})[headers["x-request-id"]]
        assert (record.subject, record.on_behalf_of) == ("app-7", "")
    new = [event for event in guarded.events("IncidentOpened") if event["id"] not in known]
    assert len(new) == (1 if past else 3)
    for event in new:
        assert event["actor"] == "app-7" and event["causation_id"] != "an-event"
        assert event["correlation_id"] not in ("", "inc-000000000000")
    # Nothing that belongs to no incident is put into one.
    admin = guarded.headers(guarded.token("admin", scopes=["district.admin"]), "spoofed")
    district = hub.RegisterDistrictRequest(district_id=f"new-{past}", name="new")
    call, address = (in_grpc, guarded.past) if past else (in_json, guarded.gateway)
    assert call(address, Ask("DistrictHubService/RegisterDistrict", district), {**SPOOFED, **admin}).code == 0
    registered = guarded.events("DistrictRegistered")[-1]
    assert (registered["actor"], registered["correlation_id"], registered["causation_id"]) == ("admin", "", "")


def test_past_the_gateway_there_is_nothing_but_grpc(guarded: Guarded) -> None:
    token = guarded.token("zhang", scopes=["emergency.read"])
    connection = http.client.HTTPConnection(guarded.past, timeout=30)
    try:
        connection.request("GET", "/v1/incidents", headers=guarded.headers(token))
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.getresponse()
    finally:
        connection.close()


def test_two_emergencies_at_once_never_mix_and_no_trace_from_outside_gets_into_them(guarded: Guarded) -> None:
    both = two_emergencies.play(guarded.paper, "at-once")
    with closing(TraceStore(guarded.city.traces)) as store:
        two_emergencies.assert_whole_and_apart(store, both, until)
        victim = store.by_incident(both[0])
        # Somebody who knows the trace, and may report, calls in it.
        told = f"00-{victim[0].trace_id}-{victim[0].span_id}-01"
        report = command.ReportEmergencyRequest(
            channel=command.CHANNEL_APP, severity=command.SEVERITY_MINOR, place=RoadPlace(edge_id="e1", position_m=9),
            another_patient=True,
        )  # fmt: skip
        headers = {**SPOOFED, **guarded.headers(guarded.token("app-8", scopes=["emergency.report"]), "trace")}
        ask = Ask("EmergencyCommandService/ReportEmergency", report)
        for address in (guarded.gateway, guarded.past):
            headers["x-request-id"] = new_id("trace")
            assert in_grpc(address, ask, {**headers, "traceparent": told}).code == 0
        guarded.paper.rest()
        incidents = [event["correlation_id"] for event in guarded.events("IncidentOpened")][-2:]
        assert not set(incidents) & set(both)
        for incident in incidents:
            spans = until(lambda incident=incident: store.by_incident(incident), "its spans")  # type: ignore[misc]
            assert {span.service for span in spans if span.trace_id == victim[0].trace_id} <= {"gateway"}
            linked = {link.trace_id for span in spans for link in span.links if span.kind == "server"}
            assert linked == {victim[0].trace_id}
        inside = [span for span in store.by_trace(victim[0].trace_id) if span.service != "gateway"]
        assert len(inside) == len([span for span in victim if span.service != "gateway"])
