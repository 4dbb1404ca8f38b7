"""The state of roads, window by window: what it rests on, what is missing, and what comes late."""

from __future__ import annotations

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.services.traffic import areas, congestion, street_network, streets
from citybrain.services.traffic.detectors import WINDOW_US
from tests.unit.traffic.measuring import START, Streets, changes, detector, level, of, said


def test_a_road_has_flow_speed_and_level_with_all_that_they_rest_on() -> None:
    one = Streets()
    one.window(0, {"a1": said(10, 10.0), "a2": said(20, 5.0)})
    road = one.road(0)
    # 52 vehicles with 10 m/s and 102 with 5 m/s, in five minutes.
    assert (road.vehicles_per_hour, road.lanes_counted, road.lanes_known) == (1848, 2, 2)
    assert road.speed_mps == round(154 / (52 / 10 + 102 / 5), 3)
    assert (road.free_speed_mps, road.ratio, road.index) == (20, 0.3008, 0.6992)
    assert (list(road.detector_ids), list(road.missing_detector_ids), road.counted) == (["a1", "a2"], [], 154)
    assert (road.incomplete, road.incomplete_windows, road.district_id) == (False, 0, "xihu")


def test_a_level_is_told_when_it_changes_and_not_again() -> None:
    one = Streets()
    one.both(range(3), 15.0)
    assert changes(one.log) == []
    one.both(range(3, 8), 8.0)
    assert changes(one.log) == [(4, "MODERATE", "UNSPECIFIED")]
    one.both(range(8, 12), 18.0)
    assert changes(one.log)[1:] == [(9, "SMOOTH", "MODERATE")]
    (first, _) = of(ev.CongestionChanged, one.log)
    assert (first.edge_id, first.district_id, first.standard, first.road.ratio) == ("a", "xihu", congestion.STANDARD, 0.4)
    assert level(one.road(3).level) == "SMOOTH" and level(one.road(7).level) == "MODERATE"


def test_a_speed_above_free_flow_counts_as_free_flow() -> None:
    one = Streets()
    one.both(range(1), 25.0)
    assert (one.road(0).ratio, one.road(0).index) == (1, 0)


def test_the_trend_of_a_road_is_told() -> None:
    one = Streets()
    one.both(range(4), 15.0)
    one.both(range(4, 5), 8.0)
    assert one.road(4).trend == pb.TREND_WORSENING


def test_what_is_observed_and_what_is_counted_are_merged() -> None:
    one = Streets()
    one.window(0, {"a1": said(10, 10.0), "a2": said(10, 10.0)}, a=(5.0, 1000))
    assert (one.road(0).speed_mps, one.road(0).observed) == (6.667, 1000)


def test_a_road_without_detectors_rests_on_what_is_observed_and_on_few_vehicles_it_is_incomplete() -> None:
    one = Streets()
    one.window(0, {}, b=(10.0, 5))
    assert (one.road(0, "b").ratio, one.road(0, "b").incomplete, one.road(0, "b").HasField("vehicles_per_hour")) == (
        0.5, False, False,
    )  # fmt: skip
    one.window(1, {}, b=(10.0, 4))
    assert one.road(1, "b").incomplete


def test_a_road_on_which_nobody_drives_is_smooth_and_one_on_which_all_stand_is_severe() -> None:
    one = Streets()
    one.window(0, {"a1": said(0, None, 0.0), "a2": said(0, None, 0.02)})
    assert (one.road(0).ratio, one.road(0).incomplete, one.road(0).HasField("speed_mps")) == (1, False, False)
    one.window(1, {"a1": said(0, None, 0.5), "a2": said(0, None, 0.97)})
    assert (one.road(1).ratio, one.road(1).speed_mps) == (0, 0)
    one.window(2, {"a1": said(0, None, 0.0), "a2": said(0, None, 0.3)})
    assert one.road(2).incomplete and one.road(2).ratio == 0


def test_where_somebody_is_seen_to_drive_not_all_stand() -> None:
    one = Streets()
    one.window(0, {"a1": said(0, None, 0.9), "a2": said(0, None, 0.9)}, a=(5.0, 10))
    assert (one.road(0).ratio, one.road(0).speed_mps) == (0.25, 5)


def test_of_a_road_that_is_not_published_any_more_nothing_is_told() -> None:
    one = Streets()
    one.window(0, {}, b=(5.0, 50))
    one.known = street_network.known({"a": one.known.roads["a"]}, one.known.detectors.values())
    one.window(1, {"a1": said(), "a2": said()})
    assert [road.edge_id for road in one.part.windows[START + WINDOW_US].roads] == ["a"]


# -- detectors that fail ----------------------------------------------------------------------------------------------------


