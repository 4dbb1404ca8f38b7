"""The health of junctions beside what is usual, and forecasts that beat the naive ones."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as incidents
from citybrain.traffic.v1 import outlook_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from citybrain.traffic.v1 import traffic_service_pb2 as service_pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.errors import NotFound, Refused
from citybrain.mesh.events import Heard, timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import damped_persistence, junction_health, junctions, road_forecasts, street_network
from citybrain.services.traffic.free_speeds import HOUR_US
from citybrain.services.traffic.incident_views import CycleRow
from citybrain.services.traffic.junction_health import PARTS, Approach
from citybrain.services.traffic.road_days import RoadHoursRow
from citybrain.services.traffic.service import TrafficService
from citybrain.services.traffic.street_network import Road
from tests.unit.traffic.measuring import detector

SECOND = 1_000_000
DELAY, IMBALANCE, QUEUE = pb.HEALTH_PART_DELAY, pb.HEALTH_PART_IMBALANCE, pb.HEALTH_PART_QUEUE
DETECTORS, INCIDENT = pb.HEALTH_PART_DETECTORS, pb.HEALTH_PART_INCIDENT

# -- damped persistence -------------------------------------------------------------------------------------------------------


def day_like(hour: float) -> float:
    return 500 + 300 * math.sin(hour / 24 * 2 * math.pi)


def series(days: int, per_day: int, left: float = 0.9, noise: float = 40) -> dict[int, float]:
    """A day that comes again, and something unusual of which a share is left from slot to slot."""
    by, unusual, found = random.Random(5), 0.0, {}
    for slot in range(days * per_day):
        unusual = left * unusual + by.gauss(0, noise)
        found[slot] = day_like((slot + 0.5) % per_day * 24 / per_day) + unusual
    return found


def test_what_is_usual_lies_on_the_line_between_the_middles_of_hours() -> None:
    usual = [0.0, 4.0, *[8.0] * 22]
    # Of 48 slots a day the first half of hour 1 is a quarter of an hour before its middle.
    assert damped_persistence.usual_at(usual, 2, 48) == 3 and damped_persistence.usual_at(usual, 3, 48) == 5
    assert damped_persistence.usual_at(usual, 0, 24) == 0 and damped_persistence.usual_at(usual, 25, 24) == 4
    assert damped_persistence.usual_at(usual, 0, 48) == 2, "before the first hour is the last one"


def test_a_share_of_what_is_unusual_now_is_left_then() -> None:
    usual = [10.0] * 24
    assert damped_persistence.share({0: 14.0, 1: 12.0, 2: 11.0, 3: 10.5}, usual, 1, 24) == pytest.approx(0.5)
    assert damped_persistence.share({0: 14.0, 1: 6.0, 2: 14.0}, usual, 1, 24) == 0
    assert damped_persistence.share({0: 14.0}, usual, 1, 24) == 0
    assert damped_persistence.forecast(usual, 0.5, 14.0, 0, 1, 24) == 12


def test_a_forecast_that_beats_both_naive_ones_is_learnt_with_its_scores() -> None:
    found = damped_persistence.learn(series(10, 96), 4, 96)
    assert found is not None and found.days == 10 and found.error < found.naive_error
    assert abs(found.share - 0.9**4) < 0.15 and abs(found.usual[6] - day_like(6.5)) < 60


def test_a_forecast_that_is_no_better_than_the_naive_ones_is_none() -> None:
    by, walk, at = random.Random(1), {}, 500.0
    for slot in range(10 * 96):
        at += by.gauss(0, 10)
        walk[slot] = at
    assert damped_persistence.learn(walk, 1, 96) is None, "of what goes anywhere nothing is known but where it is"
    assert damped_persistence.learn(dict.fromkeys(range(960), 7.0), 1, 96) is None, "that it stays is right already"


def test_of_three_days_or_without_an_hour_nothing_is_learnt() -> None:
    known = series(7, 96)
    assert damped_persistence.learn(known, 1, 96) is not None
    assert damped_persistence.learn({slot: one for slot, one in known.items() if slot >= 96}, 1, 96) is None
    assert damped_persistence.learn({slot: one for slot, one in known.items() if slot % 96 // 4 != 3}, 1, 96) is None


# -- health -------------------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_junction_are_those_of_its_approaches() -> None:
    found, incomplete = junction_health.parts([Approach(100, 0.2, 500, 0, 2), Approach(100, 0.6, 500, 4, 2)])
    assert [round(found[part], 3) for part in PARTS] == [0.4, 0.2, 0.3, 0, 0] and not incomplete
    assert junction_health.score(found) == 100 - 45 * 0.4 - 15 * 0.2 - 15 * 0.3
    found, _ = junction_health.parts([Approach(100, 0.2, 900), Approach(100, 0.6, 100)])
    assert found[DELAY] == pytest.approx(0.24), "weighted by flow"
    found, incomplete = junction_health.parts([Approach(100, 0.2, 500, None, 2, 1, True), Approach(100, None, None, 20, 2)])
    assert (found[DELAY], found[QUEUE], found[DETECTORS], found[INCIDENT], incomplete) == (0.2, 1, 0.25, 1, True)
    assert sum(junction_health.WEIGHTS.values()) == 100


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.lists(st.floats(0, 1), min_size=5, max_size=5))
@settings(max_examples=50, deadline=None)
def test_what_the_parts_take_adds_up_to_the_difference_of_the_scores(now: list[float], usual: list[float]) -> None:
    mine, theirs = dict(zip(PARTS, now, strict=True)), dict(zip(PARTS, usual, strict=True))
    taken = junction_health.takes(mine, theirs)
    assert sum(taken.values()) == pytest.approx(junction_health.score(theirs) - junction_health.score(mine))
    factor = junction_health.factor(taken)
    assert all(taken[factor] >= one for one in taken.values()) if factor else max(taken.values()) <= 0


KNOWN = street_network.known(
    {name: Road("a", 100, 15.0, "xihu", ()) for name in ("a", "b")}, [detector("a1"), detector("b1", "b")]
)
NOW = 500_000 * HOUR_US + 1


def state(edge_id: str, index: float, flow: float = 500, **more: Any) -> street.RoadState:
    return street.RoadState(edge_id=edge_id, index=index, vehicles_per_hour=flow, detector_ids=[f"{edge_id}1"], **more)


def streets(a: float, b: float, **more: Any) -> junctions.Now:
    roads = {"a": state("a", a), "b": state("b", b)}
    told: dict[str, Any] = {"queues": {}, "incidents": frozenset(), **more}
    return junctions.Now(KNOWN, roads, **told)


ROW = CycleRow("s", 90.0, ("a", "b", "gone"))


def hours(delay: float, days: int, hour: int = NOW // HOUR_US) -> dict[int, tuple[float, tuple[float, ...]]]:
    parts = (delay, 0.0, 0.0, 0.0, 0.0)
    return {hour - 24 * n: (100 - 45 * delay, parts) for n in range(1, days + 1)}


def test_a_junction_is_compared_with_this_hour_of_other_days_and_the_factor_is_named() -> None:
    found = junctions.health(ROW, streets(0.5, 0.5, incidents=frozenset("b")), hours(0.4, 3), NOW, ahead=False)
    assert found is not None
    assert (found.score, found.usual, found.days, found.factor) == (62.5, 82, 3, INCIDENT)
    assert {one.part: one.takes for one in found.parts} == {DELAY: 4.5, IMBALANCE: 0, QUEUE: 0, DETECTORS: 0, INCIDENT: 15}
    assert (found.district_id, list(found.approach_edge_ids)) == ("xihu", ["a", "b"])
    found = junctions.health(ROW, streets(0.5, 0.5), {**hours(0.4, 3), **hours(0.9, 9, NOW // HOUR_US - 1)}, NOW, ahead=False)
    assert found is not None and (found.factor, found.days) == (DELAY, 3), "other hours say nothing of this one"
    better = junctions.health(ROW, streets(0.1, 0.1), hours(0.4, 3), NOW, ahead=False)
    assert better is not None and better.factor == pb.HEALTH_PART_UNSPECIFIED
    few = junctions.health(ROW, streets(0.5, 0.5), hours(0.4, 2), NOW, ahead=False)
    assert few is not None and not few.HasField("usual") and few.factor == pb.HEALTH_PART_UNSPECIFIED


def test_queues_that_nobody_observes_are_not_taken_for_none_and_of_nothing_nothing_is_said() -> None:
    found = junctions.health(ROW, streets(0.5, 0.5, queues={"a": 10}), {}, NOW, ahead=False)
    assert found is not None and found.parts[PARTS.index(QUEUE)].now == 0.75
    assert junctions.approaches(ROW, streets(0.5, 0.5, queues=None))[0].queue is None
    assert junctions.health(ROW, junctions.Now(KNOWN, {}, {}, frozenset()), {}, NOW, ahead=False) is None
    with pytest.raises(NotFound, match="the health of junction 's' is not known"):
        junctions.existing(None, "s")


def test_what_is_expected_of_a_junction_in_an_hour_is_told_where_it_beats_the_naive_forecasts() -> None:
    first = NOW // HOUR_US - 24 * 10
    made = series(10, 24, 0.5, 20)
    before = {first + n: (value / 10, (0.0,) * 5) for n, value in made.items()}
    found = junctions.health(ROW, streets(0.5, 0.5), before, NOW, ahead=True)
    assert found is not None and found.HasField("in_an_hour") and 0 < found.error < found.naive_error
    assert 0 <= found.in_an_hour <= 100
    same = dict.fromkeys(before, (80.0, (0.0,) * 5))
    plain = junctions.health(ROW, streets(0.5, 0.5), same, NOW, ahead=True)
    assert plain is not None and not plain.HasField("in_an_hour")


def test_hours_of_junctions_are_told_once_and_kept() -> None:
    found = junctions.health(ROW, streets(0.5, 0.5), {}, NOW, ahead=False)
    assert found is not None
    (told,) = junctions.scored([found], NOW)
    assert junctions.tell(junctions.LastScored(), told) == [told]
    assert junctions.tell(junctions.evolve(junctions.LastScored(), told), told) == []
    stored: Any = None
    row = junctions.hour_row(None, Heard(told, stored))
    assert row is not None
    assert junctions.history([row]) == {"s": {NOW // HOUR_US: (77.5, (0.5, 0.0, 0.0, 0.0, 0.0))}}
    many = [pb.JunctionHealth(signal_id=f"s{n}") for n in range(junctions.TOGETHER + 1)]
    assert [len(one.junctions) for one in junctions.scored(many, NOW)] == [junctions.TOGETHER, 1]


# -- forecasts of roads -------------------------------------------------------------------------------------------------------


def rows(days: int) -> list[RoadHoursRow]:
    """Road `a` as its day comes again, with windows of five minutes; of road `b` no speed is known."""
    made = series(days, 288, 0.98, 15)
    found = []
    for hour in range(days * 24):
        flows = [round(made[hour * 12 + n]) for n in range(12)]
        a = tuple((flow, 3000 - 3 * flow, 100) for flow in flows)
        b = tuple((flow, -1, 100) for flow in flows)
        found.append(RoadHoursRow(hour - 8, {"a": a, "b": b}))
    return found


def test_forecasts_of_roads_are_learnt_for_15_and_60_minutes_where_they_beat_the_naive_ones() -> None:
    (told,) = road_forecasts.learn("a", rows(9), NOW)
    assert told.tried == 8
    by_key = {(one.edge_id, one.measure, one.ahead_min): one for one in told.models}
    assert ("a", pb.ROAD_MEASURE_SPEED, 60) in by_key and ("b", pb.ROAD_MEASURE_FLOW, 60) in by_key
    assert not any(edge_id == "b" and measure == pb.ROAD_MEASURE_SPEED for edge_id, measure, _ in by_key)
    assert all(one.error < one.naive_error and len(one.usual) == 24 and one.days == 9 for one in told.models)
    assert road_forecasts.tell(road_forecasts.LastLearnt(), told) == [told]
    assert road_forecasts.tell(road_forecasts.LastLearnt(told.day), told) == []
    (few,) = road_forecasts.learn("a", rows(6), NOW)
    assert not few.models and few.tried == 8


def test_a_quarter_of_an_hour_counts_that_was_wholly_measured() -> None:
    windows = [(100, 1000, 1)] * 12
    row = RoadHoursRow(16, {"a": (*windows[:2], None, *windows[3:])})
    flows, speeds = road_forecasts.quarters([row])["a"]
    assert flows == {97: 100, 98: 100, 99: 100} and speeds == {97: 10, 98: 10, 99: 10}, "16:00 is the next day in Hangzhou"


def test_a_forecast_is_what_is_usual_then_and_a_share_of_what_is_unusual_now() -> None:
    usual = [float(100 * hour) for hour in range(24)]
    model = pb.RoadForecastModel(
        measure=pb.ROAD_MEASURE_FLOW, ahead_min=60, share=0.5, usual=usual, error=3, naive_error=4, days=9
    )
    # 10:00 to 10:15 in Hangzhou: the middle of the quarter is 22.5 minutes before that of the hour.
    ended = 2 * HOUR_US + road_forecasts.QUARTER_US
    (found,) = road_forecasts.forecasts([model], state("a", 0.1, 1000.0), ended)
    assert found.value == 1062.5 + 0.5 * (1000 - 962.5) and (found.error, found.naive_error, found.days) == (3, 4, 9)
    assert road_forecasts.forecasts([model], state("a", 0.1, incomplete=True), ended) == []
    speed = pb.RoadForecastModel(measure=pb.ROAD_MEASURE_SPEED, ahead_min=15, usual=usual)
    assert road_forecasts.forecasts([speed], state("a", 0.1), ended) == [], "no speed was measured"


# -- the service --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def traffic() -> Iterator[Running]:
    """A signal with two approaches of two districts, of which two windows were measured just now."""
    with running(TrafficService) as service:
        edges = [
            RoadEdge(edge_id=name, length_m=100, free_speed_mps=20, district_id=district)
            for name, district in (("a", "xihu"), ("b", "binjiang"), ("c", "binjiang"))
        ]
        service.fire("PublishRoads", service_pb.PublishRoadsRequest(edges=edges))
        for name, edge in (("s1", "a"), ("s2", "b")):
            links = [service_pb.SignalLink(index=0, from_edge_id=edge, to_edge_id="c")]
            phases = [service_pb.SignalPhase(state="G", duration_s=45), service_pb.SignalPhase(state="r", duration_s=45)]
            signal = service_pb.Signal(signal_id=name, links=links, phases=phases, program_id="0", cycle_start=timestamp(0))
            service.fire("RegisterSignal", service_pb.RegisterSignalRequest(signal=signal))
        window(service, a=0.2, b=0.6)
        yield service


def window(traffic: Running, **index: float) -> None:
    now = traffic.advance()
    told: dict[str, Any] = {"from": timestamp(now - 300 * SECOND), "to": timestamp(now)}
    traffic.tell(ev.StreetMeasured(part_id="a", roads=[state(name, one) for name, one in index.items()], **told))
    traffic.rest()


def health(traffic: Running, signal_id: str) -> pb.JunctionHealth:
    answer: pb.GetJunctionHealthResponse = traffic.fire("GetJunctionHealth", pb.GetJunctionHealthRequest(signal_id=signal_id))
    return answer.health


def test_junctions_are_listed_the_worst_first_and_told_each_hour(traffic: Running) -> None:
    def listed(**question: Any) -> list[tuple[str, float]]:
        found = traffic.fire("ListJunctionHealth", pb.ListJunctionHealthRequest(**question)).junctions
        return [(one.signal_id, one.score) for one in found]

    assert listed() == [("s2", 73), ("s1", 91)] and listed(district_id="xihu") == [("s1", 91)]
    seen = incidents.ReportIncidentRequest(
        report_id="r1", edge_id="a", source=incidents.INCIDENT_SOURCE_PATROL, seen_at=timestamp(traffic.advance()),
        kind=incidents.TRAFFIC_INCIDENT_KIND_ACCIDENT,
    )  # fmt: skip
    traffic.fire("ReportIncident", seen)
    traffic.rest()
    assert listed() == [("s2", 73), ("s1", 76)]
    queues = [service_pb.Queue(edge_id="a", vehicles=4)]
    traffic.fire(
        "ReportObservations", service_pb.ReportObservationsRequest(observed_at=timestamp(traffic.advance()), queues=queues)
    )
    assert health(traffic, "s1").score == 71.5
    traffic.fire("score_junctions")
    traffic.rest()
    told = traffic.events(ev.JunctionHealthScored)
    assert len(told) == 1 and len(told[0].data.junctions) == 2  # type: ignore[attr-defined]
    for _ in range(3):
        traffic.advance(24 * 3600)
        window(traffic, a=0.2, b=0.2)
        traffic.fire("score_junctions")
        traffic.rest()
    window(traffic, a=0.2, b=0.6)
    found = health(traffic, "s2")
    assert found.days >= 3 and found.factor == DELAY and found.usual > found.score
    traffic.advance(1000)
    with pytest.raises(NotFound, match="nothing was measured on its approaches in the last 15 minutes"):
        health(traffic, "s2")
    with pytest.raises(NotFound, match="the health of junction 'z' is not known"):
        health(traffic, "z")


def test_a_forecast_of_a_road_is_asked_for_and_refused_where_there_is_none(traffic: Running) -> None:
    def asked(edge_id: str) -> pb.GetRoadForecastResponse:
        answer: pb.GetRoadForecastResponse = traffic.fire("GetRoadForecast", pb.GetRoadForecastRequest(edge_id=edge_id))
        return answer

    model = pb.RoadForecastModel(
        edge_id="a", measure=pb.ROAD_MEASURE_FLOW, ahead_min=15, share=1, usual=[100.0] * 24, error=1, naive_error=2, days=9
    )
    traffic.tell(ev.RoadForecastsLearnt(part_id="a", day="2026-05-01", models=[model]))
    traffic.rest()
    (found,) = asked("a").forecasts
    assert (found.value, found.ahead_min, found.error, found.naive_error) == (500, 15, 1, 2) and asked("a").day == "2026-05-01"
    with pytest.raises(Refused, match="nothing is forecast of road 'b': it is known of fewer than seven days") as refused:
        asked("b")
    assert refused.value.reason == "NO_FORECAST"
    traffic.tell(ev.RoadForecastsLearnt(part_id="a", day="2026-05-02", models=[]))
    traffic.rest()
    with pytest.raises(Refused):
        asked("a")
    traffic.tell(ev.RoadForecastsLearnt(part_id="a", day="2026-05-03", models=[model]))
    traffic.advance(1000)
    traffic.rest()
    with pytest.raises(Refused, match="nothing was measured there in the last 15 minutes"):
        asked("a")
    with pytest.raises(NotFound, match="road 'z' is not in the published network"):
        asked("z")


def test_each_night_it_is_told_how_many_forecasts_were_tried_and_which_are_good(traffic: Running) -> None:
    traffic.fire("learn_forecasts")
    (told,) = (one.data for one in traffic.events(ev.RoadForecastsLearnt))
    assert isinstance(told, ev.RoadForecastsLearnt) and told.tried == 8 and not told.models
