"""The risk of roads by empirical Bayes, what a change has done, and the days of roads."""

from __future__ import annotations

import math
import random
from datetime import date
from typing import Any

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import road_safety_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.mesh.events import Heard, timestamp
from citybrain.services.traffic import (
    accidents,
    before_after,
    difference_in_differences,
    effects,
    empirical_bayes,
    road_days,
    road_risk,
)
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.empirical_bayes import PUBLISHED, Estimate, Model, Segment
from citybrain.services.traffic.free_speeds import HOUR_US
from citybrain.services.traffic.street_network import Road
from tests.unit.traffic.measuring import of

DAY_US = 24 * HOUR_US
NOW = 20_600 * DAY_US
ROADS = {name: Road("a", 1000, 15.0, "xihu", ()) for name in ("a", "b", "c", "d")}

# -- empirical Bayes ----------------------------------------------------------------------------------------------------------


def test_a_road_with_one_year_of_records_is_estimated_as_in_the_tutorial() -> None:
    one = empirical_bayes.estimate(Segment(1.8, 4000, 1, 12), PUBLISHED)
    assert round(one.like_it, 2) == 4.34 and round(one.weight, 2) == 0.46
    assert (round(one.expected, 2), round(one.deviation, 2)) == (8.48, 2.14)
    assert (round(one.expected / 1.8, 2), round(one.deviation / 1.8, 2)) == (4.71, 1.19)


def test_three_years_of_records_weigh_more_as_in_the_tutorial() -> None:
    one = empirical_bayes.estimate(Segment(1.8, 4000, 3, 12 + 7 + 8), PUBLISHED)
    assert (round(one.expected, 2), round(one.deviation, 2)) == (7.97, 1.44)
    assert (round(one.expected / 1.8, 2), round(one.weight, 3)) == (4.43, 0.221)


