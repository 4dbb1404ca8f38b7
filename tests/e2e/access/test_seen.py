"""What a caller gets to see and to do: only what their token allows, in every protocol, unary and as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.sagas.v1 import saga_service_pb2 as sagas

from tests.e2e.access.conftest import Guarded, new_id
from tests.helpers.protocols import PROTOCOLS, Ask, Told, in_grpc

pytestmark = pytest.mark.envoy

NAME, PHONE = "王建国", "+8613800001111"
COMMAND, HUB, SAGAS = "EmergencyCommandService", "DistrictHubService", "SagaService"
READS = ["emergency.read", "district.read", "sagas.read"]
PERSONAL = "emergency_command.personal"


@pytest.fixture(scope="module")
def incidents(guarded: Guarded) -> dict[str, str]:
    """An incident in each district, reported by somebody who can be called back, with its workflow under way."""
    found = {}
    for district, edge in (("west", "e1"), ("east", "e3")):
        request = command.ReportEmergencyRequest(
            channel=command.CHANNEL_PHONE, severity=command.SEVERITY_CRITICAL, place=RoadPlace(edge_id=edge, position_m=20),
            reporter=command.Contact(name=NAME, phone=PHONE), another_patient=True,
        )  # fmt: skip
        answer = guarded.paper.call(guarded.paper.command.ReportEmergency, request, f"seen-{district}")
        found[district] = answer.incident.incident_id
        guarded.paper.until(lambda district=district: guarded.paper.step(found[district], "at_scene") == "waiting")  # type: ignore[misc]
    return found


def everywhere(guarded: Guarded, ask: Ask, token: str) -> list[Told]:
    """The same call in each protocol, and past the gateway."""
    told = [call(guarded.gateway, ask, guarded.headers(token)) for call in PROTOCOLS]
    return [*told, in_grpc(guarded.past, ask, guarded.headers(token))]


def one(told: Told) -> Any:
    """The answer."""
    assert told.code == 0, told
    (answer,) = told.answers
    return answer


def get(incident: str) -> Ask:
    return Ask(f"{COMMAND}/GetIncident", command.GetIncidentRequest(incident_id=incident))


def follow(incident: str) -> Ask:
    return Ask(f"{COMMAND}/FollowIncident", command.FollowIncidentRequest(incident_id=incident))


def listed() -> Ask:
    return Ask(f"{COMMAND}/ListIncidents", command.ListIncidentsRequest())


CONTACTS: dict[str, Callable[[Any], Iterable[command.Contact]]] = {
    "get": lambda answer: [answer.incident.reporter] if answer.incident.HasField("reporter") else [],
    "list": lambda answer: [one.reporter for one in answer.incidents if one.HasField("reporter")],
    "follow": lambda answer: [
        opened.reporter
        for event in answer.events
        for opened in [IncidentOpened()]
        if event.data.Unpack(opened) and opened.HasField("reporter")
    ],
}


@pytest.mark.parametrize("what", ["get", "list", "follow"])
@pytest.mark.parametrize(
    ("scopes", "clearance", "sees"),
    [
        ([*READS, PERSONAL], "SECRET", True),
        ([*READS, PERSONAL], "RESTRICTED", True),
        ([*READS, PERSONAL], "INTERNAL", False),
        ([*READS, "health.personal", "traffic.personal"], "SECRET", False),
        (READS, "SECRET", False),
    ],
)
def test_whom_to_call_back_is_seen_with_clearance_and_scope_together(
    guarded: Guarded, incidents: dict[str, str], what: str, scopes: list[str], clearance: str, sees: bool
) -> None:
    ask = {"get": get(incidents["west"]), "list": listed(), "follow": follow(incidents["west"])}[what]
    subject = f"reader-{clearance}-{len(scopes)}"
    token = guarded.token(subject, scopes=scopes, clearance=clearance)
    ids = set()
    for call, address in [*((call, guarded.gateway) for call in PROTOCOLS), (in_grpc, guarded.past)]:
        headers = guarded.headers(token, f"contact-{what}")
        ids.add(headers["x-request-id"])
        told = call(address, ask, headers)
        contacts = list(CONTACTS[what](one(told)))
        if sees:
            assert contacts and all((contact.name, contact.phone) == (NAME, PHONE) for contact in contacts), told
        else:
            # Not even as bytes that nobody reads.
            assert contacts == [] and NAME not in told.raw and PHONE not in told.raw, told
    # Who has seen a person is recorded with the person, and who has not is not.
    records = guarded.recorded(ids)
    for request_id in ids:
        assert any(record.person_ids for record in records[request_id]) == sees, records[request_id]
    # To whom personal data were sent as events is kept, since they may have to be erased there. Nobody else got any.
    if what == "follow":
        assert any(recipient.startswith(f"{subject}:") for recipient in guarded.recipients()) == sees


def test_a_stream_shows_only_events_up_to_the_clearance(guarded: Guarded, incidents: dict[str, str]) -> None:
    ask = follow(incidents["west"])
    shown = [
        {event.classification for told in everywhere(guarded, ask, token) for event in one(told).events}
        for token in (guarded.token(f"follower-{level}", scopes=READS, clearance=level) for level in ("INTERNAL", "SECRET"))
    ]
    assert "INTERNAL" in shown[0] and shown[0] <= {"PUBLIC", "INTERNAL"}
    assert shown[0] <= shown[1]
    # Of this incident nothing is public: when all is at rest, nothing was sent.
    public = guarded.token("follower-PUBLIC", scopes=READS, clearance="PUBLIC")
    for address in (guarded.gateway, guarded.past):
        name = new_id("public")
        with grpc.insecure_channel(address) as channel:
            headers = guarded.headers(public, **{"x-stream-id": name})
            stream = EmergencyCommandServiceStub(channel).FollowIncident(ask.request, metadata=tuple(headers.items()))
            guarded.sends_nothing(name)
            stream.cancel()


def test_a_caller_of_a_district_sees_its_own_and_nothing_else(guarded: Guarded, incidents: dict[str, str]) -> None:
    west = guarded.token("west-desk", scopes=[*READS, PERSONAL], clearance="SECRET", district="west")
    for told in everywhere(guarded, listed(), west):
        assert {found.district_id for found in one(told).incidents} == {"west"} and incidents["east"] not in told.raw
    for told in everywhere(guarded, Ask(f"{SAGAS}/ListSagas", sagas.ListSagasRequest()), west):
        assert {found.district_id for found in one(told).sagas} == {"west"} and incidents["east"] not in told.raw
    assert all(one(told).incident.incident_id for told in everywhere(guarded, get(incidents["west"]), west))
    for told in everywhere(guarded, follow(incidents["west"]), west):
        # The ambulance may come through the east: what the east was told is the east's.
        assert {event.district for event in one(told).events} <= {"", "west"}
    subscribed = Ask(f"{HUB}/Subscribe", hub.SubscribeRequest(district_id="west"))
    for told in everywhere(guarded, subscribed, west):
        assert {event.district for event in one(told).events} == {"west"}


def of_the_east(east: str, notice: str) -> dict[str, Ask]:
    """What a caller of the west must not do or see."""
    asks = [
        get(east),
        follow(east),
        Ask(f"{COMMAND}/ListIncidents", command.ListIncidentsRequest(district_id="east")),
        Ask(f"{COMMAND}/CancelIncident", command.CancelIncidentRequest(incident_id=east, reason="not ours")),
        Ask(f"{COMMAND}/CloseIncident", command.CloseIncidentRequest(incident_id=east, outcome="not ours")),
        Ask(f"{SAGAS}/GetSaga", sagas.GetSagaRequest(saga_id=east)),
        Ask(f"{SAGAS}/WatchSaga", sagas.WatchSagaRequest(saga_id=east)),
        Ask(f"{SAGAS}/ListSagas", sagas.ListSagasRequest(district_id="east")),
        Ask(f"{SAGAS}/ResumeSaga", sagas.ResumeSagaRequest(saga_id=east)),
        Ask(f"{SAGAS}/SkipStep", sagas.SkipStepRequest(saga_id=east, step="at_scene", reason="not ours")),
        Ask(f"{SAGAS}/FailStep", sagas.FailStepRequest(saga_id=east, step="at_scene", reason="not ours")),
        Ask(f"{SAGAS}/RetryStep", sagas.RetryStepRequest(saga_id=east, step="at_scene", reason="not ours")),
        Ask(f"{SAGAS}/CancelSaga", sagas.CancelSagaRequest(saga_id=east, reason="not ours")),
        Ask(f"{SAGAS}/TerminateSaga", sagas.TerminateSagaRequest(saga_id=east, reason="not ours")),
        Ask(f"{HUB}/GetNotice", hub.GetNoticeRequest(notice_id=notice)),
        Ask(f"{HUB}/AcknowledgeNotice", hub.AcknowledgeNoticeRequest(notice_id=notice, district_id="east")),
        Ask(f"{HUB}/Subscribe", hub.SubscribeRequest(district_id="east")),
        Ask(f"{HUB}/RegisterDistrict", hub.RegisterDistrictRequest(district_id="east", name="ours now")),
        Ask(f"{HUB}/NotifyDistricts", hub.NotifyDistrictsRequest(incident_id=east, round_id="new", edge_ids=["e3"])),
        Ask(f"{HUB}/WithdrawNotices", hub.WithdrawNoticesRequest(incident_id=east, round_id=ROUND)),
    ]  # fmt: skip
    return {ask.method: ask for ask in asks}


ROUND = "a-round"


def test_a_caller_of_a_district_does_nothing_to_another(guarded: Guarded, incidents: dict[str, str]) -> None:
    scopes = [*READS, "emergency.command", "emergency.report", "sagas.operate", "district.admin", "district.notify",
              "district.acknowledge"]  # fmt: skip
    west = guarded.token("west-desk", scopes=scopes, clearance="SECRET", district="west")
    # So that there is something to withdraw.
    told = hub.NotifyDistrictsRequest(incident_id=incidents["east"], round_id=ROUND, edge_ids=["e3"])
    (notice,) = guarded.paper.call(guarded.paper.hub.NotifyDistricts, told).notices
    before = guarded.written()
    for name, ask in of_the_east(incidents["east"], notice.notice_id).items():
        for told_so in everywhere(guarded, ask, west):
            assert told_so.outcome == (7, "OTHER_DISTRICT") and not told_so.shape, (name, told_so)
        assert guarded.written() == before, f"{name} was refused, and wrote"
    # The same by the east itself.
    east = guarded.token("east-desk", scopes=scopes, clearance="SECRET", district="east")
    for name, ask in of_the_east(incidents["east"], notice.notice_id).items():
        assert in_grpc(guarded.gateway, ask, guarded.headers(east)).outcome != (7, "OTHER_DISTRICT"), name
