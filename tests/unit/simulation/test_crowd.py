"""People at a lake: the hours of a real city centre, a surge, and what visitors and gates do with what they are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from citybrain.simulation import crowd
from citybrain.simulation.crowd import SITES, Hour, Lake, Surge, Told

FIRST = date(2024, 2, 5)
HERE = SITES[0]


@pytest.fixture(scope="module")
def hours() -> dict[str, dict[Hour, int]]:
    return crowd.counted()


def lake(hours: dict[str, dict[Hour, int]], surge: Surge | None = None) -> Lake:
    day = FIRST + timedelta(days=80)
    return Lake(1, {sensor: tuple(known[Hour(day, hour)] for hour in range(24)) for sensor, known in hours.items()}, surge)


def test_sixteen_whole_weeks_of_six_sensors_are_there(hours: dict[str, dict[Hour, int]]) -> None:
    assert set(hours) == {site.sensor for site in SITES}
    wanted = [Hour(FIRST + timedelta(days=day), hour) for day in range(112) for hour in range(24)]
    assert all(sorted(known) == wanted and min(known.values()) >= 0 for known in hours.values())
    # As the package has them: Monday, the 5th of February 2024, from 7 to 8 in the morning.
    assert hours["30 Queen Street"][Hour(FIRST, 7)] == 515


def test_no_ordinary_hour_comes_near_what_a_site_holds(hours: dict[str, dict[Hour, int]]) -> None:
    holds = crowd.capacities(hours)
    for site in SITES:
        fullest = crowd.usually(site, max(hours[site.sensor].values())) / holds[site.site_id]
        assert 0.6 < fullest < 0.64


def test_a_day_without_a_surge_goes_as_the_hours_say(hours: dict[str, dict[Hour, int]]) -> None:
    played = lake(hours)
    played.begin(600)
    for minute in range(600, 780):
        played.pass_minute(minute, {})
    usual = crowd.usually(HERE, played.hours[HERE.sensor][12])
    assert 0.8 < played.there[HERE.site_id].people / usual < 1.2


def test_a_surge_rises_to_its_middle_and_the_same_people_set_out_whatever_is_told(hours: dict[str, dict[Hour, int]]) -> None:
    surge = Surge(HERE.site_id, 660, 720, 500, crowd.CLOSE)
    assert (surge.at(659), surge.at(720)) == (0, 0)
    assert surge.at(689) == pytest.approx(surge.at(690)) and surge.at(689) > surge.at(670) > 0
    alone = crowd.without_anybody(lake(hours, surge), HERE.site_id, 600, 720)
    usual = crowd.without_anybody(lake(hours), HERE.site_id, 600, 720)
    assert alone[:60] == usual[:60] and alone[-1] > 2 * usual[-1]
    assert alone == crowd.without_anybody(lake(hours, surge), HERE.site_id, 600, 720)


def minute_of(hours: dict[str, dict[Hour, int]], told: Told) -> crowd.There:
    """What one minute is, where this is told at the first site."""
    played = lake(hours)
    played.begin(720)
    played.pass_minute(720, {HERE.site_id: told})
    return played.there[HERE.site_id]


def test_a_closed_gate_lets_nobody_in_and_fewer_come_where_they_are_told_to_go_elsewhere(
    hours: dict[str, dict[Hour, int]],
) -> None:
    usual, stopped = minute_of(hours, Told()), minute_of(hours, Told(entry_stopped=True))
    assert (stopped.let_in, stopped.turned_away) == (0, usual.came)
    elsewhere = minute_of(hours, Told(elsewhere=(SITES[1].site_id,)))
    assert elsewhere.came == pytest.approx(usual.came * (1 - crowd.GO_ELSEWHERE))
    paused = minute_of(hours, Told(booking_paused=True))
    assert paused.came == pytest.approx(usual.came * (1 - crowd.DO_NOT_BOOK))


def test_people_who_are_led_apart_stay_apart(hours: dict[str, dict[Hour, int]]) -> None:
    played = lake(hours, Surge(HERE.site_id, 720, 780, 300, crowd.VERY_CLOSE))
    played.begin(720)
    share = []
    for minute in range(720, 780):
        played.pass_minute(minute, {HERE.site_id: Told(disperses=755 <= minute < 760)})
        now = played.there[HERE.site_id]
        share.append(now.narrow / now.people)
    # All at once in the middle of the surge.
    assert share[29] == pytest.approx(crowd.NARROW, abs=0.05) and share[34] > 0.7
    assert share[39] < 0.35 and share[-1] < 0.3


def test_counters_see_everybody_once() -> None:
    there = crowd.There(people=100.4, narrow=25.6)
    assert crowd.counts(there) == (26, 74)
    assert crowd.counts(replace(there, people=20)) == (26, 0)