@given(st.floats(0.1, 5), st.floats(100, 50_000), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_an_estimate_lies_between_the_record_and_roads_like_it(km: float, daily: float, record: int) -> None:
    one = empirical_bayes.estimate(Segment(km, daily, 1, record), PUBLISHED)
    assert min(record, one.like_it) - 1e-9 <= one.expected <= max(record, one.like_it) + 1e-9 and 0 < one.weight < 1


def test_a_grade_says_how_much_is_expected_beside_roads_like_it_and_how_surely() -> None:
    assert empirical_bayes.grade(Estimate(1.49, 0.0, 1.0, 0.5)) == pb.RISK_GRADE_LOW
    assert empirical_bayes.grade(Estimate(1.5, 0.31, 1.0, 0.5)) == pb.RISK_GRADE_RAISED
    assert empirical_bayes.grade(Estimate(1.5, 0.30, 1.0, 0.5)) == pb.RISK_GRADE_HIGH


def _made(model: Model, roads: int, years: float = 3) -> list[Segment]:
    """Roads whose records are drawn as the model says."""
    by = random.Random(3)
    found = []
    for _ in range(roads):
        km, daily = by.uniform(0.3, 3), by.uniform(2000, 40_000)
        shape = model.overdispersion * km
        rate = by.gammavariate(shape, 1 / shape) * empirical_bayes.like_it(Segment(km, daily, years, 0), model)
        count, passed = 0, by.expovariate(1)
        while passed < rate:
            count, passed = count + 1, passed + by.expovariate(1)
        found.append(Segment(km, daily, years, count))
    return found


def test_a_function_is_learnt_from_the_roads_of_the_city() -> None:
    true = Model(0.004, 0.7, 1.5)
    found = empirical_bayes.fit(_made(true, 400))
    assert found is not None and found.fitted and found.roads == 400
    assert abs(found.b - 0.7) < 0.1 and abs(math.log(found.overdispersion / 1.5)) < 0.3
    at = Segment(1, 15_000, 1, 0)
    assert abs(empirical_bayes.like_it(at, found) / empirical_bayes.like_it(at, true) - 1) < 0.1


def test_of_too_few_roads_or_accidents_nothing_is_learnt() -> None:
    made = _made(Model(0.004, 0.7, 1.5), 30)
    assert empirical_bayes.fit(made) is not None
    assert empirical_bayes.fit(made[:29]) is None
    assert empirical_bayes.fit([Segment(one.km, one.daily, one.years, 0) for one in made]) is None


# -- before and after ---------------------------------------------------------------------------------------------------------


def test_the_effect_of_right_turns_on_red_is_that_of_the_book() -> None:
    found = before_after.ratio(167, 313, 3566, 6121)
    assert (round(found.without, 1), round(found.theta, 3), round(found.deviation, 3)) == (286.6, 1.085, 0.106)
    assert (round(found.low, 2), round(found.high, 2)) == (0.88, 1.29)


def test_an_estimate_with_less_variance_than_a_count_gives_a_narrower_interval() -> None:
    count, estimate = before_after.ratio(50.0, 30, 500, 500), before_after.ratio(50.0, 30, 500, 500, variance=20.0)
    assert estimate.deviation < count.deviation and estimate.without == count.without
    none = before_after.ratio(50.0, 0, 500, 500)
    assert none.theta == 0 and none.high > 0, "none after does not say that there will never be one"


def test_a_difference_of_differences_leaves_out_what_happened_to_both() -> None:
    found = difference_in_differences.shifted([(100.0, 50.0)] * 7, [(95.0, 60.0)] * 7)
    assert (found.effect, found.low, found.high, found.without) == (-15, -15, -15, 110)
    by = random.Random(1)
    noise = [by.gauss(0, 5) for _ in range(40)]
    before = [(100 + one, 50 + one / 2) for one in noise[:20]]
    after = [(90 + one, 50 + one / 2) for one in noise[20:]]
    found = difference_in_differences.shifted(before, after)
    assert found.low < found.effect < found.high < 0 and found.low < -10 < found.high
    assert difference_in_differences.shifted(before, after) == found, "the same days, the same interval"


# -- accidents ----------------------------------------------------------------------------------------------------------------


def accident(name: str, edge_id: str = "a", days_ago: float = 10, **more: Any) -> pb.Accident:
    told: dict[str, Any] = {
        "accident_id": name, "edge_id": edge_id, "happened_at": timestamp(round(NOW - days_ago * DAY_US)),
        "severity": pb.ACCIDENT_SEVERITY_DAMAGE, "causes": [pb.ACCIDENT_CAUSE_SPEED], **more,
    }  # fmt: skip
    return pb.Accident(**told)


LENGTHS = {"a": 1000.0, "b": 1000.0}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"edge_id": "z"}, "accident.edge_id"),
        ({"position_m": 1100}, "accident.position_m"),
        ({"days_ago": -1}, "accident.happened_at"),
        ({"dead": 1, "severity": pb.ACCIDENT_SEVERITY_INJURY}, "accident.severity"),
        ({"injured": 1}, "accident.severity"),
    ],
)
def test_an_accident_that_cannot_be_is_refused_with_its_field(wrong: dict[str, Any], field: str) -> None:
    accidents.check(accident("x", injured=1, severity=pb.ACCIDENT_SEVERITY_INJURY), LENGTHS, NOW)
    with pytest.raises(BadRequest, match=field):
        accidents.check(accident("x", **wrong), LENGTHS, NOW)


def test_an_accident_is_recorded_once_corrected_and_withdrawn() -> None:
    state = accidents.Recorded()
    (told,) = accidents.record(state, accident("x"), "xihu")
    state = accidents.evolve(state, told)
    assert accidents.record(state, accident("x"), "xihu") == [] and accidents.district_of(state) == "xihu"
    with pytest.raises(AlreadyDifferent, match="accident x is recorded otherwise: correct it"):
        accidents.record(state, accident("x", "b"), "xihu")
    right = pb.CorrectAccidentRequest(accident=accident("x", "b"), reason="the other carriageway")
    (event,) = accidents.correct(state, right, "binjiang")
    assert isinstance(event, ev.AccidentCorrected) and (event.old_edge_id, event.district_id) == ("a", "binjiang")
    state = accidents.evolve(state, event)
    assert accidents.correct(state, right, "binjiang") == []
    gone = pb.WithdrawAccidentRequest(accident_id="x", reason="a drill")
    (event,) = accidents.withdraw(state, gone)
    state = accidents.evolve(state, event)
    assert accidents.withdraw(state, gone) == []
    with pytest.raises(Refused, match="was withdrawn"):
        accidents.correct(state, right, "binjiang")
    with pytest.raises(AlreadyDifferent):
        accidents.record(state, accident("x", "b"), "binjiang")
    with pytest.raises(NotFound, match="there is no accident y"):
        accidents.withdraw(accidents.Recorded(), pb.WithdrawAccidentRequest(accident_id="y"))


