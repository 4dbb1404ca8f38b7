"""Minutes of a place, with nothing around them: levels, what is missing, what is late or corrected."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.event_store.limits import MAX_APPEND_BYTES, MAX_APPEND_EVENTS
from citybrain.services.tourism import counting
from citybrain.services.tourism.telemetry import MINUTE
from tests.unit.tourism.conftest import HALL, LAWN, place

M = 29_000_000
PEAKS = (ev.PeakBegan, ev.PeakChanged, ev.PeakEnded, ev.PeakRetracted)
CONTACT, DANGEROUS, SLOW = pb.DENSITY_LEVEL_CONTACT, pb.DENSITY_LEVEL_DANGEROUS, pb.DENSITY_LEVEL_SLOW


class Story:
    """A place, and all that was told of it."""

    def __init__(self, known: pb.Place | None = None) -> None:
        """Registers the place."""
        self.state, self.events = counting.State(), list[Message]()
        self.register(known or place())

    def _go(self, events: list[Message]) -> list[Message]:
        self.events += events
        self.state = reduce(counting.evolve, events, self.state)
        return events

    def register(self, known: pb.Place) -> None:
        self._go(counting.register(self.state, known))

    def count(self, minute: int, second: int = 0, **people: int) -> list[Message]:
        """Counts of counters in a minute after M; gives what follows, without what is told of peaks."""
        return [one for one in self.count_all(minute, second, **people) if not isinstance(one, PEAKS)]

    def count_all(self, minute: int, second: int = 0, **people: int) -> list[Message]:
        """The same with that."""
        at = (M + minute) * MINUTE + second * 1_000_000
        events = self._go(counting.count(self.state, M + minute, {key: (at, number) for key, number in people.items()}))
        for later in counting.stale(self.state, M + minute):
            events = [*events, *self._go(counting.make_anew(self.state, later))]
        assert counting.stale(self.state, M + minute) == []
        return events

    def minutes(self) -> list[tuple[int, int, bool]]:
        """Of each minute: revision, people, whether that is all."""
        return [(one.revision, one.people, one.complete) for one in self.state.minutes.values()]


def told(events: list[Message]) -> list[Any]:
    """What was told of levels and densities."""
    found: list[Any] = []
    for one in events:
        kind = "-" if isinstance(one, ev.CapacityLevelRetracted | ev.DensityLevelRetracted) else ""
        if isinstance(one, ev.CapacityLevelChanged | ev.CapacityLevelRetracted):
            found.append((kind + "full", counting.minute_of(one) - M, one.old_level, one.new_level))
        elif isinstance(one, ev.DensityLevelChanged | ev.DensityLevelRetracted):
            found.append((kind + one.part_id, counting.minute_of(one) - M, one.old_level, one.new_level))
    return found


def test_a_minute_has_the_people_of_all_counters_and_the_level_says_what_it_rests_on() -> None:
    story = Story(place(facilities=[pb.Facility(facility_id="gate", name="门", kind=pb.FACILITY_KIND_GATE, persons=900)]))
    counted, level = story.count(0, a=300, b=200, c=225)
    assert isinstance(counted, ev.PlaceCounted) and isinstance(level, ev.CapacityLevelChanged)
    assert (counted.people, counted.capacity, counted.complete, counted.level) == (725, 900, True, 80)
    assert [(one.people, one.complete) for one in counted.parts] == [(300, True), (425, True)]
    assert (level.old_level, level.new_level, level.people, level.capacity, level.bound_by) == (0, 80, 725, 900, "gate")
    assert (list(level.counted_by), list(level.missing), level.complete) == (["a", "b", "c"], [], True)
    assert (level.standard, level.revision) == ("LB/T 034-2014", 1)


def test_the_same_counts_again_change_nothing_and_of_a_minute_the_later_count_of_a_counter_stands() -> None:
    story = Story()
    assert len(story.count(0, 30, a=300, b=1, c=1)) == 1
    assert story.count(0, 30, a=300, b=1, c=1) == []
    # One that was made before in the same minute changes nothing, whenever it comes.
    assert story.count(0, 20, a=999) == []
    assert story.count(0, 40, a=310) != []
    assert story.minutes() == [(2, 312, True)]


def test_a_count_stands_for_three_minutes_and_then_its_counter_is_missing() -> None:
    story = Story()
    story.count(0, a=300, b=100, c=100)
    for minute in (1, 2, 3):
        story.count(minute, b=100, c=100)
    assert story.minutes() == [(1, 500, True), (1, 500, True), (1, 500, True), (1, 200, False)]
    last = story.state.minutes[M + 3]
    assert (counting.missing(last), [one.complete for one in last.parts]) == (["a"], [False, True])


def test_a_missing_counter_never_lowers_a_level_and_the_level_falls_when_all_count_again() -> None:
    story = Story()
    assert told(story.count(0, a=350, b=250, c=250)) == [("full", 0, 0, 80)]
    assert told(story.count(3, b=10, c=10)) == []
    assert story.state.minutes[M + 3].level == 80
    assert told(story.count(4, a=10)) == [("full", 4, 80, 0)]


def test_at_least_so_many_people_reach_a_level_and_it_says_who_is_missing() -> None:
    story = Story()
    *_, level = story.count(0, b=450, c=450)
    assert isinstance(level, ev.CapacityLevelChanged)
    assert (level.new_level, level.complete, list(level.missing), list(level.counted_by)) == (90, False, ["a"], ["b", "c"])


def test_a_part_without_counters_makes_each_count_incomplete_and_is_named() -> None:
    story = Story(place(counters=[pb.Counter(counter_id="b", part_id=LAWN)]))
    *_, level = story.count(0, b=850)
    assert isinstance(level, ev.CapacityLevelChanged)
    assert (level.complete, list(level.missing), list(level.uncounted_parts)) == (False, [], [HALL])


def test_people_who_touch_are_warned_of_and_so_are_those_who_stand_dangerously_and_the_end() -> None:
    known = place(parts=[pb.Part(part_id=HALL, name="厅", area_m2=100, m2_per_person=1)],
                  counters=[pb.Counter(counter_id="a", part_id=HALL)])  # fmt: skip
    story = Story(known)
    found = [told(story.count(n, a=people))[-1:] for n, people in enumerate((199, 356, 357, 555, 500, 499, 330, 322))]
    assert [one for one in found if one and one[0][0] == HALL] == [
        [(HALL, 2, SLOW, CONTACT)], [(HALL, 3, CONTACT, DANGEROUS)], [(HALL, 5, DANGEROUS, CONTACT)],
    ]  # fmt: skip
    assert told(story.count(8, a=321)) == [(HALL, 8, CONTACT, SLOW)]
    warning = next(one for one in story.events if isinstance(one, ev.DensityLevelChanged))
    assert (warning.density, warning.people, warning.area_m2, list(warning.counted_by)) == (3.57, 357, 100, ["a"])
    assert (warning.complete, list(warning.missing)) == (True, [])


def test_a_warning_rests_on_the_counters_of_its_part_alone() -> None:
    story = Story()
    *_, warning = story.count(0, b=12_000)
    assert isinstance(warning, ev.DensityLevelChanged)
    assert (warning.part_id, warning.new_level, warning.complete) == (LAWN, CONTACT, False)
    assert (list(warning.counted_by), list(warning.missing)) == (["b"], ["c"])


def test_what_a_corrected_count_does_not_support_is_retracted_and_what_it_does_is_told() -> None:
    story = Story()
    story.count(0, a=100, b=100, c=100)
    assert told(story.count(1, a=700, b=100, c=100)) == [("full", 1, 0, 90)]
    story.count(2, a=690, b=100, c=100)
    # The counter had seen a shadow in the first of them.
    assert told(story.count(1, a=70)) == [("-full", 1, 0, 90), ("full", 2, 0, 80)]
    assert story.minutes() == [(1, 300, True), (2, 270, True), (2, 890, True)]
    assert told(story.count(2, a=69)) == [("-full", 2, 0, 80)]


def test_a_retraction_names_what_was_told_and_why_it_holds_no_more() -> None:
    story = Story()
    story.count(0, a=900, b=0, c=0)
    retracted = next(one for one in story.count(0, a=9) if isinstance(one, ev.CapacityLevelRetracted))
    assert (retracted.old_level, retracted.new_level, retracted.revision) == (0, 90, 1)
    assert "corrected" in retracted.reason


def test_a_warning_of_density_is_retracted_too_and_only_if_it_does_not_follow_any_more() -> None:
    story = Story()
    story.count(0, a=430, b=0, c=0)
    assert (HALL, 1, pb.DENSITY_LEVEL_HINDERED, CONTACT) in told(story.count(1, a=4000, b=0, c=0))
    assert told(story.count(0, a=2000)) == [("full", 0, 0, 100), ("-full", 1, 0, 100)]
    assert ("-" + HALL, 1, pb.DENSITY_LEVEL_HINDERED, CONTACT) in told(story.count(1, a=2000))


def test_a_late_count_completes_its_minute_and_those_for_which_it_stands() -> None:
    story = Story()
    for minute in (0, 1, 2, 3):
        story.count(minute, b=100, c=100)
    story.count(0, a=50)
    assert story.minutes() == [(2, 250, True), (2, 250, True), (2, 250, True), (1, 200, False)]


def test_a_late_count_of_a_minute_that_nobody_had_counted_makes_one() -> None:
    story = Story()
    story.count(0, a=100, b=100, c=100)
    story.count(2, a=100, b=100, c=100)
    assert told(story.count(1, a=900)) == [("full", 1, 0, 100), ("full", 2, 100, 0)]


def test_a_minute_keeps_the_capacity_and_the_counters_that_it_had() -> None:
    story = Story()
    story.count(0, a=400, b=200, c=150)
    gate = pb.Facility(facility_id="gate", name="门", kind=pb.FACILITY_KIND_GATE, persons=500)
    counters = [pb.Counter(counter_id="a", part_id=HALL), pb.Counter(counter_id="d", part_id=LAWN)]
    story.register(place(facilities=[gate], counters=counters))
    assert told(story.count(0, d=500)) == []
    assert told(story.count(0, 30, a=401)) == []
    assert story.minutes() == [(2, 751, True)]
    assert told(story.count(1, a=400, d=50)) == [("full", 1, 0, 90)]


def test_a_part_that_is_taken_out_ends_its_warning() -> None:
    story = Story()
    story.count(0, a=4000, b=0, c=0)
    story.register(place(parts=[place().parts[1]], counters=[pb.Counter(counter_id="b", part_id=LAWN)]))
    assert (HALL, 1, CONTACT, pb.DENSITY_LEVEL_UNSPECIFIED) in told(story.count(1, b=0))


def test_of_minutes_an_hour_is_kept_and_the_levels_go_on_from_those_before() -> None:
    story = Story()
    story.count(0, a=350, b=250, c=250)
    for minute in range(1, 62):
        assert told(story.count(minute, a=250, b=250, c=250)) == []
    assert (len(story.state.minutes), min(story.state.minutes)) == (counting.KEPT, M + 2)
    assert not story.state.full
    # The oldest that is kept was at 80 % by what is not kept any more.
    assert told(story.count(2, 1, a=260)) == []
    assert (story.state.minutes[M + 2].level, story.state.minutes[M + 2].people) == (80, 760)
    assert story.count(1, a=0) == []


def test_warnings_of_minutes_that_are_not_kept_are_forgotten_and_what_stands_from_one_stays() -> None:
    story = Story()
    story.count(0, a=4000, b=250, c=250)
    assert (len(story.state.full), len(story.state.dense)) == (1, 1)
    story.count(1, b=250, c=250)
    story.count(60, a=250, b=250, c=250)
    assert (len(story.state.full), list(story.state.dense)) == (1, [f"{M + 60}/{HALL}"])
    story.count(1, 1, b=260)
    assert story.state.minutes[M + 1].people == 4510


def test_the_largest_place_in_which_everything_changes_fits_into_one_append() -> None:
    parts = [pb.Part(part_id=f"{n:060}", name="x", area_m2=100, m2_per_person=1) for n in range(40)]
    counters = [pb.Counter(counter_id=f"{n:060}", part_id=f"{n % 40:060}") for n in range(200)]
    story = Story(place("x" * 60, parts=parts, counters=counters))
    crowded = {one.counter_id: 100 for one in counters}
    story.count(0, **dict.fromkeys(crowded, 1))
    story.count(1, **crowded)
    at = {key: ((M + 1) * MINUTE + 1, 120) for key in crowded}
    events = counting.count(story.state, M + 1, at)
    assert sum(isinstance(one, ev.DensityLevelRetracted) for one in events) == 40
    assert len(events) <= MAX_APPEND_EVENTS
    assert sum(one.ByteSize() for one in events) < MAX_APPEND_BYTES / 2


def test_counts_of_counters_that_a_place_does_not_have_make_no_minute() -> None:
    story = Story()
    assert story.count(0, z=5) == []
    assert counting.count(counting.State(), M, {"a": (M * MINUTE, 1)}) == []


def test_silence_is_told_once_and_ends_with_the_next_minute_and_not_with_a_late_one() -> None:
    story = Story()
    assert counting.stop(story.state, (M + 99) * MINUTE) == []
    story.count(0, a=1, b=1, c=1)
    assert counting.stop(story.state, (M + 6) * MINUTE - 1) == []
    (stopped,) = story._go(counting.stop(story.state, (M + 6) * MINUTE))
    assert isinstance(stopped, ev.CountingStopped) and stopped.last_minute.ToMicroseconds() == M * MINUTE
    assert counting.stop(story.state, (M + 7) * MINUTE) == []
    story.count(0, 30, a=2)
    assert counting.stop(story.state, (M + 7) * MINUTE) == []
    story.count(1, a=1)
    # Nor does a late one begin it.
    story.count(0, 45, a=3)
    assert counting.stop(story.state, (M + 7) * MINUTE) != []


Told = list[tuple[int, Mapping[str, int]]]
COUNTS = st.lists(
    st.tuples(st.integers(0, 9), st.dictionaries(st.sampled_from("abc"), st.integers(0, 900), min_size=1)), max_size=9
)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.randoms(use_true_random=False))
def test_in_whichever_order_counts_come_the_same_minutes_and_the_same_levels_hold(counts: Told, random: Any) -> None:
    # One count of a counter a minute: which of two stands is another matter.
    once = {(minute, counter): people for minute, counters in counts for counter, people in counters.items()}
    left = [(minute, {counter: people}) for (minute, counter), people in once.items()]
    stories = []
    for order in (sorted(left, key=lambda one: one[0]), random.sample(left, len(left))):
        story = Story()
        for minute, people in order:
            story.count(minute, **people)
        stories.append(story)
    one, other = (
        [(key, minute.people, minute.complete, minute.level, [part.level for part in minute.parts])
         for key, minute in sorted(story.state.minutes.items())]
        for story in stories
    )  # fmt: skip
    assert one == other
    holds = [{key: (change.old_level, change.new_level) for key, change in story.state.full.items()} for story in stories]
    assert holds[0] == holds[1]