def test_a_detector_that_falls_silent_is_told_after_two_windows_and_again_when_it_is_back() -> None:
    one = Streets()
    one.both(range(2), 15.0)
    assert not of(ev.DetectorFailed, one.window(2, {"a1": said()}))
    (failed,) = of(ev.DetectorFailed, one.window(3, {"a1": said(11)}))
    assert (failed.detector_id, failed.edge_id, failed.district_id, failed.reason) == (
        "a2", "a", "xihu", pb.FAILURE_REASON_SILENT,
    )  # fmt: skip
    assert [len(window.intervals) for window in failed.evidence] == [0, 0]
    one.both(range(4, 5), 15.0)
    assert not of(ev.DetectorRecovered, one.log)
    one.both(range(5, 6), 15.0)
    (back,) = of(ev.DetectorRecovered, one.log)
    assert back.detector_id == "a2"
    assert len(of(ev.DetectorFailed, one.log)) == 1


def test_a_failed_detector_makes_a_road_incomplete_and_never_better() -> None:
    one = Streets()
    one.both(range(3), 6.0)
    for number in range(3, 7):
        one.window(number, {"a1": said(10 + number % 2, 19.0)})
        road = one.road(number)
        assert (road.ratio, road.incomplete, level(road.level)) == (0.3, True, "SEVERE")
        assert (list(road.detector_ids), list(road.missing_detector_ids)) == (["a1"], ["a2"])
        assert (road.speed_mps, road.lanes_counted, road.incomplete_windows) == (19, 1, number - 2)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([3.0, 7.0, 11.0, 18.0]), st.booleans(), st.booleans()), min_size=2, max_size=16))
def test_whatever_is_missing_an_incomplete_road_is_no_better_than_before(windows: list[tuple[float, bool, bool]]) -> None:
    one, before = Streets(), None
    for number, (speed, first, second) in enumerate(windows):
        both = {"a1": said(10 + number % 3, speed), "a2": said(9 + number % 2, speed)}
        one.window(number, {name: both[name] for name, came in (("a1", first), ("a2", second)) if came})
        road = one.road(number)
        assert (first and second) or road.incomplete
        if road.incomplete and before is not None and road.HasField("ratio"):
            assert road.ratio <= before
        before = road.ratio if road.HasField("ratio") else None


def test_what_is_worse_is_told_although_a_detector_fails() -> None:
    one = Streets()
    one.both(range(3), 15.0)
    for number in range(3, 6):
        one.window(number, {"a1": said(10 + number % 2, 5.0)})
    assert changes(one.log) == [(4, "SEVERE", "UNSPECIFIED")]


def test_after_an_hour_with_something_missing_the_level_is_unknown() -> None:
    one = Streets()
    one.both(range(2), 6.0)
    for number in range(2, 20):
        one.window(number, {"a1": said(10 + number % 2, 19.0)})
    # The twelfth incomplete window is number 13; two without a ratio follow.
    assert changes(one.log) == [(1, "SEVERE", "UNSPECIFIED"), (15, "UNKNOWN", "SEVERE")]
    one.both(range(20, 24), 19.0)
    assert changes(one.log)[2:] == [(22, "SMOOTH", "UNKNOWN")]


def test_no_level_is_told_by_one_speed_that_is_held() -> None:
    one = Streets()
    one.window(0, {}, b=(2.0, 50))
    for number in range(1, 5):
        one.window(number, {})
    assert changes(one.log) == []
    assert one.road(4, "b").incomplete


def test_a_detector_that_is_stuck_or_absurd_or_jumps_is_told_with_what_it_said() -> None:
    one = Streets()
    stuck = {
        60 * minute: pb.MeasuredInterval(second=60 * minute, vehicles=7, occupancy=0.2, speed_mps=9) for minute in range(5)
    }
    for number in range(7):
        one.window(number, {"a1": said(10 + number), "a2": stuck})
    (failed,) = of(ev.DetectorFailed, one.log)
    assert (failed.detector_id, failed.reason, len(failed.evidence)) == ("a2", pb.FAILURE_REASON_STUCK, 6)
    assert one.road(6).missing_detector_ids == ["a2"] and one.road(6).counted == 82

    other = Streets()
    for number in range(2):
        other.window(number, {"a1": said(), "a2": said(-3)})
    (failed,) = of(ev.DetectorFailed, other.log)
    assert (failed.reason, failed.evidence[1].intervals[0].vehicles) == (pb.FAILURE_REASON_ABSURD, -3)
    assert other.road(1).counted == 52

    third = Streets()
    third.both(range(6), 15.0)
    for number in range(6, 8):
        third.window(number, {"a1": said(10, 15.0), "a2": said(45, 15.0)})
    (failed,) = of(ev.DetectorFailed, third.log)
    assert (failed.detector_id, failed.reason, len(failed.evidence)) == ("a2", pb.FAILURE_REASON_JUMP, 7)
    assert third.road(6).missing_detector_ids == ["a2"]