def test_a_correction_counts_before_the_read_model_has_heard_of_it() -> None:
    known = {"a": [accident("x"), accident("y")]}
    moved = ev.AccidentCorrected(accident=accident("x", "b"), old_edge_id="a")
    assert {edge_id: [one.accident_id for one in each] for edge_id, each in accidents.applied(known, moved).items()} == {
        "a": ["y"], "b": ["x"],
    }  # fmt: skip
    assert [one.accident_id for one in accidents.applied(known, ev.AccidentWithdrawn(accident_id="y"))["a"]] == ["x"]


# -- risk ---------------------------------------------------------------------------------------------------------------------


def days(volume: int = 10_000, number: int = 28) -> road_days.Days:
    return {name: {f"2026-05-{n + 1:02d}": (volume, 1000) for n in range(number)} for name in ROADS}


def known(**counts: int) -> dict[str, list[pb.Accident]]:
    """So many accidents on roads, over two years, the newest first."""
    return {
        edge_id: [accident(f"{edge_id}{n}", edge_id, 10 + 690 * n / max(1, count - 1)) for n in range(count)]
        for edge_id, count in counts.items()
        if count
    }


def graded(**counts: int) -> ev.RiskGraded:
    records = known(**counts)
    years = road_risk.recorded_years(records, NOW)
    some = road_risk.segments(ROADS, days(), records, years, NOW)
    return road_risk.grade("a", ROADS, some, PUBLISHED, records, NOW)


def test_roads_are_graded_with_all_that_a_grade_rests_on() -> None:
    told = graded(a=60, b=6)
    a, b, c, _ = told.roads
    assert (a.edge_id, a.grade, a.recorded, a.vehicles_per_day, a.days, a.district_id) == (
        "a", pb.RISK_GRADE_HIGH, 60, 10_000, 28, "xihu",
    )  # fmt: skip
    one = empirical_bayes.estimate(Segment(1.0, 10_000, a.years, 60), PUBLISHED)
    assert abs(a.expected - one.expected) < 0.1 and abs(a.weight - one.weight) < 0.002
    assert b.grade == c.grade == pb.RISK_GRADE_LOW and c.recorded == 0 and c.expected > 0, "none yet is not none ever"
    assert list(a.causes) == [pb.ACCIDENT_CAUSE_SPEED] and not told.model.fitted and "TRR 1784" in told.model.source


def test_a_road_whose_volume_is_not_known_for_a_week_has_no_grade() -> None:
    records = known(a=10)
    some = road_risk.segments(ROADS, {**days(number=7), "b": days(number=6)["b"], "c": days(0)["c"]}, records, 2, NOW)
    assert sorted(some) == ["a", "d"]
    told = road_risk.grade("a", ROADS, some, PUBLISHED, records, NOW)
    assert ([one.edge_id for one in told.roads], told.without_volume) == (["a", "d"], 2)


def test_accidents_of_longer_ago_than_three_years_do_not_count() -> None:
    records = {"a": [accident("x", days_ago=1000), accident("y", days_ago=2000)]}
    assert road_risk.recorded_years(records, NOW) == 3
    assert road_risk.segments(ROADS, days(), records, 3, NOW)["a"][0].record == 1
    assert road_risk.recorded_years({}, NOW) == 0


