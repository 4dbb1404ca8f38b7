"""What is learnt and forecast of a place: told, replaced, retracted, and why nothing is."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np
import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds
from citybrain.services.tourism import hours, peaks
from citybrain.services.tourism import seasonal_autoregression as method
from citybrain.services.tourism.holiday_table import Table
from citybrain.services.tourism.hours import DAY, HOUR, Numbers
from tests.unit.tourism.conftest import place
from tests.unit.tourism.hour_series import FIRST, people

CHINA = Table("CN")
DAYS = 70
END = hours.first_hour(FIRST) + DAYS * DAY
"""The hour after those that are known."""

HOUR_AHEAD, DAY_AHEAD = pb.HORIZON_HOUR, pb.HORIZON_DAY


@cache
def learnt(days: int = DAYS, first: date = FIRST) -> ev.ForecastLearnt:
    return peaks.learn(place(), peaks.History(first, people(DAYS)[: days * DAY], 48, days), CHINA)


def found(series: Numbers | None = None, first: date = FIRST, known: ev.ForecastLearnt | None = None) -> list[pb.Forecast]:
    """What is forecast after ten weeks that began on a day."""
    end = hours.first_hour(first) + DAYS * DAY
    newest = (people(DAYS) if series is None else series)[-method.WINDOW :]
    return peaks.forecasts(place(), known or learnt(), end, newest, CHINA)


def after(told: peaks.Told, events: list[Message]) -> peaks.Told:
    for event in events:
        told = peaks.evolve(told, event)
    return told


@cache
def told() -> peaks.Told:
    """Learnt and forecast."""
    state = after(peaks.Told(), peaks.take_in(peaks.Told(), learnt()))
    return after(state, peaks.tell(state, "xihu", found()))


def none(state: peaks.Told, now: int, known: int = 0) -> list[pb.NoForecast]:
    return [peaks.shown(state, horizon, now, known).none for horizon in peaks.AHEAD]


def test_a_year_of_days_is_learnt_from_with_gaps_where_a_day_is_missing() -> None:
    all_days = [(FIRST + timedelta(days=number), [number] * DAY, 3) for number in range(400) if number != 397]
    found = peaks.history(all_days, 399)
    assert (found.first, len(found.people), found.imported, found.told) == (FIRST + timedelta(days=35), 365 * DAY, 364 * 3, 399)
    assert found.people[0] == 35 and found.people[-1] == 399
    assert np.isnan(found.people[-3 * DAY : -2 * DAY]).all()


def test_what_is_learnt_says_what_it_rests_on() -> None:
    basis = learnt().basis
    assert (basis.hours, basis.missing_hours, basis.imported_hours) == (DAYS * DAY, 0, 48)
    assert microseconds(basis.first_hour) == hours.first_hour(FIRST) * HOUR
    assert microseconds(basis.last_hour) == (END - 1) * HOUR
    assert (basis.holidays, basis.holidays_until) == (CHINA.name, CHINA.until.isoformat())
    hour, day = learnt().horizons
    assert (hour.horizon, day.horizon, hour.used, day.used) == (HOUR_AHEAD, DAY_AHEAD, True, True)
    assert 0 < hour.score.mase < day.score.mase < day.score.naive_mase
    assert microseconds(hour.score.to) - microseconds(getattr(hour.score, "from")) == 17 * DAY * HOUR


def test_the_peak_is_the_fullest_of_the_next_hours_with_its_share_of_the_capacity() -> None:
    hour, day = found()
    assert (len(hour.hours), len(day.hours)) == (1, 24)
    assert microseconds(day.made_from) == microseconds(day.hours[0].hour) == microseconds(hour.peak_hour) == END * HOUR
    fullest = max(day.hours, key=lambda one: one.people)
    assert (day.people, day.peak_hour, day.lower, day.upper) == (
        fullest.people, fullest.hour, fullest.lower, fullest.upper,
    )  # fmt: skip
    assert 300 < day.people < 700
    assert (day.capacity, day.share) == (1000, day.people / 10)
    assert day.score == learnt().horizons[1].score and day.basis == learnt().basis and day.method == method.METHOD


@pytest.mark.parametrize(("capacity", "level", "at_most"), [(1.0, 100, 100), (1.05, 90, 100), (1.12, 80, 100), (1.3, 0, 90)])
def test_a_peak_reaches_the_level_of_its_people_and_perhaps_that_of_its_interval(
    capacity: float, level: int, at_most: int
) -> None:
    peak = found()[1].people
    small = place(parts=[place().parts[0]], counters=[place().counters[0]])
    small.parts[0].area_m2, small.parts[0].m2_per_person = int(peak * capacity) * 2.5, 2.5
    newest = people(DAYS)[-method.WINDOW :]
    day = peaks.forecasts(small, learnt(), END, newest, CHINA)[1]
    assert (day.level, day.level_at_most) == (level, at_most)


def test_where_the_table_of_holidays_ends_the_forecast_says_so_and_is_less_sure() -> None:
    first = date.fromordinal(CHINA.until.toordinal() + 1 - DAYS)
    here, beyond = found(), found(first=first)
    assert here[1].holidays_known and not beyond[1].holidays_known
    assert not any(one.holidays_known for one in beyond[1].hours)
    for sure, unsure in zip(here[1].hours, beyond[1].hours, strict=True):
        assert unsure.upper - unsure.lower > 1.2 * (sure.upper - sure.lower)
    # The last hours of the last day are known, the first ones after them are not.
    end = hours.first_hour(first) + DAYS * DAY - 5
    across = peaks.forecasts(place(), learnt(), end, people(DAYS)[-method.WINDOW - 5 : -5], CHINA)
    assert [one.holidays_known for one in across[1].hours] == [True] * 5 + [False] * 19
    assert across[0].holidays_known


def test_a_forecast_from_a_later_hour_takes_the_place_of_the_one_before() -> None:
    state, later = told(), found()
    for one in later:
        one.made_from.seconds += 3600
    events = peaks.tell(state, "xihu", later)
    assert [type(event) for event in events] == [ev.PeakForecast, ev.PeakForecast]
    assert after(state, events).standing == {HOUR_AHEAD: later[0], DAY_AHEAD: later[1]}
    # What is older than it comes too late.
    assert peaks.tell(after(state, events), "xihu", found()) == []


def test_the_same_again_is_not_told_and_what_does_not_follow_any_more_is_retracted() -> None:
    assert peaks.tell(told(), "xihu", found()) == []
    corrected = people(DAYS)
    corrected[-1] *= 1.5
    events = peaks.tell(told(), "xihu", found(corrected))
    assert [type(event) for event in events] == [ev.PeakForecastRetracted, ev.PeakForecast] * 2
    gone = events[0]
    assert isinstance(gone, ev.PeakForecastRetracted)
    before = told().standing[HOUR_AHEAD]
    assert (gone.people, gone.made_from, gone.peak_hour) == (before.people, before.made_from, before.peak_hour)
    assert "counts" in gone.reason


def test_of_a_place_that_was_changed_the_peaks_are_told_anew() -> None:
    smaller = place(parts=[place().parts[0]], counters=[place().counters[0]])
    events = peaks.tell(told(), "xihu", peaks.forecasts(smaller, learnt(), END, people(DAYS)[-method.WINDOW :], CHINA))
    assert [event.reason for event in events if isinstance(event, ev.PeakForecastRetracted)] == ["the place was changed"] * 2


def test_what_is_learnt_in_the_night_is_for_the_forecasts_from_the_next_hour_on() -> None:
    newer = ev.ForecastLearnt()
    newer.CopyFrom(learnt())
    newer.days_told, newer.basis.hours, newer.coefficients[0] = 71, 1704, 5.0
    state = after(told(), peaks.take_in(told(), newer))
    again = found(known=newer)
    assert again != found()
    assert peaks.tell(state, "xihu", again) == []


def test_forecasts_that_are_not_better_than_the_naive_one_any_more_are_taken_back() -> None:
    worse = ev.ForecastLearnt()
    worse.CopyFrom(learnt())
    worse.days_told, worse.horizons[0].used = 71, False
    events = peaks.take_in(told(), worse)
    assert [type(event) for event in events] == [ev.ForecastLearnt, ev.PeakForecastRetracted]
    state = after(told(), events)
    assert set(state.standing) == {DAY_AHEAD}
    hour, _ = none(state, END * HOUR)
    assert hour.reason == pb.NO_FORECAST_REASON_NOT_BETTER_THAN_NAIVE
    assert hour.score == worse.horizons[0].score
    assert f"{worse.horizons[0].score.naive_mase:.2f}" in hour.detail
    assert [one.horizon for one in found(known=worse)] == [DAY_AHEAD]


def test_what_was_learnt_from_less_comes_too_late() -> None:
    assert peaks.take_in(told(), learnt()) == []


def test_three_days_of_history_are_refused_with_how_many_hours_are_needed() -> None:
    for state, known in ((peaks.Told(), 72), (after(peaks.Told(), peaks.take_in(peaks.Told(), learnt(3))), 0)):
        for one in none(state, END * HOUR, known):
            assert one.reason == pb.NO_FORECAST_REASON_TOO_LITTLE_HISTORY
            assert (one.hours, one.hours_needed) == (72, 8 * 168)
            assert "72 hours are known, and 1344" in one.detail


def test_eight_weeks_of_which_too_little_was_counted_are_no_history_that_will_be_learnt() -> None:
    series = people(DAYS)
    series[: 19 * DAY] = np.nan
    few = peaks.learn(place(), peaks.History(FIRST, series, 0, DAYS), CHINA)
    assert not few.horizons and few.basis.hours < 8 * 168
    enough = ev.ForecastLearnt()
    enough.CopyFrom(few)
    enough.basis.hours, enough.basis.missing_hours = 1344, 400
    for one in none(after(peaks.Told(), peaks.take_in(peaks.Told(), enough)), END * HOUR):
        assert one.reason == pb.NO_FORECAST_REASON_TOO_LITTLE_HISTORY


def test_why_nothing_is_forecast_of_a_horizon_is_said_with_its_own_figures() -> None:
    worse = ev.ForecastLearnt()
    worse.CopyFrom(learnt())
    for one in worse.horizons:
        one.used = False
    said = none(after(peaks.Told(), peaks.take_in(peaks.Told(), worse)), END * HOUR)
    assert [one.reason for one in said] == [pb.NO_FORECAST_REASON_NOT_BETTER_THAN_NAIVE] * 2
    assert [one.score for one in said] == [one.score for one in worse.horizons] and said[0].score != said[1].score


def test_what_will_be_learnt_within_minutes_is_said_to_be() -> None:
    assert none(peaks.Told(), 0, 1344)[0].reason == pb.NO_FORECAST_REASON_NOT_LEARNT


def test_a_forecast_is_shown_until_the_next_one_is_long_due() -> None:
    for wait, there in ((0, True), (2 * HOUR - 1, True), (2 * HOUR, False)):
        shown = peaks.shown(told(), DAY_AHEAD, END * HOUR + wait, 0)
        assert shown.HasField("forecast") is there
    assert shown.none.reason == pb.NO_FORECAST_REASON_HISTORY_STOPPED


def test_nothing_is_forecast_without_the_newest_hour_nor_with_a_quarter_of_the_day_missing() -> None:
    for gone in ([-1], range(-8, -1)):
        series = people(DAYS)
        series[list(gone)] = np.nan
        assert found(series) == []
    series[-8] = 300
    assert len(found(series)) == 2
    # Nor where an hour of the week was not counted once in six weeks: nobody knows what is usual then.
    series = people(DAYS)
    series[[-168 * week + 5 for week in range(1, 7)]] = np.nan
    assert found(series) == []