def test_a_detector_that_fails_is_no_witness_against_others() -> None:
    one = Streets(detector("a2"), detector("b1", "b"))
    for number in range(3):
        one.window(number, {"a2": said(10 + number), "b1": said(12 + number)})
    same = {60 * minute: pb.MeasuredInterval(second=60 * minute, vehicles=7, occupancy=0.2, speed_mps=9) for minute in range(5)}
    for number in range(3, 10):
        # `a2` is silent in windows 6 and 7, fails, and has not recovered before window 9.
        one.window(number, {"b1": same} if number in (6, 7) else {"a2": said(10 + number), "b1": same})
    assert {one.detector_id for one in of(ev.DetectorFailed, one.log)} == {"a2"}
    one.window(10, {"a2": said(11), "b1": same})
    assert {one.detector_id for one in of(ev.DetectorFailed, one.log)} == {"a2", "b1"}


def test_a_detector_on_the_road_before_is_a_witness() -> None:
    one = Streets(detector("a1"), detector("b1", "b"))
    same = {60 * minute: pb.MeasuredInterval(second=60 * minute, vehicles=7, occupancy=0.2, speed_mps=9) for minute in range(5)}
    for number in range(7):
        one.window(number, {"a1": said(10 + number), "b1": same})
    assert {one.detector_id for one in of(ev.DetectorFailed, one.log)} == {"b1"}
    other = Streets(detector("a1"), detector("b1", "b"))
    for number in range(7):
        other.window(number, {"a1": same, "b1": said(10 + number)})
    assert {one.detector_id for one in of(ev.DetectorFailed, other.log)} == {"a1"}


def test_a_detector_that_is_taken_away_is_not_missed() -> None:
    one = Streets(detector("a1"), detector("a2", lanes=[1], retired=True))
    one.both(range(3), 15.0)
    assert (one.road(2).incomplete, one.road(2).lanes_known, one.road(2).counted) == (False, 1, 62)


def test_a_detector_on_a_road_that_is_not_published_any_more_is_left_out() -> None:
    one = Streets(detector("a1"), detector("z", "gone"))
    one.window(0, {"a1": said()})
    assert not one.road(0).incomplete


# -- late and corrected -------------------------------------------------------------------------------------------------------


def test_what_comes_late_takes_back_what_was_told_and_tells_what_follows() -> None:
    one = Streets()
    one.both(range(3), 15.0)
    one.both(range(3, 6), 5.0)
    assert changes(one.log) == [(4, "SEVERE", "UNSPECIFIED")]
    # The speeds of window 3 were wrong: it was smooth.
    told = one.window(3, {"a1": said(10, 15.0), "a2": said(9, 15.0)})
    assert changes(told) == [(4, "SEVERE", "retracted"), (5, "SEVERE", "UNSPECIFIED")]
    assert [one.revision for one in of(ev.StreetMeasured, told)] == [2, 2]  # of window 5 the same follows as before
    assert (one.road(3).speed_mps, level(one.road(4).level), level(one.road(5).level)) == (15, "SMOOTH", "SEVERE")


def test_figures_that_hold_no_more_are_retracted_although_the_level_does() -> None:
    one = Streets()
    one.both(range(2), 5.0)
    told = one.window(1, {"a1": said(11, 4.0)})
    assert changes(told) == [(1, "SEVERE", "retracted"), (1, "SEVERE", "UNSPECIFIED")]
    (again,) = of(ev.CongestionChanged, told)
    assert again.road.speed_mps < 5


def test_a_failure_is_retracted_when_its_readings_come_late() -> None:
    one = Streets()
    one.both(range(2), 15.0)
    for number in range(2, 5):
        one.window(number, {"a1": said(10 + number, 15.0)})
    told = one.window(2, {"a2": said(9, 15.0)})
    (retracted,) = of(ev.DetectorVerdictRetracted, told)
    (failed,) = of(ev.DetectorFailed, told)
    assert getattr(retracted, "from").ToMicroseconds() == START + 3 * WINDOW_US
    assert getattr(failed, "from").ToMicroseconds() == START + 4 * WINDOW_US
    assert not one.road(2).incomplete


def test_the_same_again_changes_nothing() -> None:
    one = Streets()
    one.both(range(4), 5.0)
    assert (
        one.window(
            2,
            {"a1": said(12, 5.0)},
        )
        == []
    )
    assert one.window(2, {}) == []


