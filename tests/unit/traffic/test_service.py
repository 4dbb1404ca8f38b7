"""Traffic while it runs: what is observed is acted on at once, and a source whose clock is wrong changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import domain
from citybrain.services.traffic.service import TrafficService
from tests.unit.traffic.signals import crossing

SECOND = 1_000_000
HOUR = 3600 * SECOND
AMBULANCE = pb.VehiclePosition(vehicle_id="a1", edge_id="west", position_m=100, speed_mps=10, desired_speed_mps=10)


@pytest.fixture
def traffic() -> Iterator[Running]:
    with running(TrafficService) as service:
        # Its plan opens the way of the ambulance in most seconds: it begins where that is closed.
        now = service.advance(30 - service.advance() / SECOND % 30)
        edges = [RoadEdge(edge_id=edge, length_m=200, free_speed_mps=14) for edge in ("west", "east", "x-north", "x-south")]
        service.fire("PublishRoads", pb.PublishRoadsRequest(edges=edges))
        signal = crossing(start=now // SECOND - 50)
        service.fire("RegisterSignal", pb.RegisterSignalRequest(signal=signal))
        grant = pb.GrantPriorityRequest(incident_id="i1", grant_id="g1", vehicle_id="a1", edge_ids=["west", "east"])
        service.rest()
        service.fire("GrantPriority", grant)
        service.rest()
        yield service


def observed(at: int, *speeds: pb.EdgeSpeed) -> pb.ReportObservationsRequest:
    shown = pb.SignalShown(signal_id="x", state="rrG", since_s=[20, 20, 20])
    return pb.ReportObservationsRequest(observed_at=timestamp(at), vehicles=[AMBULANCE], signals=[shown], speeds=speeds)


def commands(traffic: Running) -> list[ev.SignalCommanded]:
    return [event.data for event in traffic.events(ev.SignalCommanded)]  # type: ignore[misc]


def test_what_is_observed_is_acted_on_for_the_second_that_follows(traffic: Running) -> None:
    now = traffic.advance()
    traffic.fire("ReportObservations", observed(now))
    (command,) = commands(traffic)
    assert (command.signal_id, command.incident_id, command.reason) == ("x", "i1", "priority")
    assert domain.commanded_at(command) == now / SECOND + 1


def test_what_is_measured_is_no_part_of_a_drill_and_commands_nothing(traffic: Running) -> None:
    with pytest.raises(Refused, match="comes from the city alone"):
        traffic.fire("ReportObservations", observed(traffic.advance()), exercise="fire-1")
    traffic.fire("ReportObservations", observed(traffic.advance()))
    (command,) = traffic.events(ev.SignalCommanded)
    assert command.stored.stream.startswith("traffic/signal-")


@pytest.mark.parametrize("ahead", [5 * SECOND + 1, 4 * 60 * SECOND, HOUR, 366 * 24 * HOUR, -60 * SECOND - 1, -HOUR])
def test_what_a_source_says_whose_clock_is_wrong_is_refused_with_both_times_and_changes_nothing(
    traffic: Running, ahead: int
) -> None:
    now = traffic.advance()
    with pytest.raises(BadRequest) as caught:
        traffic.fire("ReportObservations", observed(now + ahead, pb.EdgeSpeed(edge_id="west", speed_mps=1, vehicles=1)))
    ((field, why),) = caught.value.violations
    assert field == "observed_at"
    assert timestamp(now + ahead).ToJsonString() in why and timestamp(now).ToJsonString() in why
    assert "sources.traffic.street." in why
    assert not commands(traffic)
    # The others are heard as if nothing had been.
    traffic.fire("ReportObservations", observed(now))
    assert [command.reason for command in commands(traffic)] == ["priority"]
    for minute in range(1, 4):
        at = traffic.advance(60)
        seen = pb.EdgeSpeed(edge_id="west", speed_mps=minute, vehicles=1)
        traffic.fire("ReportObservations", observed(at, seen))
    told = [event.data.to_time for event in traffic.events(ev.SpeedsMeasured)]  # type: ignore[attr-defined]
    assert len(told) >= 2 and all(to.ToMicroseconds() <= traffic.advance() for to in told)


@pytest.mark.parametrize("ahead", [5 * SECOND, -60 * SECOND])
def test_a_clock_that_is_a_little_wrong_is_believed(traffic: Running, ahead: int) -> None:
    traffic.fire("ReportObservations", observed(traffic.advance() + ahead))
    assert len(commands(traffic)) == 1


def test_a_report_that_comes_late_commands_nothing_for_a_second_that_is_over(traffic: Running) -> None:
    now = traffic.advance(10)
    empty = pb.ReportObservationsRequest(observed_at=timestamp(now))
    traffic.fire("ReportObservations", empty)
    traffic.fire("ReportObservations", observed(now - 3 * SECOND))
    assert not commands(traffic)


def test_where_nobody_observes_any_more_the_vehicle_is_lost_and_its_signal_given_back(traffic: Running) -> None:
    now = traffic.advance()
    traffic.fire("ReportObservations", observed(now))
    (command,) = commands(traffic)
    started = pb.ReportSignalRequest(signal_id="x", command_id=command.command_id, report=pb.SIGNAL_REPORT_STARTED, state="rrG")
    traffic.fire("ReportSignal", started)
    traffic.rest()
    for _ in range(5):
        traffic.advance(1)
    assert not traffic.events(ev.VehicleLost)
    for _ in range(30):
        traffic.advance(1)
    ((lost,),) = [traffic.events(ev.VehicleLost)]
    assert lost.data.vehicle_id == "a1"  # type: ignore[attr-defined]
    assert commands(traffic)[-1].reason == "lost"
    assert not traffic.events(ev.VehicleMissing)
    for _ in range(60):
        traffic.advance(1)
    (missing,) = traffic.events(ev.VehicleMissing)
    assert missing.data.edge_id == "west"  # type: ignore[attr-defined]
    assert missing.stored.causation_id == lost.stored.id
    traffic.wait_for_row("grant_list", "g1", lambda row: row.missing)


@pytest.mark.parametrize(
    ("stop", "refusal"),
    [
        (pb.PlannedStop(route_index=2), "stops[0].route_index: must be less than the number of roads (2)"),
        (pb.PlannedStop(route_index=1, position_m=999), "stops[0].position_m: is 999 m, and road 'east' is 200 m long"),
    ],
)
def test_priority_to_a_stop_that_is_not_on_the_way_is_refused(traffic: Running, stop: pb.PlannedStop, refusal: str) -> None:
    way = ["west", "east"]
    asked = pb.GrantPriorityRequest(incident_id="i2", grant_id="g2", vehicle_id="a2", edge_ids=way, stops=[stop])
    with pytest.raises(BadRequest, match=re.escape(refusal)):
        traffic.fire("GrantPriority", asked)
    assert [event.data.grant_id for event in traffic.events(ev.PriorityGranted)] == ["g1"]  # type: ignore[attr-defined]


def test_a_signal_that_is_reached_through_a_closed_road_is_not_kept_for_a_vehicle_until_the_road_is_open(
    traffic: Running,
) -> None:
    traffic.fire("ReleasePriority", pb.ReleasePriorityRequest(incident_id="i1", grant_id="g1"))
    way = ["west", "east", "x-north"]
    traffic.fire("GrantPriority", pb.GrantPriorityRequest(incident_id="i1", grant_id="g2", vehicle_id="a1", edge_ids=way))
    traffic.fire("CloseRoads", pb.CloseRoadsRequest(closure_id="c1", edge_ids=["east"], reason="an accident"))
    traffic.rest()
    traffic.fire("ReportObservations", observed(traffic.advance()))
    assert not commands(traffic)
    traffic.wait_for_row("grant_list", "g2", lambda row: row.blocked_by == ("c1",))
    traffic.fire("ReopenRoads", pb.ReopenRoadsRequest(closure_id="c1"))
    traffic.rest()
    traffic.fire("ReportObservations", observed(traffic.advance(1)))
    assert [command.reason for command in commands(traffic)] == ["priority"]