def test_a_road_of_high_risk_is_warned_of_once_and_not_any_more_when_records_are_corrected() -> None:
    state = road_risk.Graded()
    events = road_risk.tell(state, graded(a=60, b=6))
    assert [type(one).__name__ for one in events] == ["RiskGraded", "RiskWarned"]
    (warned,) = of(ev.RiskWarned, events)
    assert warned.risk.edge_id == "a" and "most often: speed" in warned.warning
    for event in events:
        state = road_risk.evolve(state, event)
    assert road_risk.tell(state, graded(a=60, b=6)) == []
    events = road_risk.tell(state, graded(a=61, b=6))
    assert [type(one).__name__ for one in events] == ["RiskGraded"]
    events = road_risk.tell(state, graded(a=3, b=6))
    assert [type(one).__name__ for one in events] == ["RiskGraded", "RiskWarningRetracted"]
    (back,) = of(ev.RiskWarningRetracted, events)
    assert (back.edge_id, back.district_id, back.grade) == ("a", "xihu", pb.RISK_GRADE_LOW)


# -- days of roads ------------------------------------------------------------------------------------------------------------


def measured(start: int, **roads: tuple[float, float | None]) -> Heard:
    """A window in which roads had so many vehicles an hour and such a speed."""
    states = []
    for edge_id, (flow, speed) in roads.items():
        one = street.RoadState(edge_id=edge_id, vehicles_per_hour=flow, index=0.2)
        if speed is not None:
            one.speed_mps = speed
        states.append(one)
    stored: Any = None
    window: dict[str, Any] = {"from": timestamp(start), "to": timestamp(start + WINDOW_US)}
    return Heard(ev.StreetMeasured(part_id="a", roads=states, **window), stored)


def test_a_day_of_a_road_is_told_where_four_fifths_of_it_were_measured() -> None:
    midnight = NOW - NOW % DAY_US - 8 * HOUR_US
    on = road_days.day_of(midnight)
    rows: dict[str, road_days.RoadHoursRow | None] = {}
    for number in range(-12, 300):
        start = midnight + number * WINDOW_US
        roads: dict[str, tuple[float, float | None]] = {"a": (600.0 if number % 2 else 300.0, 10.0 if number % 2 else 5.0)}
        if 0 <= number < 231:
            roads["b"] = (100.0, None)
        if 0 <= number < 230:
            roads["c"] = (100.0, 10.0)
        event = measured(start, **roads)
        key = road_days.hour_key(event)
        rows[key] = road_days.hour(rows.get(key), event)
    told = road_days.day("a", [row for row in rows.values() if row is not None], on)
    a, b = told.roads
    assert (a.edge_id, a.vehicles, a.windows) == ("a", 24 * 450, 288)
    assert a.speed_mps == round(900 / (600 / 10 + 300 / 5), 3), "weighted by vehicles, of drives along it"
    assert (b.edge_id, b.windows, b.HasField("speed_mps")) == ("b", 231, False)
    assert road_days.tell(road_days.Told(), told) == [told]
    assert road_days.tell(road_days.Told(told.day), told) == []
    assert road_days.tell(road_days.Told(), ev.RoadDayMeasured(day="2026-01-01")) == []


def test_a_window_that_is_measured_anew_takes_the_place_of_the_old_one_and_an_incomplete_one_of_neither() -> None:
    first = road_days.hour(None, measured(NOW, a=(100.0, 10.0)))
    again = road_days.hour(first, measured(NOW, a=(200.0, 10.0)))
    assert again is not None and again.roads["a"][0] == (200, 1000, 200)
    event = measured(NOW, a=(300.0, 10.0))
    event.data.roads[0].incomplete = True  # type: ignore[attr-defined]
    gone = road_days.hour(again, event)
    assert gone is not None and gone.roads["a"][0] is None
    assert road_days.hour(again, measured(NOW - DAY_US * (road_days.KEPT_DAYS + 1), a=(1.0, 1.0))) is again


