"""What a service reads of the events it hears is found in its code: never too little, and exactly where the code is plain."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from citybrain.cli.compatibility.consumers import consumer_of
from citybrain.cli.compatibility.contracts import Consumer, written
from citybrain.local.city import ROOT
from citybrain.mesh.manifest import Manifest, ManifestError
from citybrain.mesh.service import Service
from citybrain.mesh.upcasting import UpcastError
from tools import check_repository
from tools.consumers import made
from tools.contracts import CONSUMERS

ROADS = "citybrain.traffic.v1.RoadsPublished"
OPENED = "citybrain.emergency_command.v1.IncidentOpened"
MISSING = "citybrain.traffic.v1.VehicleMissing"
NUMBERS = itertools.count()
TEXT = """
import functools
from typing import Any, cast
from dataclasses import dataclass
from citybrain.emergency_command.v1.events_pb2 import IncidentCancelled, IncidentOpened
from citybrain.district_hub.v1 import district_hub_service_pb2
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.traffic.v1.events_pb2 import RoadsPublished, SignalReported, VehicleLost, VehicleMissing
from citybrain.mesh.service import Client, Follow, Service, Streams, View, rpc, subscribe
from citybrain.mesh.events import type_name

EVENTS = (RoadsPublished, IncidentOpened, VehicleMissing)
LOST = VehicleLost | VehicleMissing

@dataclass
class Row:
    held: Any

def _keeper(edge):
    return edge.district_id

def _named(message, name="vehicle_id"):
    return getattr(message, name)

def _all(edges):
    for edge in edges:
        yield edge

def _logged(function):
    @functools.wraps(function)
    def inner(message):
        return message.silent_s, function(message)
    return inner

@_logged
def _logged_edge(message):
    return message.edge_id

def _again(message, count):
    return _again(message, count - 1) if count else message.reason

class Kept:
    def __init__(self, of):
        self.of = of

    @classmethod
    def made(cls, message):
        return message.grant_id

def apply(row, event):
    data = event.data
    BODY

class ParksService(Service):
    name = "parks"
    rows = View(EVENTS, lambda event: event.stored.stream, apply, row=dict[str, str])
    MEMBERS
"""
Make = Callable[..., ModuleType]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes the module of a service, with this body of its view and these members of its class."""
    monkeypatch.syspath_prepend(str(tmp_path))
    loaded: list[str] = []

    def module(text: str, body: str = "return row", members: str = "") -> ModuleType:
        text = textwrap.dedent(text).replace("    BODY", textwrap.indent(textwrap.dedent(body), "    "))
        text = text.replace("    MEMBERS", textwrap.indent(textwrap.dedent(members), "    "))
        # A name is never the same twice: Python keeps what it has loaded.
        name = f"parks_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        loaded.append(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield module
    for name in loaded:
        sys.modules.pop(name, None)


def manifest(**given: str | list[str]) -> Manifest:
    fields = {"name": "parks", "title": "t", "team": "gardens", "entry": "m:S", "grpc": "citybrain.parks.v1.ParksService"}
    return Manifest.model_validate({**fields, "port": 7999, **given})


def consumers(service: type[Service], **given: str | list[str]) -> list[Consumer]:
    return list(consumer_of(manifest(**given), service))


