"""The stories are played in one city, one after the other: what is hidden is found, and on quiet days nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from citybrain.simulation.gateway_client import Gateway
from citybrain.stories.burst import check as burst_check
from citybrain.stories.burst import plan as burst_plan
from citybrain.stories.burst import run as burst
from citybrain.stories.crowd import check as crowd_check
from citybrain.stories.crowd import plan as crowd_plan
from citybrain.stories.crowd import run as crowd
from citybrain.stories.driven import driven_city
from citybrain.stories.pollution import check as pollution_check
from citybrain.stories.pollution import plan as pollution_plan
from citybrain.stories.pollution import run as pollution
from citybrain.stories.rush import check as rush_check
from citybrain.stories.rush import run as rush
from citybrain.stories.sheet import Check

pytestmark = pytest.mark.envoy

DAY_S = 86_400


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with driven_city(tmp_path_factory.mktemp("city") / "data", 1, print) as gateway:
        yield gateway


def wrong(checks: list[Check]) -> list[str]:
    return [f"{check.what.english}: {check.found}" for check in checks if not check.holds]


def test_a_hidden_source_is_found_and_followed_to_its_sanction_and_on_a_quiet_day_nothing_is_raised(gateway: Gateway) -> None:
    hidden = pollution.play_in(gateway, pollution_plan.made(1), print)
    assert not wrong(pollution_check.checks(hidden))
    quiet = pollution.play_in(gateway, pollution_plan.made(1, quiet=True), print, midnight=3 * DAY_S)
    assert not wrong(pollution_check.checks(quiet))


def test_a_burst_is_found_shut_off_and_told_and_in_another_network_nothing_is(gateway: Gateway) -> None:
    found = burst.play_in(gateway, burst_plan.made(2), print, midnight=5 * DAY_S)
    assert not wrong(burst_check.checks(found))
    # What belongs to no district is heard on the stream of each, and happened once.
    happened = [text.english for _, text in found.happened]
    assert len(happened) == len(set(happened))
    quiet = burst.play_in(gateway, burst_plan.made(2, quiet_hours=4), print, midnight=8 * DAY_S)
    assert not wrong(burst_check.checks(quiet))


def test_a_surge_is_seen_led_off_and_reviewed_and_in_an_ordinary_hour_nothing_is_raised(gateway: Gateway) -> None:
    # The sixth seed is a show of every week, which draws people together dangerously close.
    surge = crowd.play_in(gateway, crowd_plan.made(6), print, after=11 * DAY_S)
    assert not wrong(crowd_check.checks(surge))
    assert surge.called and surge.most < surge.plan.would_be * surge.holds
    quiet = crowd_plan.made(6, quiet=True)
    ordinary = crowd.play_in(gateway, replace(quiet, end=quiet.begin + 30), print, after=21 * DAY_S, history=False)
    assert not wrong(crowd_check.checks(ordinary))


def test_a_rush_hour_takes_everybody_less_time_with_the_city_and_leaves_every_signal_in_its_plan(tmp_path: Path) -> None:
    driven = rush.play(rush.Morning("cologne8", 1, minutes=8), tmp_path / "data", print)
    assert not wrong(rush_check.checks(driven))
    assert driven.mean_s(rush.CITY) < driven.mean_s(rush.PLAN)