def test_months_keep_the_days_of_roads() -> None:
    stored: Any = None
    row = None
    for number in (1, 2, 30):
        told = ev.RoadDayMeasured(part_id="a", day=f"2026-05-{number:02d}")
        told.roads.add(edge_id="a", vehicles=number, speed_mps=10)
        told.roads.add(edge_id="b", vehicles=5)
        row = road_days.month(row, Heard(told, stored))
    assert row is not None
    found = road_days.days([(road_days.month_key(Heard(told, stored)), row)], "2026-05-02", "2026-05-30")
    assert found == {
        "a": {"2026-05-02": (2, 1000), "2026-05-30": (30, 1000)},
        "b": {"2026-05-02": (5, -1), "2026-05-30": (5, -1)},
    }
    assert road_days.volume(found["a"]) == (16, 2)


# -- effects ------------------------------------------------------------------------------------------------------------------

MEASURES = {"accidents": pb.EFFECT_MEASURE_ACCIDENTS, "time": pb.EFFECT_MEASURE_TRAVEL_TIME}


def question(measure: str = "accidents", **more: Any) -> pb.EvaluateEffectRequest:
    told: dict[str, Any] = {
        "evaluation_id": "e1", "what": "a median", "measure": MEASURES[measure], "changed_edge_ids": ["a"],
        "comparison_edge_ids": ["b"], "works_from": "2025-03-01", "works_to": "2025-03-31", "days": 200, **more,
    }  # fmt: skip
    return pb.EvaluateEffectRequest(**told)


TODAY = date(2026, 5, 27)


def happened(edge_id: str, before: int, after: int) -> list[pb.Accident]:
    """So many accidents in the 200 days before the works, and in those after; one in the works that counts in neither."""

    def at(day: date, n: int) -> pb.Accident:
        when = timestamp((day.toordinal() - date(1970, 1, 1).toordinal()) * DAY_US + 4 * HOUR_US)
        return accident(f"{edge_id}-{day}-{n}", edge_id, happened_at=when)

    first, last = date(2024, 8, 13), date(2025, 4, 1)
    found = [at(date.fromordinal(first.toordinal() + n % 200), n) for n in range(before)]
    found += [at(date.fromordinal(last.toordinal() + n % 200), n) for n in range(after)]
    return [*found, at(date(2025, 3, 10), 0)]


def evaluated(before: int, after: int, compared: tuple[int, int] = (100, 110), volume: int | None = 20_000) -> pb.Effect:
    request = question()
    when = effects.span(request, TODAY)
    records = {"a": happened("a", before, after), "b": happened("b", *compared)}
    measured_days = {"a": {f"2024-12-{n + 1:02d}": (volume, 1000) for n in range(20)}} if volume else {}
    return effects.of_accidents(request, when, ROADS, measured_days, records, date(2024, 1, 1), PUBLISHED)


def test_the_effect_on_accidents_is_corrected_for_regression_to_the_mean() -> None:
    found = evaluated(30, 20)
    assert (found.changed_before, found.changed_after, found.comparison_before, found.comparison_after) == (30, 20, 100, 110)
    plain = before_after.ratio(30, 20, 100, 110)
    assert found.uncorrected == round(plain.theta, 4) < found.effect, "a part of it would have come by itself"
    one = empirical_bayes.estimate(Segment(1.0, 20_000, 200 / 365.25, 30), PUBLISHED)
    years = 200 / 365.25
    right = before_after.ratio(one.expected * years, 20, 100, 110, (one.deviation * years) ** 2)
    assert (found.effect, found.low, found.high) == (round(right.theta, 4), round(right.low, 4), round(right.high, 4))
    assert found.may_be_nothing == (right.low <= 1 <= right.high) and "empirical Bayes" in found.method
    assert "corrected for by empirical Bayes" in found.regression_to_the_mean


def test_where_the_volume_is_not_known_it_is_said_that_regression_to_the_mean_is_not_corrected_for() -> None:
    found = evaluated(30, 20, volume=None)
    assert found.regression_to_the_mean.startswith("not corrected for") and not found.HasField("uncorrected")
    assert found.effect == round(before_after.ratio(30, 20, 100, 110).theta, 4)