@pytest.mark.parametrize(
    ("body", "event", "reads"),
    [
        ("return Row(data.edges[0].edge_id)", ROADS, ["edges.edge_id"]),
        ("return Row({e.edge_id: e.length_m for e in event.data.edges})", ROADS, ["edges.edge_id", "edges.length_m"]),
        ("return Row([_keeper(e) for e in data.edges])", ROADS, ["edges.district_id"]),
        ("return Row(list(map(_keeper, data.edges)))", ROADS, ["edges.district_id"]),
        ("return Row(max(data.edges, key=lambda e: e.length_m).edge_id)", ROADS, ["edges.edge_id", "edges.length_m"]),
        ("return Row(next(iter(sorted(data.edges, key=_keeper))).edge_id)", ROADS, ["edges.district_id", "edges.edge_id"]),
        ("return Row([e.edge_id for _, e in enumerate(data.edges)])", ROADS, ["edges.edge_id"]),
        # The key of an item is never a message; its value is.
        (
            "x = {e.edge_id: e for e in data.edges}\nreturn Row([k in {} and e.length_m for k, e in x.items()])",
            ROADS,
            ["edges.edge_id", "edges.length_m"],
        ),
        (
            "x = {e.edge_id: e for e in data.edges}\nfor k, e in x.items():\n    Row(k in {} or e.length_m)\nreturn Row('')",
            ROADS,
            ["edges.edge_id", "edges.length_m"],
        ),
        ("return Row([e.edge_id for e in _all(data.edges)])", ROADS, ["edges.edge_id"]),
        (
            "for e in data.edges:\n    if e.district_id:\n        break\nreturn Row(e.edge_id)",
            ROADS,
            ["edges.district_id", "edges.edge_id"],
        ),
        ("first, *rest = data.edges\nreturn Row(rest[0].edge_id)", ROADS, ["edges.edge_id"]),
        ("edges = data.edges\nedges = [] if row else edges\nreturn Row(edges[0].edge_id)", ROADS, ["edges.edge_id"]),
        ("return Row(len(data.edges))", ROADS, ["edges"]),
        ("return Row(data.edges)", ROADS, ["edges.*"]),
        ("return Row(str(data.edges[0]))", ROADS, ["edges.*"]),
        ("return Row(f'{data.edges[0]}')", ROADS, ["edges.*"]),
        ("return Row(data.edges == row.held)", ROADS, ["edges.*"]),
        ("row.held = data.edges[0]\nreturn row", ROADS, ["edges.*"]),
        ("row.held.append(data)\nreturn row", ROADS, ["*"]),
        ("kept = Kept(data)\nreturn Row(kept.of.edges)", ROADS, ["*"]),
        ("return Row(data.SerializeToString())", ROADS, ["*"]),
        ("return data", ROADS, ["*"]),
        ("return Row([one for one in (data, row)])", ROADS, ["*"]),
        ("return Row(_again(data, 2))", ROADS, ["*"]),
        ("def later():\n    return data.edges[0].edge_id\nreturn Row(later)", ROADS, ["edges.edge_id"]),
        ("if (kept := data) is None:\n    return row\nreturn Row(kept.edges)", ROADS, ["*"]),
        (
            "try:\n    one = data\n    one = row.held\nexcept KeyError:\n    return Row(one.vehicle_id)\nreturn row",
            MISSING,
            ["vehicle_id"],
        ),
        ("return Row(getattr(data, 'vehicle_id', ''))", MISSING, ["vehicle_id"]),
        ("return Row(_named(data))", MISSING, ["*"]),
        ("return Row(_named(data, 'edge_id'))", MISSING, ["edge_id"]),
        ("return Row(cast(VehicleMissing, data).silent_s)", MISSING, ["silent_s"]),
        ("return Row(Kept.made(data))", MISSING, ["grant_id"]),
        ("return Row(data.HasField('reporter'))", OPENED, ["reporter"]),
        ("return Row(data.place.edge_id or data.channel)", OPENED, ["channel", "place.edge_id"]),
        ("if isinstance(data, IncidentOpened):\n    return Row(data.incident_id)\nreturn row", MISSING, []),
        ("if isinstance(data, IncidentOpened):\n    return row\nreturn Row(data.incident_id)", OPENED, []),
        ("if not isinstance(data, VehicleMissing) or data.silent_s:\n    return row\nreturn Row(data.incident_id)", OPENED, []),
        ("return Row(data.incident_id if isinstance(data, LOST) else '')", OPENED, []),
        ("return Row(isinstance(data, (VehicleLost, VehicleMissing)) and data.incident_id)", OPENED, []),
        ("assert isinstance(event.data, IncidentOpened)\nreturn Row(event.data.incident_id)", OPENED, ["incident_id"]),
        ("assert isinstance(event.data, IncidentOpened)\nreturn Row(event.data.incident_id)", MISSING, []),
        ("match data:\n    case IncidentOpened(incident_id=''):\n        return row\nreturn row", OPENED, ["incident_id"]),
        (
            "match data:\n    case IncidentOpened():\n        return row\n    case one:\n        return Row(one.incident_id)",
            OPENED,
            [],
        ),
        (
            "match data:\n    case IncidentOpened() if row:\n        return row\nreturn Row(data.incident_id)",
            OPENED,
            ["incident_id"],
        ),
        (
            "match data:\n    case IncidentOpened() | VehicleMissing():\n        return Row(data.incident_id)",
            MISSING,
            ["incident_id"],
        ),
        ("return Row(event.stored.stream)", MISSING, []),
        ("return Row(event.stored.data)", MISSING, ["*"]),
        ("return Row(event)", MISSING, ["*"]),
        ("return Row(type_name(data))", MISSING, []),
        ("return Row(_logged_edge(data))", MISSING, ["*"]),
        ("match (row, data):\n    case (None, VehicleMissing(edge_id='')):\n        return row\nreturn row", MISSING, ["*"]),
        ("a = b = row\nfor _ in row:\n    a = b\n    b = data\nreturn Row(a.edge_id)", MISSING, ["edge_id"]),
        ("a = row\nwhile a.silent_s:\n    a = data\nreturn row", MISSING, ["silent_s"]),
        (
            "a = b = c = d = e = f = row\nfor _ in a:\n    a, b, c, d, e, f = b, c, d, e, f, data\nreturn Row(a.x)",
            MISSING,
            ["*"],
        ),
        ("class Inner:\n    held = data\nreturn Row(Inner)", MISSING, ["*"]),
        ("return Row(lambda: data.edge_id)", MISSING, ["edge_id"]),
        ("return Row(*[data])", MISSING, ["*"]),
        ("return Row(**{'held': data})", MISSING, ["*"]),
        ("global KEPT\nKEPT = data\nreturn row", MISSING, ["*"]),
    ],
)
def test_what_a_read_model_reads_of_an_event_is_followed_to_where_it_is_used(
    make: Make, body: str, event: str, reads: list[str]
) -> None:
    (found,) = consumers(make(TEXT, body).ParksService)
    assert found.reads[event] == reads
    assert found.reads.keys() == {ROADS, OPENED, MISSING}, "what is heard is named, and no field of it where none is read"


