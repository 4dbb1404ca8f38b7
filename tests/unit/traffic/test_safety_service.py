"""Accidents, risk, effects and the register of roadside systems while the service runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import road_safety_pb2 as pb
from citybrain.traffic.v1 import roadside_pb2 as side
from citybrain.traffic.v1 import street_pb2 as street
from citybrain.traffic.v1 import traffic_service_pb2 as service_pb

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import road_days, roadside
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.service import TrafficService

SECOND = 1_000_000
DAY = 86_400 * SECOND


@pytest.fixture
def traffic() -> Iterator[Running]:
    """Two roads of two districts, whose volume is known for ten days."""
    with running(TrafficService) as service:
        build(service)
        yield service


def build(service: Running) -> None:
    edges = [
        RoadEdge(edge_id=name, length_m=1000, free_speed_mps=15, district_id=district)
        for name, district in (("a", "xihu"), ("b", "binjiang"))
    ]
    service.fire("PublishRoads", service_pb.PublishRoadsRequest(edges=edges))
    now = service.advance()
    for ago in range(10, 0, -1):
        told = ev.RoadDayMeasured(part_id="a", day=road_days.day_of(now - ago * DAY).isoformat())
        for name in ("a", "b"):
            told.roads.add(edge_id=name, vehicles=10_000, speed_mps=10, windows=288)
        service.tell(told)
    service.rest()


def record(traffic: Running, name: str, edge_id: str = "a", days_ago: float = 10, **claims: Any) -> None:
    accident = pb.Accident(
        accident_id=name, edge_id=edge_id, happened_at=timestamp(round(traffic.advance() - days_ago * DAY)),
        severity=pb.ACCIDENT_SEVERITY_INJURY, causes=[pb.ACCIDENT_CAUSE_RED_LIGHT], injured=1,
    )  # fmt: skip
    traffic.fire("RecordAccident", pb.RecordAccidentRequest(accident=accident), **claims)


def two_years(traffic: Running, number: int = 40) -> None:
    for n in range(number):
        record(traffic, f"a{n}", days_ago=10 + 720 * n / (number - 1))
    record(traffic, "b0", "b", 400)
    traffic.rest()


def risky(traffic: Running, **more: Any) -> list[str]:
    traffic.rest()
    return [one.edge_id for one in traffic.fire("ListRiskyRoads", pb.ListRiskyRoadsRequest(**more)).roads]


def test_risk_is_graded_each_night_and_anew_when_records_are_corrected(traffic: Running) -> None:
    with pytest.raises(Refused, match="recorded for less than a year") as refused:
        traffic.fire("GradeRisk", pb.GradeRiskRequest())
    assert refused.value.reason == "TOO_SHORT"
    two_years(traffic)
    traffic.fire("grade_risk")
    assert risky(traffic) == ["a"] and risky(traffic, district_id="binjiang") == []
    answer = traffic.fire("GetRoadRisk", pb.GetRoadRiskRequest(edge_id="a"))
    assert (answer.risk.grade, answer.risk.recorded, answer.model.fitted) == (pb.RISK_GRADE_HIGH, 40, False)
    assert list(answer.risk.causes) == [pb.ACCIDENT_CAUSE_RED_LIGHT]
    assert len(traffic.events(ev.RiskWarned)) == 1
    answer = traffic.fire("GradeRisk", pb.GradeRiskRequest(edge_id="b"))
    assert (answer.graded, answer.without_volume) == (2, 0) and len(traffic.events(ev.RiskGraded)) == 1
    for n in range(37):
        gone = pb.WithdrawAccidentRequest(accident_id=f"a{n}", reason="counted twice")
        traffic.fire("WithdrawAccident", gone)
    assert risky(traffic) == []
    assert len(traffic.events(ev.RiskWarningRetracted)) == 1
    assert traffic.fire("GetRoadRisk", pb.GetRoadRiskRequest(edge_id="a")).risk.recorded == 3
    with pytest.raises(NotFound, match="road 'z' is not in the published network"):
        traffic.fire("GetRoadRisk", pb.GetRoadRiskRequest(edge_id="z"))


def test_an_accident_that_was_on_another_road_counts_there(traffic: Running) -> None:
    two_years(traffic)
    traffic.fire("grade_risk")
    (first, *_) = traffic.fire("ListAccidents", pb.ListAccidentsRequest(edge_id="a", page_size=1)).accidents
    assert first.accident_id == "a0"
    first.edge_id = "b"
    traffic.fire("CorrectAccident", pb.CorrectAccidentRequest(accident=first, reason="the other carriageway"))
    traffic.rest()
    recorded = [traffic.fire("GetRoadRisk", pb.GetRoadRiskRequest(edge_id=name)).risk.recorded for name in ("a", "b")]
    assert recorded == [39, 2]
    there = traffic.fire("ListAccidents", pb.ListAccidentsRequest(edge_id="b")).accidents
    assert [one.accident_id for one in there] == ["a0", "b0"]


def test_accidents_are_recorded_and_read_in_their_district_only(traffic: Running) -> None:
    with pytest.raises(Forbidden):
        record(traffic, "x", district="binjiang")
    record(traffic, "x", district="xihu")
    traffic.rest()
    gone = pb.WithdrawAccidentRequest(accident_id="x", reason="a drill")
    for method, request in (("WithdrawAccident", gone), ("ListAccidents", pb.ListAccidentsRequest(edge_id="a"))):
        with pytest.raises(Forbidden):
            traffic.fire(method, request, district="binjiang")
    with pytest.raises(BadRequest, match="causes"):
        none = pb.Accident(accident_id="y", edge_id="a", happened_at=timestamp(0), severity=pb.ACCIDENT_SEVERITY_DAMAGE)
        traffic.fire("RecordAccident", pb.RecordAccidentRequest(accident=none))


def test_a_night_tells_what_the_day_before_was(traffic: Running) -> None:
    midnight = traffic.advance() // DAY * DAY - 8 * 3600 * SECOND - DAY
    for number in range(288):
        start = midnight + number * WINDOW_US
        window: dict[str, Any] = {"from": timestamp(start), "to": timestamp(start + WINDOW_US)}
        roads = [street.RoadState(edge_id="a", vehicles_per_hour=100, speed_mps=10)]
        traffic.tell(ev.StreetMeasured(part_id="a", roads=roads, **window))
    traffic.rest()
    on = road_days.day_of(midnight)
    while road_days.yesterday(traffic.advance()) != on:
        traffic.advance(3600)
    traffic.fire("tell_days")
    told = traffic.events(ev.RoadDayMeasured)[-1].data
    assert isinstance(told, ev.RoadDayMeasured)
    assert (told.day, [(one.edge_id, one.vehicles) for one in told.roads]) == (on.isoformat(), [("a", 2400)])


def test_an_effect_is_evaluated_once_and_can_be_read(traffic: Running) -> None:
    today = road_days.day_of(traffic.advance())
    request = pb.EvaluateEffectRequest(
        evaluation_id="e1", what="a median", measure=pb.EFFECT_MEASURE_TRAVEL_TIME, changed_edge_ids=["a"],
        comparison_edge_ids=["b"], works_from="2020-03-01", works_to="2020-03-10", days=7,
    )  # fmt: skip
    with pytest.raises(Refused, match="0 days before the works were measured") as refused:
        traffic.fire("EvaluateEffect", request)
    assert refused.value.reason == "TOO_FEW_DAYS"
    for month, speed in (("2020-02", 10.0), ("2020-03", 12.5)):
        for day in range(11, 30):
            told = ev.RoadDayMeasured(part_id="a", day=f"{month}-{day}")
            told.roads.add(edge_id="a", vehicles=10_000, speed_mps=speed)
            told.roads.add(edge_id="b", vehicles=10_000, speed_mps=10)
            traffic.tell(told)
    traffic.rest()
    effect = traffic.fire("EvaluateEffect", request).effect
    assert (effect.effect, effect.may_be_nothing, effect.without_change) == (-20, False, 100)
    assert traffic.fire("EvaluateEffect", request).effect == effect and len(traffic.events(ev.EffectEvaluated)) == 1
    kept = traffic.fire("GetEffect", pb.GetEffectRequest(evaluation_id="e1"))
    assert (kept.question, kept.effect) == (request, effect)
    accidents = pb.EvaluateEffectRequest()
    accidents.CopyFrom(request)
    accidents.evaluation_id, accidents.measure = "e2", pb.EFFECT_MEASURE_ACCIDENTS
    with pytest.raises(Refused, match=f"accidents are recorded since {today}"):
        traffic.fire("EvaluateEffect", accidents)


# -- roadside systems ---------------------------------------------------------------------------------------------------------

KINDS = [
    side.ROADSIDE_KIND_SIGNAL_CONTROL, side.ROADSIDE_KIND_ENFORCEMENT, side.ROADSIDE_KIND_FLOW_CAPTURE,
    side.ROADSIDE_KIND_VIDEO_WATCH, side.ROADSIDE_KIND_GUIDANCE, side.ROADSIDE_KIND_FACILITY,
]  # fmt: skip
WORKING, BROKEN, SILENT = side.ROADSIDE_STATE_WORKING, side.ROADSIDE_STATE_BROKEN, side.ROADSIDE_STATE_SILENT


def devices(traffic: Running, *some: side.RoadsideDevice) -> int:
    answer: side.RegisterRoadsideDevicesResponse = traffic.fire(
        "RegisterRoadsideDevices", side.RegisterRoadsideDevicesRequest(devices=some)
    )
    traffic.rest()
    return answer.changed


def device(name: str, kind: side.RoadsideKind, edge_id: str = "a", **more: Any) -> side.RoadsideDevice:
    told: dict[str, Any] = {"position_m": 10, "reports_every_s": 300, **more}
    return side.RoadsideDevice(device_id=name, kind=kind, edge_id=edge_id, **told)


def say(traffic: Running, state: side.RoadsideState, *names: str, what: str = "") -> side.ReportDeviceStatesResponse:
    reports = [side.DeviceStateReport(device_id=name, state=state, what=what) for name in names]
    answer: side.ReportDeviceStatesResponse = traffic.fire(
        "ReportDeviceStates", side.ReportDeviceStatesRequest(reports=reports)
    )
    traffic.rest()
    return answer


def listed(traffic: Running, **more: Any) -> tuple[list[str], side.RoadsideCounts]:
    traffic.rest()
    answer = traffic.fire("ListRoadsideDevices", side.ListRoadsideDevicesRequest(**more))
    return [one.device.device_id for one in answer.devices], answer.counts


def test_six_kinds_of_devices_stand_in_one_register_by_kind_district_and_state(traffic: Running) -> None:
    assert len(KINDS) == 6
    some = [device(f"d{number}", kind, "a" if number < 4 else "b") for number, kind in enumerate(KINDS)]
    assert devices(traffic, *some) == 6 and devices(traffic, *some) == 0
    names = [f"d{number}" for number in range(6)]
    assert listed(traffic) == (names, side.RoadsideCounts(not_heard=6))
    assert say(traffic, WORKING, *names[:5], "z").unknown_device_ids == ["z"]
    say(traffic, BROKEN, "d1", what="E17")
    assert listed(traffic, state=BROKEN) == (["d1"], side.RoadsideCounts(working=4, broken=1, not_heard=1))
    assert listed(traffic, kind=KINDS[5]) == (["d5"], side.RoadsideCounts(not_heard=1))
    assert listed(traffic, district_id="binjiang")[0] == ["d4", "d5"]
    one = traffic.fire("GetRoadsideDevice", side.GetRoadsideDeviceRequest(device_id="d1")).standing
    assert (one.state, one.what, one.district_id, one.device) == (BROKEN, "E17", "xihu", some[1])
    say(traffic, BROKEN, "d1", what="E17")
    changes = traffic.events(ev.RoadsideStateChanged)
    assert len(changes) == 6, "what was said before is no event"
    with pytest.raises(Refused, match="d1 is a device of another kind"):
        devices(traffic, device("d1", KINDS[2]))
    with pytest.raises(BadRequest, match=r"devices\[0\].edge_id"):
        devices(traffic, device("x", KINDS[2], "z"))
    with pytest.raises(BadRequest, match=r"devices\[0\].position_m"):
        devices(traffic, device("x", KINDS[2], position_m=1100))
    with pytest.raises(NotFound, match="there is no roadside device x"):
        traffic.fire("GetRoadsideDevice", side.GetRoadsideDeviceRequest(device_id="x"))
    with pytest.raises(BadRequest, match="state"):
        say(traffic, SILENT, "d1")


def test_a_device_from_which_nothing_comes_is_silent_until_it_is_heard_again(traffic: Running) -> None:
    devices(traffic, device("d1", KINDS[0]), device("d2", KINDS[1], reports_every_s=3600), device("d3", KINDS[2]))
    devices(traffic, device("d3", KINDS[2], retired=True))
    say(traffic, WORKING, "d1", "d2")
    for _ in range(2):
        traffic.advance(600)
        say(traffic, WORKING, "d1")
    assert listed(traffic, state=SILENT)[0] == []
    traffic.advance(840)
    assert listed(traffic, state=SILENT)[0] == []
    traffic.advance(240)
    names, counts = listed(traffic, state=SILENT)
    assert (names, counts) == (["d1"], side.RoadsideCounts(working=1, silent=1))
    say(traffic, WORKING, "d1")
    traffic.advance(60)
    assert listed(traffic, state=SILENT)[0] == []
    assert say(traffic, WORKING, "d3").accepted == 0, "it was taken away"


def test_of_a_device_that_was_taken_away_nothing_is_expected() -> None:
    known = {name: side.RoadsideStanding(device=device(name, KINDS[0], retired=name == "d2")) for name in ("d1", "d2", "d3")}
    assert roadside.silent(known, {"d3": 900 * SECOND}, 0, 900 * SECOND + 1) == ["d1"]
    assert roadside.silent(known, {"d3": 900 * SECOND}, 0, 900 * SECOND) == [], "three times 300 s is not too long"


def test_after_a_restart_a_device_is_not_silent_because_nobody_remembers_it(tmp_path: Path) -> None:
    with running(TrafficService, folder=tmp_path) as traffic:
        build(traffic)
        devices(traffic, device("d1", KINDS[0]), device("d2", KINDS[0]))
        say(traffic, WORKING, "d1")
        traffic.advance(600)
        say(traffic, WORKING, "d2")
        now = datetime.fromtimestamp(traffic.advance() / SECOND, UTC)
    with running(TrafficService, folder=tmp_path, city_time=now) as traffic:
        traffic.advance(840)
        assert listed(traffic, state=SILENT)[0] == [], "it begins to count when the service does"
        traffic.advance(180)
        assert listed(traffic, state=SILENT)[0] == ["d1", "d2"]


@pytest.mark.parametrize(
    ("scope", "method", "request_"),
    [
        ("traffic.read", "ListRiskyRoads", pb.ListRiskyRoadsRequest()),
        ("traffic.read", "ListRoadsideDevices", side.ListRoadsideDevicesRequest()),
        ("traffic.safety", "ListAccidents", pb.ListAccidentsRequest(edge_id="a")),
    ],
)
def test_each_method_has_its_scope(traffic: Running, scope: str, method: str, request_: Any) -> None:
    traffic.fire(method, request_, scopes=[scope])
    with pytest.raises(Forbidden):
        traffic.fire(method, request_, scopes=["traffic.priority"])
    with pytest.raises(Forbidden):
        record(traffic, "x", scopes=["traffic.read"])
