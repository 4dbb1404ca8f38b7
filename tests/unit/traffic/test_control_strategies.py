"""How the signals of an area are controlled: who decides it, what is refused, and what is asked afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import area_control_pb2 as control
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import domain
from citybrain.services.traffic.service import TrafficService
from tests.unit.traffic.junction import with_lanes
from tests.unit.traffic.signals import crossing

SECOND = 1_000_000
ADAPTIVE, PLAN = control.CONTROL_STRATEGY_ADAPTIVE, control.CONTROL_STRATEGY_FIXED_PLAN


@pytest.fixture
def traffic() -> Iterator[Running]:
    with running(TrafficService) as service:
        now = service.advance(30 - service.advance() / SECOND % 30)
        edges = [RoadEdge(edge_id=edge, length_m=200, free_speed_mps=14) for edge in ("west", "east", "x-north", "x-south")]
        service.fire("PublishRoads", pb.PublishRoadsRequest(edges=edges))
        # Second 50 of its cycle: the road from the south has green until second 65.
        signal = with_lanes(crossing(start=now // SECOND - 50))
        service.fire("RegisterSignal", pb.RegisterSignalRequest(signal=signal))
        service.fire("RegisterSignal", pb.RegisterSignalRequest(signal=crossing("bare", start=now // SECOND)))
        service.rest()
        yield service


def apply(traffic: Running, strategy: control.ControlStrategy, *signals: str, area: str = "west") -> list[str]:
    request = control.ApplyControlStrategyRequest(area_id=area, strategy=strategy, signal_ids=signals, reason="a trial")
    answer = traffic.fire("ApplyControlStrategy", request)
    traffic.rest()
    return list(answer.plan_only_signal_ids)


def seen(at: int, waiting: float = 5, **options: str) -> control.ReportSignalTrafficRequest:
    lanes = [control.LaneTraffic(lane_id=lane) for lane in ("west_1", "x-south_2")]
    lanes.append(control.LaneTraffic(lane_id="west_0", waiting=waiting))
    signal = control.SignalTraffic(signal_id="x", state="rrG", since_s=[20, 20, 20], lanes=lanes)
    return control.ReportSignalTrafficRequest(observed_at=timestamp(at), signals=[signal])


def commands(traffic: Running) -> list[ev.SignalCommanded]:
    return [event.data for event in traffic.events(ev.SignalCommanded)]  # type: ignore[misc]


def why(traffic: Running, signal_id: str = "x") -> control.GetSignalControlResponse:
    answer = traffic.fire("GetSignalControl", control.GetSignalControlRequest(signal_id=signal_id))
    assert isinstance(answer, control.GetSignalControlResponse)
    return answer


def test_a_signal_follows_the_traffic_only_where_that_was_decided(traffic: Running) -> None:
    traffic.fire("ReportSignalTraffic", seen(traffic.advance()))
    assert commands(traffic) == []
    assert (why(traffic).strategy, why(traffic).reason) == (PLAN, "its plan runs")
    apply(traffic, ADAPTIVE, "x")
    assert why(traffic).reason == "nothing is reported of what is seen before it"
    now = traffic.advance()
    traffic.fire("ReportSignalTraffic", seen(now))
    (command,) = commands(traffic)
    assert domain.commanded_at(command) == now / SECOND + 1
    assert (command.from_state, command.incident_id, command.vehicle_id) == ("rrG", "", "")
    assert [interval.state for interval in command.intervals][:3] == ["rry", "rrr", "Grr"]


def test_loops_are_read_where_no_camera_sees_a_lane(traffic: Running) -> None:
    apply(traffic, ADAPTIVE, "x")
    for second in range(8):
        report = seen(traffic.advance(second and 1))
        lane = report.signals[0].lanes[2]
        # The road is driven at 14 m/s: who came over the entry loop is at the line six seconds later.
        lane.loops.CopyFrom(control.LaneLoops(entry_m=75, entered=float(second in (1, 2, 3)), line_covered=float(second > 6)))
        lane.waiting = 50
        report.signals[0].since_s[:] = [20 + second] * 3
        traffic.fire("ReportSignalTraffic", report)
    assert [(claim.phase, claim.vehicles) for claim in why(traffic).claims] == [(0, 3.0), (3, 0.0), (6, 0.0)]
    report = seen(traffic.advance(1))
    report.signals[0].lanes[2].loops.CopyFrom(control.LaneLoops(entry_m=75, entered=-1))
    traffic.fire("ReportSignalTraffic", report)
    assert [(one.lane_id, one.fault) for one in why(traffic).unseen_lanes] == [("west_0", control.LANE_FAULT_ABSURD)]
    report.signals[0].lanes[2].loops.entry_m = 5
    with pytest.raises(BadRequest, match="entry_m"):
        traffic.fire("ReportSignalTraffic", report)


def test_each_decision_can_be_asked_why(traffic: Running) -> None:
    apply(traffic, ADAPTIVE, "x")
    now = traffic.advance()
    traffic.fire("ReportSignalTraffic", seen(now))
    answer = why(traffic)
    assert (answer.area_id, answer.strategy, answer.phase) == ("west", ADAPTIVE, 0)
    assert answer.decided_at == timestamp(now + SECOND)
    assert answer.reason == "phase 0 clears 5.0 vehicles in 15 s"
    assert [(claim.phase, claim.vehicles) for claim in answer.claims] == [(0, 5.0), (3, 0.0), (6, 0.0)]
    assert [claim.phase for claim in commands(traffic)[0].claims] == [0, 3, 6]
    with pytest.raises(NotFound, match="register it first"):
        why(traffic, "nobody")


def test_a_report_that_comes_twice_or_late_decides_nothing(traffic: Running) -> None:
    apply(traffic, ADAPTIVE, "x")
    now = traffic.advance()
    traffic.fire("ReportSignalTraffic", seen(now, waiting=0))
    for at in (now, now - SECOND):
        traffic.fire("ReportSignalTraffic", seen(at))
    assert commands(traffic) == []
    traffic.fire("ReportSignalTraffic", seen(traffic.advance(1)))
    assert len(commands(traffic)) == 1
    with pytest.raises(BadRequest, match="set the clock of the source"):
        traffic.fire("ReportSignalTraffic", seen(now + 7 * SECOND))


def test_an_area_that_goes_back_to_its_plan_commands_nothing_more(traffic: Running) -> None:
    apply(traffic, ADAPTIVE, "x")
    apply(traffic, PLAN)
    traffic.fire("ReportSignalTraffic", seen(traffic.advance()))
    assert commands(traffic) == []
    assert [event.data.strategy for event in traffic.events(ev.ControlStrategyApplied)] == [ADAPTIVE, PLAN]  # type: ignore[attr-defined]


def test_the_same_decision_again_changes_nothing_and_says_which_signals_only_run_their_plan(traffic: Running) -> None:
    assert apply(traffic, ADAPTIVE, "x", "bare") == ["bare"]
    assert apply(traffic, ADAPTIVE, "bare", "x") == ["bare"]
    assert len(traffic.events(ev.ControlStrategyApplied)) == 1


def test_what_cannot_be_decided_is_refused_with_what_to_do(traffic: Running) -> None:
    with pytest.raises(BadRequest, match="has no signals yet: name them"):
        apply(traffic, ADAPTIVE)
    with pytest.raises(Refused, match="'y' is not registered"):
        apply(traffic, ADAPTIVE, "y")
    apply(traffic, ADAPTIVE, "x")
    with pytest.raises(Refused, match="belongs to area 'west': apply the fixed plan there first"):
        apply(traffic, ADAPTIVE, "x", area="east")
    apply(traffic, PLAN)
    apply(traffic, ADAPTIVE, "x", area="east")
    assert why(traffic).area_id == "east"


def test_a_report_whose_state_does_not_fit_the_signal_changes_nothing(traffic: Running) -> None:
    apply(traffic, ADAPTIVE, "x")
    request = seen(traffic.advance())
    request.signals[0].state = "rr"
    traffic.fire("ReportSignalTraffic", request)
    assert commands(traffic) == []


def test_a_signal_that_was_given_back_says_why_until_when_and_which_lanes_are_not_seen(traffic: Running) -> None:
    apply(traffic, ADAPTIVE, "x")
    now = traffic.advance()
    request = seen(now)
    for lane in request.signals[0].lanes[:2]:
        lane.waiting = -1
    traffic.fire("ReportSignalTraffic", request)
    assert commands(traffic) == []
    (told,) = traffic.events(ev.SignalGivenBack)
    assert (told.data.why, told.data.until) == (control.BACK_TO_PLAN_UNSEEN, timestamp(now + 61 * SECOND))  # type: ignore[attr-defined]
    answer = why(traffic)
    assert (answer.back_to_plan, answer.reason) == (control.BACK_TO_PLAN_UNSEEN, "it was given back to its plan")
    assert answer.back_until == timestamp(now + 61 * SECOND)
    assert [(lane.lane_id, lane.fault) for lane in answer.unseen_lanes] == [
        ("west_1", control.LANE_FAULT_ABSURD),
        ("x-south_2", control.LANE_FAULT_ABSURD),
    ]


def test_a_signal_with_a_new_plan_is_controlled_by_that_plan(traffic: Running) -> None:
    apply(traffic, ADAPTIVE, "x")
    traffic.fire("ReportSignalTraffic", seen(traffic.advance(), waiting=0))
    signal = with_lanes(crossing(start=traffic.advance() // SECOND - 50))
    signal.program_id = "night"
    traffic.fire("RegisterSignal", pb.RegisterSignalRequest(signal=signal))
    traffic.rest()
    traffic.fire("ReportSignalTraffic", seen(traffic.advance(1)))
    (command,) = commands(traffic)
    assert command.program_id == "night"