def test_reactions_filters_streams_and_calls_are_followed_too(make: Make) -> None:
    members = """
        grants = Streams("grant", str, lambda now, event: event.command_id)
        health = Client("citybrain.health.v1.HealthService")
        traffic = Client("citybrain.traffic.v1.TrafficService")
        hub = Client("citybrain.district_hub.v1.DistrictHubService")

        @rpc
        def Watch(self, request):
            return Follow(purpose="lost", types=(VehicleLost,), concerns=lambda event: event.silent_s > request.silent_s)

        @subscribe(IncidentCancelled, where=lambda cancelled: cancelled.reason)
        def hear(self, event):
            self._tell(event)
            _all([self.traffic])

        def _tell(self, event):
            self.health.HandOver(health.HandOverRequest(incident_id=event.data.incident_id))
    """
    (found,) = consumers(make(TEXT, members=members).ParksService, publishes=["citybrain.traffic.v1.SignalReported"])
    assert found.reads["citybrain.emergency_command.v1.IncidentCancelled"] == ["incident_id", "reason"]
    assert found.reads["citybrain.traffic.v1.SignalReported"] == ["command_id"]
    assert found.reads["citybrain.traffic.v1.VehicleLost"] == ["silent_s"], "what chooses events for callers reads them too"
    assert "citybrain.health.v1.HealthService.HandOver" in found.calls
    assert "citybrain.health.v1.HealthService.CancelBed" not in found.calls
    assert "citybrain.traffic.v1.TrafficService.GetSignal" in found.calls, "a client that is handed on may call anything"
    assert "citybrain.district_hub.v1.DistrictHubService.GetNotice" in found.calls, "and so may one that nobody sees at work"


def test_an_upcaster_reads_the_old_event_for_its_service(make: Make) -> None:
    upcasters = "tests.unit.mesh.upcasters_of_probe"
    importlib.import_module(upcasters)
    (found,) = consumers(make(TEXT).ParksService, upcasters=upcasters)
    assert found.reads.keys() == {ROADS, OPENED, MISSING, "citybrain.probe.v1.Jotted", "citybrain.probe.v1.Noted"}


def city() -> dict[str, Consumer]:
    return {one.name: one for one in written(CONSUMERS.read_text(encoding="utf-8"))}


def test_the_file_is_as_the_code_of_the_services_makes_it() -> None:
    assert CONSUMERS.read_text(encoding="utf-8") == made()


def test_it_says_what_anybody_can_see_in_the_code() -> None:
    known = city()
    assert known["district_hub"].reads[ROADS] == ["edges.district_id", "edges.edge_id"]
    assert known["traffic"].reads[ROADS] == ["edges.*"], "its state keeps the roads of a part"
    assert "edges.next_edge_ids" in known["health"].reads[ROADS]
    assert known["health"].reads["citybrain.health.v1.AmbulanceRegistered"] == ["ambulance_id", "station.*"]
    assert known["traffic"].reads["citybrain.traffic.v1.SignalReported"] == ["command_id", "report"]
    assert known["emergency_command"].reads[OPENED] == ["*"], "the state keeps the whole event"
    assert known["identity"].reads == {"citybrain.identity.v1.SigningKeyChanged": ["key_id"]}
    assert {one: known[one].team for one in ("health", "traffic")} == {"health": "health", "traffic": "traffic-police"}
    assert known["sagas"].reads["citybrain.sagas.v1.StepSent"] == ["*"], "the engine reads the streams of sagas by itself"
    assert known["sagas"].reads[OPENED] == ["district_id"], "the list of sagas shows the district of what one began with"