@pytest.mark.parametrize(
    ("before", "after", "compared", "reason"),
    [(30, 20, (19, 50), "TOO_FEW_COMPARED"), (30, 20, (50, 19), "TOO_FEW_COMPARED"), (0, 1, (50, 20), "TOO_FEW_EXPECTED")],
)
def test_too_few_accidents_are_refused_with_the_reason(before: int, after: int, compared: tuple[int, int], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        evaluated(before, after, compared, volume=50)
    assert refused.value.reason == reason


def test_a_period_before_anything_was_recorded_or_that_is_not_over_is_refused() -> None:
    request = question()
    with pytest.raises(Refused, match="accidents are recorded since 2024-09-01") as refused:
        effects.of_accidents(request, effects.span(request, TODAY), ROADS, {}, {}, date(2024, 9, 1), PUBLISHED)
    assert refused.value.reason == "NOT_RECORDED"
    assert effects.span(request, date(2025, 10, 18)).after == (date(2025, 4, 1), date(2025, 10, 17))
    with pytest.raises(Refused, match="the 200 days after the works end on 2025-10-17") as refused:
        effects.span(request, date(2025, 10, 17))
    assert refused.value.reason == "NOT_OVER"
    assert effects.span(request, TODAY).before == (date(2024, 8, 13), date(2025, 2, 28))


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"changed_edge_ids": ["z"]}, r"changed_edge_ids\[0\]"),
        ({"comparison_edge_ids": ["b", "z"]}, r"comparison_edge_ids\[1\]"),
        ({"comparison_edge_ids": ["a"]}, "comparison_edge_ids"),
    ],
)
def test_a_question_about_roads_that_cannot_be_compared_is_refused(wrong: dict[str, Any], field: str) -> None:
    effects.check(question(), ROADS)
    with pytest.raises(BadRequest, match=field):
        effects.check(question(**wrong), ROADS)


@pytest.mark.parametrize(
    ("wrong", "field"), [({"works_from": "2025-02-30"}, "works_from"), ({"works_to": "2025-02-28"}, "works_to")]
)
def test_works_of_no_day_or_that_end_before_they_begin_are_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest, match=field):
        effects.span(question(**wrong), TODAY)


def speeds(first: str, number: int, cm_s: int) -> dict[str, tuple[int, int]]:
    begin = date.fromisoformat(first).toordinal()
    return {date.fromordinal(begin + n).isoformat(): (1000, cm_s + 10 * (n % 3)) for n in range(number)}


def test_the_effect_on_travel_times_is_a_difference_of_differences_over_days_on_which_all_were_measured() -> None:
    request = question("time", changed_edge_ids=["a", "c"], comparison_edge_ids=["b"], days=20)
    when = effects.span(request, TODAY)
    fast = {**speeds("2025-02-09", 20, 1000), **speeds("2025-04-01", 20, 1250)}
    same = {**speeds("2025-02-09", 20, 1000), **speeds("2025-04-01", 20, 1000)}
    found = effects.of_travel_times(request, when, ROADS, {"a": fast, "c": same, "b": same})
    # 100 s become 80 s on one of two kilometres.
    assert -21 < found.effect < -19 and found.low <= found.effect <= found.high < 0 and not found.may_be_nothing
    assert (found.changed_before, found.changed_after) == (20, 20) and found.regression_to_the_mean.startswith("not corrected")
    gone = {name: one for name, one in same.items() if name < "2025-04-07"}
    with pytest.raises(Refused, match="6 days after the works were measured on all roads") as refused:
        effects.of_travel_times(request, when, ROADS, {"a": fast, "c": same, "b": gone})
    assert refused.value.reason == "TOO_FEW_DAYS"


def test_an_evaluation_is_published_once_and_answers_its_question_only() -> None:
    state = effects.Evaluated()
    (told,) = effects.tell(state, question(), pb.Effect(effect=0.8))
    state = effects.evolve(state, told)
    assert effects.tell(state, question(), pb.Effect(effect=0.9)) == []
    assert effects.existing(state, "e1").effect.effect == 0.8
    with pytest.raises(AlreadyDifferent, match="evaluation e1 has another question"):
        effects.tell(state, question(days=100), pb.Effect())
    with pytest.raises(NotFound, match="there is no evaluation e2"):
        effects.existing(effects.Evaluated(), "e2")
