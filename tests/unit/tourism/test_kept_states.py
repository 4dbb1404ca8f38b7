"""What a process keeps of a place while it is down: a place goes on from there."""

from __future__ import annotations

from citybrain.mesh.storage.state_packing import pack_state, unpack_state
from citybrain.services.tourism import counting, offers, opinions, peaks
from tests.unit.tourism import test_opinion, test_peaks
from tests.unit.tourism.conftest import HALL
from tests.unit.tourism.test_counting import Story, told


def test_a_place_that_is_taken_up_again_goes_on_with_its_minutes_and_levels() -> None:
    story = Story()
    for minute in range(62):
        story.count(minute, a=4000 if minute > 59 else 300, b=250, c=250)
    taken_up = unpack_state(counting.State, pack_state(story.state))
    assert taken_up == story.state
    story.state = taken_up
    assert {("-full", 60, 80, 100), (f"-{HALL}", 60, 1, 4)} <= set(told(story.count(60, a=300)))


def test_an_offer_that_is_taken_up_again_is_the_same() -> None:
    assert unpack_state(offers.State, pack_state(offers.State())) == offers.State()


def test_what_is_forecast_of_a_place_is_the_same_after_it_is_taken_up_again() -> None:
    before = test_peaks.told()
    after = unpack_state(peaks.Told, pack_state(before))
    assert after == before
    assert peaks.tell(after, "xihu", test_peaks.found()) == []


def test_what_was_said_on_a_day_and_its_risks_are_the_same_after_it_is_taken_up_again() -> None:
    events = opinions.sort(opinions.Day(), test_opinion.posts(8, 12), test_opinion.WHERE)
    day = test_opinion.after(opinions.Day(void=frozenset({"y"})), events)
    after = unpack_state(opinions.Day, pack_state(day))
    assert after == day and after.risks
    assert opinions.sort(after, test_opinion.posts(8, 12), test_opinion.WHERE) == []