def test_a_workflow_says_what_it_hears_what_it_calls_and_what_it_reads_of_answers() -> None:
    workflow = city()["sagas/emergency_response"]
    assert workflow.team == "city-brain"
    assert workflow.reads[OPENED] == ["incident_id", "place.*", "severity"]
    assert workflow.reads[MISSING] == ["edge_id", "incident_id", "position_m", "silent_s", "vehicle_id"]
    assert workflow.reads["citybrain.health.v1.MissionReported"] == ["ambulance_id", "incident_id", "stage"]
    # Its place is read where the saga looks back at what it heard.
    assert workflow.reads["citybrain.health.v1.AmbulanceBrokenDown"] == ["ambulance_id", "incident_id", "place.*", "reason"]
    bed = workflow.reads["citybrain.health.v1.ReserveBedResponse"]
    assert bed == ["entrance.position_m", "hospital_id", "route.edge_ids", "route.travel_time_s"]
    assert "citybrain.traffic.v1.TrafficService.GrantPriority" in workflow.calls


def one_more(make: Make, file: str, old: str, new: str, tail: str) -> list[Consumer]:
    """The consumers of a module of the city, in which the code reads one more field."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert old in text
    return consumers(make(text.replace(old, new) + textwrap.dedent(tail)).OneService)


def test_a_service_that_comes_to_read_one_more_field_says_so(make: Make) -> None:
    tail = """
        from citybrain.mesh.service import Service, View
        class OneService(Service):
            name = "parks"
            roads = View(ROAD_EVENTS, road_key, road, row=RoadRow)
    """
    views, old = "services/district_hub/views.py", "{edge.edge_id: edge.district_id for edge"
    (before,) = one_more(make, views, old, old, tail)
    (after,) = one_more(make, views, old, "{edge.edge_id: f'{edge.district_id} {edge.length_m}' for edge", tail)
    assert before.reads == {ROADS: ["edges.district_id", "edges.edge_id"]}
    assert after.reads == {ROADS: ["edges.district_id", "edges.edge_id", "edges.length_m"]}


@pytest.mark.parametrize(
    ("old", "new", "reads"),
    [
        (
            'vehicle_id=s.answer("reserve_ambulance").ambulance_id,',
            'vehicle_id=s.answer("reserve_ambulance").station.edge_id,',
            "station.edge_id",
        ),
        ("LATE_FACTOR * _leg(s, leg).travel_time_s", "LATE_FACTOR * _leg(s, leg).length_m", "route.length_m"),
        ("event.vehicle_id != s.answer", 'event.vehicle_id != s.answer("reserve_ambulance").station or s.answer', "station.*"),
    ],
)
def test_a_workflow_that_comes_to_read_one_more_field_says_so(make: Make, old: str, new: str, reads: str) -> None:
    tail = """
        from citybrain.mesh.service import Service
        from citybrain.sagas.engine.runner import SagaRunner
        class OneService(Service):
            name = "parks"
            runner = SagaRunner((EMERGENCY_RESPONSE, EMERGENCY_RESPONSE_1))
    """
    workflow = "sagas/workflows/emergency_response.py"
    _, before = one_more(make, workflow, old, old, tail)
    _, after = one_more(make, workflow, old, new, tail)
    answer = "citybrain.health.v1.ReserveAmbulanceResponse"
    assert before.name == "parks/emergency_response"
    assert sorted({*after.reads[answer]} - {*before.reads[answer]}) == [reads]


def test_a_wait_that_an_event_may_end_or_fail_reads_it_for_both(make: Make) -> None:
    conditions = """
        from citybrain.sagas.engine.definition import Wait, Workflow
        from citybrain.sagas.engine.runner import SagaRunner
        FOUND = Wait("found", VehicleLost, 60, lambda s, e: e.grant_id == "", fails_on={VehicleLost: lambda s, e: e.vehicle_id})
        HEARS = {IncidentOpened: lambda e: e.incident_id, VehicleLost: lambda e: e.incident_id}
        WORKFLOW = Workflow("look", 1, IncidentOpened, HEARS, (FOUND,))
    """
    members = "runner = SagaRunner((WORKFLOW,))"
    service = make(TEXT.replace("class ParksService", textwrap.dedent(conditions) + "class ParksService"), members=members)
    _, workflow = consumers(service.ParksService)
    lost = "citybrain.traffic.v1.VehicleLost"
    assert workflow.reads == {OPENED: ["incident_id"], lost: ["grant_id", "incident_id", "vehicle_id"]}


def test_a_service_that_cannot_be_loaded_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (ManifestError("services/parks/manifest.yaml:4: field entry: …"), UpcastError("service parks: …")):

        def fails(error: Exception = error) -> str:
            raise error

        monkeypatch.setattr("tools.consumers.made", fails)
        assert check_repository._consumers() == [f"consumers.yaml cannot be made: {error}"]


def test_a_file_that_the_code_no_longer_makes_has_drifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.consumers.made", lambda: "another text")
    assert check_repository._consumers() == ["consumers.yaml has drifted: make consumers"]