def test_what_is_older_than_all_that_is_kept_is_left_out() -> None:
    one = Streets()
    one.both(range(streets.KEPT + 1), 15.0)
    assert len(one.part.windows) == streets.KEPT
    assert one.window(0, {"a1": said(3, 1.0)}) == []
    assert one.window(1, {"a1": said(3, 1.0)}) != []


def test_what_was_told_does_not_pile_up() -> None:
    one = Streets()
    for number in range(0, 120, 4):
        one.both(range(number, number + 2), 5.0)
        one.both(range(number + 2, number + 4), 19.0)
    assert len(changes(one.log)) == 60
    assert len(one.part.levels["a"]) <= streets.KEPT // 2 + 1


def test_a_level_that_was_told_long_ago_holds() -> None:
    one = Streets()
    one.both(range(40), 5.0)
    assert changes(one.log) == [(1, "SEVERE", "UNSPECIFIED")]
    one.both(range(40, 42), 19.0)
    assert changes(one.log)[1:] == [(41, "SMOOTH", "SEVERE")]


@settings(max_examples=25)
@given(st.permutations(range(6)), st.lists(st.sampled_from([4.0, 9.0, 13.0, 18.0]), min_size=6, max_size=6))
def test_in_whatever_order_windows_come_what_stands_is_the_same(order: list[int], speeds: list[float]) -> None:
    def run(numbers: list[int]) -> Streets:
        one = Streets()
        for number in numbers:
            one.window(number, {"a1": said(10 + number % 3, speeds[number]), "a2": said(9 + number % 2, speeds[number])})
        return one

    usual, other = run(list(range(6))), run(order)
    assert usual.part.levels == other.part.levels and usual.part.verdicts == other.part.verdicts
    for number in range(6):
        assert usual.road(number) == other.road(number)


# -- areas --------------------------------------------------------------------------------------------------------------------


def roads(*ratios: float | None) -> list[pb.RoadState]:
    found = []
    for number, ratio in enumerate(ratios):
        one = pb.RoadState(edge_id=str(number), length_m=1000, level=pb.CONGESTION_LEVEL_LIGHT, incomplete=ratio is None)
        if ratio is not None:
            one.ratio = ratio
        found.append(one)
    return found


def run_area(area: areas.Area, number: int, *ratios: float | None) -> tuple[areas.Area, list[object]]:
    told = areas.measure(area, "xihu", START + number * WINDOW_US, roads(*ratios))
    for one in told:
        area = areas.evolve(area, one)
    return area, list(told)


def test_an_area_has_a_level_an_index_and_what_it_rests_on() -> None:
    area, told = run_area(areas.Area(), 0, 0.4, 0.2, None)
    (measured,) = told
    assert isinstance(measured, ev.AreaMeasured)
    state = measured.area
    assert (state.ratio, state.index, state.length_m, state.expected_length_m) == (0.3, 0.7, 2000, 3000)
    assert (state.roads, state.incomplete_roads, state.light, level(state.level)) == (3, 1, 3, "SMOOTH")
    area, told = run_area(area, 1, 0.4, 0.2, None)
    assert changes(told) == [(1, "SEVERE", "UNSPECIFIED")]  # type: ignore[arg-type]
    assert run_area(area, 2, 0.4, 0.2, 0.3)[1][1:] == []


def test_of_an_area_whose_roads_are_mostly_not_measured_nothing_is_said() -> None:
    area, _ = run_area(areas.Area(), 0, 0.2, 0.2, 0.2)
    area, _ = run_area(area, 1, 0.2, 0.2, 0.2)
    area, told = run_area(area, 2, 0.9, None, None)
    assert changes(told) == []  # type: ignore[arg-type]
    area, told = run_area(area, 3, 0.9, None, None)
    assert changes(told) == [(3, "UNKNOWN", "SEVERE")]  # type: ignore[arg-type]


def test_an_area_leaves_out_what_is_older_than_all_that_is_kept() -> None:
    area = areas.Area()
    for number in range(1, streets.KEPT + 1):
        area, _ = run_area(area, number, 0.2)
    assert run_area(area, 0, 0.9)[1] == [] and run_area(area, 1, 0.9)[1] != []


def test_an_area_takes_back_what_holds_no_more() -> None:
    area, _ = run_area(areas.Area(), 0, 0.2)
    area, _ = run_area(area, 1, 0.2)
    area, told = run_area(area, 0, 0.9)
    assert changes(told) == []  # type: ignore[arg-type]
    area, told = run_area(area, 1, 0.2)
    assert changes(told) == [(1, "SEVERE", "retracted")]  # type: ignore[arg-type]
    assert run_area(area, 1, 0.2)[1] == []
