"""Peaks of crowds: what begins one, how it stands, what ends it, and what is taken back."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import forecasts_pb2 as fc
from citybrain.tourism.v1 import peaks_pb2 as pk
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.storage.state_packing import pack_state, unpack_state
from citybrain.services.tourism import counting, crowds
from citybrain.services.tourism.telemetry import MINUTE
from tests.unit.tourism.conftest import HALL, LAWN, place
from tests.unit.tourism.test_counting import PEAKS, M, Story

# M is 20 minutes after the beginning of an hour.
HOUR = M // 60 * 60


class Crowds(Story):
    """A place for 1,000 people (400 in the hall, of 1,000 m²), and what is told of its peaks."""

    def people(self, minute: int, people: int, second: int = 0) -> list[Any]:
        """So many are there, few of them in the hall."""
        return self.heard(self.count_all(minute, second, a=min(people, 100), b=max(0, people - 100), c=0))

    def crowded(self, minute: int, hall: int) -> list[Any]:
        """So many stand in the hall, nobody elsewhere."""
        return self.heard(self.count_all(minute, a=hall, b=0, c=0))

    def calm(self, first: int, minutes: int) -> list[Any]:
        return [one for minute in range(first, first + minutes) for one in self.people(minute, 100)]

    def expects(self, people: float, level: int, hours_from_m: int = 1, horizon: int = 1, at: int = 0) -> list[Any]:
        """A forecast, at a minute after M, of an hour that begins so many hours after that in which M is."""
        assert self.state.place is not None
        expected = pk.ExpectedPeak(
            hour=timestamp((HOUR + 60 * hours_from_m) * MINUTE), horizon_hours=horizon, people=people, low=people - 100,
            high=people + 100, level=level,
        )  # fmt: skip
        now = (M + at) * MINUTE
        below = [(HOUR + 60 * hours_from_m) * MINUTE] if not level else []
        made = crowds.expect(self.state.peaks, self.state.place, self.state.minutes, 1000, expected, below, now)
        return self.heard(self._go(made))

    def heard(self, events: list[Message]) -> list[Any]:
        return [one for one in events if isinstance(one, PEAKS)]


def names(events: list[Any]) -> list[str]:
    return [type(one).__name__ for one in events]


def test_a_level_that_nobody_has_seen_coming_begins_a_peak_with_what_the_place_needs() -> None:
    story = Crowds(place(parking_lot_ids=["lot-1"], elsewhere_ids=["p2"]))
    assert story.people(0, 799) == []
    (began,) = story.people(1, 800)
    assert (began.level, began.people, began.capacity, began.district_id) == (80, 800, 1000, "xihu")
    assert (list(began.parking_lot_ids), list(began.elsewhere_ids)) == (["lot-1"], ["p2"])
    assert not began.HasField("expected") and began.began_at == timestamp((M + 1) * MINUTE)
    assert story.people(2, 810) == [], "it stands as it was told"


def test_each_change_of_level_is_told_with_a_number_of_its_own() -> None:
    story = Crowds()
    story.people(0, 800)
    told = [one for minute, people in enumerate((950, 1010, 950, 850, 750, 650), 1) for one in story.people(minute, people)]
    assert [(one.number, one.level) for one in told] == [(1, 90), (2, 100), (3, 90), (4, 80), (5, 0)]
    (peak,) = story.state.peaks.open.values()
    assert peak.calm_since == M + 6
    story.people(7, 850)
    story.people(8, 950)
    assert next(iter(story.state.peaks.open.values())).calm_since == M + 6, "it is not calm"
    assert len({one.peak_id for one in told}) == 1 and not any(one.corrected for one in told)


def test_people_who_touch_begin_a_peak_at_any_level_and_where_is_told() -> None:
    # A lawn for 10,000 people beside a hall of 1,000 m².
    lawn = pb.Part(part_id=LAWN, name="草坪", area_m2=50_000, m2_per_person=5)
    story = Crowds(place(parts=[place().parts[0], lawn]))
    assert story.crowded(0, 3569) == []
    (began,) = story.crowded(1, 3570)
    assert (began.level, began.closest, began.part_id) == (0, pb.DENSITY_LEVEL_CONTACT, HALL)
    (changed,) = story.crowded(2, 5550)
    assert (changed.level, changed.closest, changed.part_id) == (0, pb.DENSITY_LEVEL_DANGEROUS, HALL)
    (changed,) = story.crowded(3, 3570)
    assert (changed.level, changed.closest) == (0, pb.DENSITY_LEVEL_CONTACT)
    assert [one for number in range(4, 40) for one in story.crowded(number, 3570)] == [], "it is not calm while people touch"
    (changed,) = story.crowded(40, 100)
    assert (changed.closest, changed.part_id) == (pb.DENSITY_LEVEL_UNSPECIFIED, "")


def test_it_is_over_when_it_has_been_calm_for_half_an_hour_and_says_how_many_there_were() -> None:
    story = Crowds()
    story.people(0, 820)
    story.people(1, 870)
    assert names(story.people(2, 100)) == ["PeakChanged"]
    assert story.calm(3, 29) == []
    (ended,) = story.calm(32, 1)
    assert (ended.most_people, ended.most_at) == (870, timestamp((M + 1) * MINUTE))
    assert (list(ended.forecasts), ended.reason) == ([], crowds.CALMED)
    (again,) = story.people(33, 900)
    assert again.peak_id != ended.peak_id


def test_who_comes_back_within_half_an_hour_is_of_the_same_peak() -> None:
    story = Crowds()
    (began,) = story.people(0, 820)
    story.people(1, 100)
    story.calm(2, 28)
    (changed,) = story.people(30, 820)
    assert changed.peak_id == began.peak_id
    story.people(31, 100)
    assert story.calm(32, 29) == [] and names(story.calm(61, 1)) == ["PeakEnded"]


def test_the_most_people_are_known_also_of_minutes_that_are_long_gone() -> None:
    story = Crowds()
    story.people(0, 990)
    for minute in range(1, 75):
        story.people(minute, 850)
    story.people(75, 100)
    (ended,) = story.calm(76, 30)
    assert (ended.most_people, ended.most_at) == (990, timestamp(M * MINUTE))


# -- forecasts ----------------------------------------------------------------------------------------------------------------


def test_a_forecast_of_a_level_begins_a_peak_a_day_ahead_and_one_below_begins_none() -> None:
    story = Crowds()
    assert story.expects(700, 0, hours_from_m=24, horizon=24) == []
    (began,) = story.expects(950, 90, hours_from_m=24, horizon=24)
    assert (began.expected.people, began.expected.horizon_hours, began.level) == (950, 24, 0)
    assert story.expects(950, 90, hours_from_m=24, horizon=24) == [], "the same again"


def test_a_nearer_forecast_confirms_it_and_the_end_waits_for_its_hour() -> None:
    story = Crowds()
    story.expects(950, 90, horizon=24)
    (changed,) = story.expects(1020, 100)
    assert [one.horizon_hours for one in changed.expected] == [1, 24]
    # The hour that is expected ends 100 minutes after M.
    story.people(10, 870)
    story.people(11, 100)
    assert story.calm(12, 118) == [], "half an hour after its hour the peak is over"
    (ended,) = story.calm(130, 1)
    assert [(one.horizon_hours, one.people) for one in ended.forecasts] == [(24, 950), (1, 1020)]


def test_of_each_horizon_the_first_forecast_is_reviewed_and_the_last_one_stands() -> None:
    story = Crowds()
    story.expects(950, 90, horizon=24)
    story.expects(990, 90, horizon=24)
    story.people(0, 870)
    (peak,) = crowds.show(story.state.peaks, story.state.minutes)
    assert [one.people for one in peak.expected] == [990]
    (over,) = ended(story)
    assert isinstance(over, ev.PeakEnded) and [one.people for one in over.forecasts] == [950]


def test_a_forecast_that_is_taken_back_before_anybody_came_retracts_the_peak() -> None:
    story = Crowds()
    story.expects(950, 90, horizon=24)
    changed, retracted = story.expects(600, 0)
    assert (list(changed.expected), retracted.reason) == ([], crowds.TAKEN_BACK)
    assert story.state.peaks.open == {}


def test_a_forecast_that_is_taken_back_while_they_are_there_changes_only_what_is_expected() -> None:
    story = Crowds()
    story.expects(950, 90)
    story.people(0, 870)
    (changed,) = story.expects(600, 0)
    assert (list(changed.expected), changed.level) == ([], 80)
    assert len(story.state.peaks.open) == 1


def test_a_farther_forecast_does_not_take_a_nearer_one_back() -> None:
    story = Crowds()
    story.expects(950, 90)
    assert story.expects(600, 0, horizon=24) == []


def test_a_forecast_of_a_day_takes_back_what_it_expected_of_an_hour_that_is_below_now() -> None:
    story = Crowds()
    (began,) = story.expects(950, 90, hours_from_m=10, horizon=24)
    assert story.state.place is not None
    later = pk.ExpectedPeak(hour=timestamp((HOUR + 60 * 24) * MINUTE), horizon_hours=24, people=990, level=90)
    below = [(HOUR + 60 * hour) * MINUTE for hour in range(1, 24)]
    made = crowds.expect(story.state.peaks, story.state.place, {}, 1000, later, below, M * MINUTE)
    changed, retracted, other = story.heard(story._go(made))
    assert (changed.peak_id, retracted.peak_id) == (began.peak_id, began.peak_id)
    assert (other.expected.people, len(story.state.peaks.open)) == (990, 1)


def test_a_forecast_that_was_retracted_does_not_stand_any_more_and_the_others_do() -> None:
    story = Crowds()
    (began,) = story.expects(950, 90, horizon=24)
    story.expects(1010, 100)
    hour = (HOUR + 60) * MINUTE
    made = crowds.take_back(story.state.peaks, {}, 1, hour, M * MINUTE)
    (changed,) = story.heard(story._go(made))
    assert (changed.peak_id, [one.horizon_hours for one in changed.expected]) == (began.peak_id, [24])
    assert crowds.take_back(story.state.peaks, {}, 1, hour, M * MINUTE) == []
    assert crowds.take_back(story.state.peaks, {}, 24, hour + 1, M * MINUTE) == []
    made = crowds.take_back(story.state.peaks, {}, 24, hour, M * MINUTE)
    assert names(story.heard(story._go(made))) == ["PeakChanged", "PeakRetracted"]


def test_a_forecast_of_an_hour_that_is_over_begins_nothing() -> None:
    assert Crowds().expects(950, 90, hours_from_m=-1) == []
    assert Crowds().expects(950, 90, hours_from_m=0, at=40) == []
    story = Crowds()
    story.people(0, 870)
    assert story.expects(950, 90, hours_from_m=0, at=40) == [], "nor is it of a peak that is there"


def test_who_comes_back_after_a_long_peak_has_been_calm_for_some_minutes_is_of_the_same_peak() -> None:
    story = Crowds()
    (began,) = story.people(0, 870)
    half_a_day = crowds.TOGETHER + 60
    assert names(story.people(half_a_day, 100)) == ["PeakChanged"]
    (changed,) = story.people(half_a_day + 10, 870)
    assert isinstance(changed, ev.PeakChanged) and changed.peak_id == began.peak_id
    # And one that was never calm otherwise is about the minute in which it began.
    expected = Crowds()
    (other,) = expected.expects(950, 90, hours_from_m=14, horizon=24)
    assert crowds._middle(expected.state.peaks.open[other.peak_id]) == HOUR + 14 * 60
    made = crowds.expect(
        expected.state.peaks, place(), {}, 1000, pk.ExpectedPeak(horizon_hours=24), [(HOUR + 14 * 60) * MINUTE], M * MINUTE
    )  # fmt: skip
    expected._go(made[:1])
    assert crowds._middle(expected.state.peaks.open[other.peak_id]) == M


def test_a_peak_that_goes_on_and_one_that_was_retracted_are_shown_as_such() -> None:
    story = Crowds()
    story.people(0, 870)
    story.people(1, 810)
    (shown,) = crowds.show(story.state.peaks, story.state.minutes)
    assert (shown.state, shown.level, shown.most_people) == (pk.PEAK_STATE_OPEN, 80, 870)
    assert shown.most_at == timestamp(M * MINUTE)
    story.people(1, 100, 30)
    story.people(0, 100, 30)
    (shown,) = crowds.show(story.state.peaks, story.state.minutes)
    assert (shown.state, shown.most_people, shown.HasField("most_at")) == (pk.PEAK_STATE_RETRACTED, 0, False)


def test_what_a_forecast_expects_is_its_fullest_hour_and_the_hours_below_every_level_are_known() -> None:
    told = fc.Forecast(horizon=fc.HORIZON_DAY, peak_hour=timestamp(HOUR * MINUTE), people=900, capacity=1000, level=90)
    for number, people in enumerate((900, 799, 800)):
        told.hours.add(hour=timestamp((HOUR + 60 * number) * MINUTE), people=people)
    expected, below = crowds.expected(told)
    assert (expected.people, expected.level, expected.horizon_hours) == (900, 90, 24)
    assert below == [(HOUR + 60) * MINUTE]
    assert names(Crowds().expects(950, 90, hours_from_m=0, at=39)) == ["PeakBegan"]


def test_the_peak_of_the_next_day_is_another_one() -> None:
    story = Crowds()
    (today,) = story.people(0, 870)
    (tomorrow,) = story.expects(950, 90, hours_from_m=24, horizon=24)
    assert today.peak_id != tomorrow.peak_id
    assert (today.level, tomorrow.level) == (80, 0), "how full it is today says nothing of tomorrow"
    (changed,) = story.expects(1010, 100, hours_from_m=24, horizon=24)
    assert (changed.peak_id, changed.level) == (tomorrow.peak_id, 0)
    (changed,) = story.people(1, 950)
    assert changed.peak_id == today.peak_id
    story.people(2, 100)
    (ended,) = story.calm(3, 30)
    assert ended.peak_id == today.peak_id
    (again,) = story.people(33, 870)
    assert again.peak_id not in (today.peak_id, tomorrow.peak_id), "tomorrow is more than half a day ahead"


def test_a_forecast_that_did_not_come_true_ends_half_an_hour_after_its_hour() -> None:
    story = Crowds()
    story.expects(950, 90, hours_from_m=0)
    assert story.calm(0, 70) == []
    (ended,) = story.calm(70, 1)
    assert (ended.most_people, ended.forecasts[0].people) == (100, 950)


# -- corrected counts ---------------------------------------------------------------------------------------------------------


def test_counts_that_are_corrected_retract_the_peak_that_they_began() -> None:
    story = Crowds()
    story.people(0, 870)
    changed, retracted = story.people(0, 200, second=30)
    assert (changed.level, changed.corrected, retracted.reason) == (0, True, crowds.CORRECTED)
    assert story.people(1, 200) == []


def test_a_correction_of_an_old_minute_retracts_it_only_if_no_other_minute_had_a_level() -> None:
    story = Crowds()
    story.people(0, 870)
    story.people(1, 860)
    story.people(2, 100)
    assert story.people(0, 100, second=30) == []
    (retracted,) = story.people(1, 100, second=30)
    assert retracted.reason == crowds.CORRECTED


def test_a_correction_while_a_forecast_stands_changes_the_level_and_no_more() -> None:
    story = Crowds()
    story.expects(950, 90)
    story.people(0, 870)
    (changed,) = story.people(0, 200, second=30)
    assert (changed.level, changed.corrected) == (0, True)
    assert len(story.state.peaks.open) == 1


def test_what_no_correction_reaches_any_more_is_never_retracted() -> None:
    story = Crowds()
    for minute in range(70):
        story.people(minute, 870)
    assert names(story.people(70, 100)) == ["PeakChanged"]
    assert names(story.calm(71, 30)) == ["PeakEnded"]


def test_people_who_came_before_a_long_gap_in_the_counts_were_there() -> None:
    story = Crowds()
    story.people(0, 870)
    assert names(story.people(70, 100)) == ["PeakChanged"]
    assert names(story.calm(71, 30)) == ["PeakEnded"]


def test_people_who_touched_before_a_long_gap_in_the_counts_were_there_too() -> None:
    lawn = pb.Part(part_id=LAWN, name="草坪", area_m2=50_000, m2_per_person=5)
    story = Crowds(place(parts=[place().parts[0], lawn]))
    (began,) = story.crowded(0, 3570)
    assert began.level == 0 and names(story.crowded(70, 100)) == ["PeakChanged"]
    assert names([one for number in range(71, 101) for one in story.crowded(number, 100)]) == ["PeakEnded"]


def test_who_was_there_before_a_peak_began_is_no_part_of_it() -> None:
    story = Crowds()
    story.people(0, 700)
    assert names(story.expects(950, 90, hours_from_m=3, horizon=24, at=1)) == ["PeakBegan"]
    story.people(2, 100)
    for last in (2, 72):
        story.calm(last, 1)
        (shown,) = crowds.show(story.state.peaks, story.state.minutes)
        assert shown.most_people == 100, "also when that minute is not kept any more"
    # Nor does a level keep the next peak, where a person has ended the one that it was of.
    other = Crowds()
    other.people(0, 870)
    ended(other)
    assert names(other.expects(950, 90, hours_from_m=4, horizon=24, at=1)) == ["PeakBegan"]
    other.people(2, 100)
    assert names(other.expects(600, 0, hours_from_m=4, horizon=24, at=3))[-1] == "PeakRetracted"


def test_people_who_came_and_went_long_ago_were_there_also_when_their_forecast_is_taken_back() -> None:
    story = Crowds()
    story.expects(950, 90, hours_from_m=4, horizon=24)
    story.people(0, 870)
    story.people(1, 100)
    story.calm(2, 70)
    (changed,) = story.expects(600, 0, hours_from_m=4, at=71)
    assert (list(changed.expected), len(story.state.peaks.open)) == ([], 1)
    assert names(story.calm(72, 1)) == ["PeakEnded"]


def test_a_forecast_for_some_hours_later_is_of_the_peak_that_is_there() -> None:
    story = Crowds()
    (began,) = story.people(0, 870)
    (changed,) = story.expects(950, 90, hours_from_m=10, horizon=24)
    assert changed.peak_id == began.peak_id
    later = Crowds()
    later.people(0, 870)
    assert names(later.expects(950, 90, hours_from_m=14, horizon=24)) == ["PeakBegan"], "more than half a day later"


# -- what people say ----------------------------------------------------------------------------------------------------------


def ended(story: Crowds, reason: str = "the show is cancelled") -> list[Message]:
    (peak_id,) = story.state.peaks.open or story.state.peaks.over
    return story._go(crowds.end(story.state.peaks, story.state.minutes, peak_id, reason, (M + 9) * MINUTE))


def test_a_person_ends_a_peak_once_whatever_is_counted() -> None:
    story = Crowds()
    (began,) = story.people(0, 870)
    (over,) = ended(story)
    assert isinstance(over, ev.PeakEnded) and (over.reason, over.most_people) == ("the show is cancelled", 870)
    (shown,) = crowds.show(story.state.peaks, story.state.minutes)
    assert (shown.state, shown.most_people, shown.most_at) == (pk.PEAK_STATE_ENDED, 870, timestamp(M * MINUTE))
    assert ended(story) == []
    with pytest.raises(NotFound, match="there is no peak peak-x at this place"):
        crowds.end(story.state.peaks, {}, "peak-x", "", 0)
    (again,) = story.people(1, 880)
    assert again.peak_id != began.peak_id, "it is as full as it was, and somebody has to see to it"


def test_of_a_peak_that_ended_before_anybody_was_counted_no_moment_is_told() -> None:
    story = Crowds()
    story.expects(950, 90, hours_from_m=14, horizon=24)
    (over,) = ended(story)
    assert isinstance(over, ev.PeakEnded) and not over.HasField("most_at")
    (shown,) = crowds.show(story.state.peaks, story.state.minutes)
    assert (shown.state, shown.most_people, shown.HasField("most_at")) == (pk.PEAK_STATE_ENDED, 0, False)


def test_a_review_puts_each_forecast_beside_what_was_counted_once() -> None:
    story = Crowds()
    story.expects(950, 90, horizon=24)
    story.expects(840, 80)
    story.people(0, 800)
    (peak_id,) = story.state.peaks.open
    request = pk.RecordPeakReviewRequest(place_id="p1", peak_id=peak_id, flags=["no bus came"])
    with pytest.raises(Refused, match="has not ended"):
        crowds.review(story.state.peaks, request)
    ended(story)
    (reviewed,) = story._go(crowds.review(story.state.peaks, request))
    assert isinstance(reviewed, ev.PeakReviewed)
    made = reviewed.review
    assert (list(made.errors), list(made.in_interval), list(made.flags)) == ([150, 40], [False, True], ["no bus came"])
    assert list(made.relative_errors) == [150 / 800, 40 / 800] and made.most_at == timestamp(M * MINUTE)
    assert crowds.review(story.state.peaks, request) == []


def test_a_place_that_is_taken_up_again_goes_on_with_its_peaks() -> None:
    story = Crowds()
    story.expects(950, 90, horizon=24)
    story.people(0, 870)
    taken_up = unpack_state(counting.State, pack_state(story.state))
    assert taken_up == story.state
    ended(story)
    assert unpack_state(counting.State, pack_state(story.state)) == story.state


def test_a_review_says_how_often_what_was_told_had_to_be_corrected() -> None:
    story = Crowds()
    story.people(0, 870)
    story.people(1, 1010)
    story.people(1, 880, second=30)
    (peak_id,) = story.state.peaks.open
    ended(story)
    request = pk.RecordPeakReviewRequest(place_id="p1", peak_id=peak_id)
    (reviewed,) = story._go(crowds.review(story.state.peaks, request))
    assert isinstance(reviewed, ev.PeakReviewed) and reviewed.review.corrections == 1


def test_only_the_newest_peaks_are_remembered() -> None:
    story = Crowds()
    for number in range(8):
        story.people(number * 2, 870)
        ended(story)
    assert crowds.REMEMBERED <= len(story.state.peaks.over) <= 2 * crowds.REMEMBERED
    assert reduce(counting.evolve, story.events, counting.State()) == story.state
