"""Which incident a report belongs to: near enough, soon enough, the nearest, the older, and never one that has ended."""

from __future__ import annotations

import math
from functools import reduce

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.mesh import merging as kit
from citybrain.mesh.events import timestamp
from citybrain.mesh.merging import Board
from citybrain.mesh.roads import Roads, build
from citybrain.services.safety import merging
from citybrain.services.safety.merging import REACHES

NOON = 1_767_600_000_000_000
MINUTE = 60_000_000
# A one-way street of 2 km: e0 → e1 → … → e19.
ROADS = build([(f"e{n}", 100.0, 10.0, [f"e{n + 1}"] if n < 19 else []) for n in range(20)])
WEST_LAKE = pb.Position(latitude=30.2460, longitude=120.1480)
KINDS = sorted(REACHES)


def north(metres: float) -> pb.Position:
    """A position so many metres north of the lake."""
    return pb.Position(latitude=WEST_LAKE.latitude + math.degrees(metres / kit.EARTH_M), longitude=WEST_LAKE.longitude)


def report(
    name: str,
    *,
    kind: pb.EventKind = pb.EVENT_KIND_FIRE,
    minutes: float = 0,
    road_m: float | None = None,
    position: pb.Position | None = None,
) -> ev.SignalSorted:
    """A report that would open the incident of its name."""
    made = ev.SignalSorted(
        signal_id=f"sig-{name}", incident_id=name, kind=kind, observed_at=timestamp(NOON + round(minutes * MINUTE)),
        position=position,
    )  # fmt: skip
    if road_m is not None:
        made.place.CopyFrom(RoadPlace(edge_id=f"e{int(road_m // 100)}", position_m=road_m % 100))
    return made


def sorted_in(*reports: ev.SignalSorted, board: Board | None = None, roads: Roads = ROADS) -> tuple[Board, list[str]]:
    """The board after these reports, one after the other, and the incidents to which they went."""
    board, went = board or Board(), []
    for one in reports:
        (event,) = merging.sort(board, one, roads)
        assert isinstance(event, ev.SignalSorted)
        went.append(event.incident_id)
        board = merging.evolve(board, event)
    return board, went


def after(board: Board, *events: Message) -> Board:
    return reduce(merging.evolve, events, board)


# -- near enough, and soon enough -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_reports_of_a_kind_are_about_one_incident_up_to_its_distance_and_its_time(kind: pb.EventKind) -> None:
    reach = REACHES[kind]
    one = report("a", kind=kind, position=WEST_LAKE)
    for metres, minutes, same in (
        (reach.metres - 0.1, reach.minutes, True),
        (reach.metres + 0.1, 0, False),
        (0, reach.minutes + 0.01, False),
        (0, -reach.minutes, True),
        (0, -reach.minutes - 0.01, False),
    ):
        other = report("b", kind=kind, position=north(metres), minutes=minutes)
        assert sorted_in(one, other)[1] == ["a", "a" if same else "b"], (metres, minutes)


def test_on_roads_the_distance_is_that_along_the_roads() -> None:
    one = report("a", road_m=450)
    assert sorted_in(one, report("b", road_m=750))[1] == ["a", "a"]
    assert sorted_in(one, report("b", road_m=751))[1] == ["a", "b"]
    assert sorted_in(one, report("b", road_m=150))[1] == ["a", "a"]
    assert sorted_in(one, report("b", road_m=149))[1] == ["a", "b"]


def test_a_place_and_a_position_have_no_distance_until_a_report_has_both() -> None:
    by_road, by_position = report("a", road_m=0), report("b", position=WEST_LAKE)
    assert sorted_in(by_road, by_position)[1] == ["a", "b"]
    both = report("c", road_m=0, position=WEST_LAKE)
    assert sorted_in(by_road, both, by_position)[1] == ["a", "a", "a"]
    assert sorted_in(by_position, both, by_road)[1] == ["b", "b", "b"]


def test_each_report_keeps_an_incident_open_for_more_and_does_not_move_it() -> None:
    # The third is 100 minutes after the first, and 50 after the second.
    times = [report(name, minutes=m, position=WEST_LAKE) for name, m in (("a", 0), ("b", 50), ("c", 100))]
    assert sorted_in(*times)[1] == ["a", "a", "a"]
    # The third is 250 m from the second, and 500 m from where it began.
    places = [report(name, position=north(m)) for name, m in (("a", 0), ("b", 250), ("c", 500))]
    assert sorted_in(*places)[1] == ["a", "a", "c"]


# -- the nearest, and the older ---------------------------------------------------------------------------------------------


def test_a_report_that_fits_two_incidents_goes_to_the_nearest() -> None:
    board, went = sorted_in(report("a", position=north(0)), report("b", position=north(400)))
    assert went == ["a", "b"]
    assert sorted_in(report("c", position=north(190)), board=board)[1] == ["a"]
    assert sorted_in(report("c", position=north(210)), board=board)[1] == ["b"]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_of_two_that_are_equally_near_the_older_gets_it(order: tuple[str, str]) -> None:
    places = {"a": 100, "b": 700}
    board, went = sorted_in(*(report(name, road_m=places[name]) for name in order))
    assert went == list(order)
    assert sorted_in(report("c", road_m=400), board=board)[1] == [order[0]]


# -- the end ----------------------------------------------------------------------------------------------------------------


def test_an_incident_that_has_ended_takes_no_report() -> None:
    board, _ = sorted_in(report("a", position=WEST_LAKE))
    ended = after(board, *merging.end(board, "a"))
    assert merging.end(ended, "a") == []
    assert sorted_in(report("b", position=WEST_LAKE), board=ended)[1] == ["b"]


def test_the_reports_of_an_incident_that_was_merged_go_to_the_other() -> None:
    board, _ = sorted_in(report("a", position=north(0)), report("b", position=north(400)))
    merged = after(board, *merging.end(board, "b", "a"))
    assert sorted_in(report("c", position=north(600)), board=merged)[1] == ["a"]
    ended = after(merged, *merging.end(merged, "a"))
    assert ended.spots == {}


def test_what_a_person_sorted_is_on_the_board_once() -> None:
    board, _ = sorted_in(report("a", position=WEST_LAKE))
    split = report("b", position=north(10))
    put = after(board, *merging.put(board, split))
    assert merging.put(put, split) == []
    assert sorted_in(report("c", position=north(9)), board=put)[1] == ["b"]


def test_the_board_remembers_where_the_newest_reports_were_sorted_to_by_itself() -> None:
    board, _ = sorted_in(report("a", position=WEST_LAKE), report("b", position=WEST_LAKE))
    split = report("b", position=WEST_LAKE)
    split.split_off = True
    assert after(board, split).sorted_to == {"sig-a": "a", "sig-b": "a"}
    many = after(board, *(report(f"n{number}") for number in range(2 * kit.REMEMBERED - 1)))
    assert (len(many.sorted_to), list(many.sorted_to)[-1]) == (kit.REMEMBERED, f"sig-n{2 * kit.REMEMBERED - 2}")


# -- whatever comes ---------------------------------------------------------------------------------------------------------


@st.composite
def reports(draw: st.DrawFn, name: str, kind: pb.EventKind) -> ev.SignalSorted:
    """A report on the street, at a position, or both, within twice the reach of its kind."""
    reach = REACHES[kind]
    where = draw(st.sampled_from(["road", "position", "both"]))
    return report(
        name, kind=kind, minutes=draw(st.integers(-round(reach.minutes), round(reach.minutes))) * draw(st.sampled_from([1, 2])),
        road_m=draw(st.integers(0, 1999)) if where != "position" else None,
        position=north(draw(st.floats(0, 2 * reach.metres))) if where != "road" else None,
    )  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn) -> tuple[ev.SignalSorted, ev.SignalSorted]:
    kind = draw(st.sampled_from(KINDS))
    return draw(reports("a", kind)), draw(reports("b", kind))


@for_all(pairs())
def test_the_order_of_two_reports_does_not_decide_whether_they_are_about_one_incident(
    pair: tuple[ev.SignalSorted, ev.SignalSorted],
) -> None:
    one, other = pair
    together = [len(set(sorted_in(*order)[1])) == 1 for order in ((one, other), (other, one))]
    assert together[0] == together[1]


@st.composite
def days(draw: st.DrawFn) -> list[ev.SignalSorted]:
    kind = draw(st.sampled_from(KINDS))
    return [draw(reports(f"r{n}", kind)) for n in range(draw(st.integers(1, 8)))]


@for_all(days())
def test_a_report_goes_to_an_incident_that_it_fits_and_to_none_that_is_farther(day: list[ev.SignalSorted]) -> None:
    board = Board()
    for one in day:
        reach = REACHES[one.kind]
        before, (board, (went,)) = board, sorted_in(one, board=board)
        metres = kit.distances(before.spots, merging.seen(one), ROADS, reach.metres)
        at = one.observed_at.ToMicroseconds()
        fits = {
            number: metres[number]
            for number, spot in before.spots.items()
            if number in metres
            and spot.first - reach.minutes * MINUTE <= at <= spot.last + reach.minutes * MINUTE
            and metres[number] <= reach.metres
        }
        assert (went == one.incident_id) == (not fits)
        if fits:
            mine = [number for number, spot in before.spots.items() if spot.incident_id == went]
            assert min(fits.values()) == fits[mine[0]]
            assert all(number >= mine[0] for number, away in fits.items() if away == fits[mine[0]])


def test_a_distance_between_positions_is_that_over_the_ground() -> None:
    # A degree of latitude, and one of longitude at 60° north, which is half as long.
    a_degree = math.radians(1) * kit.EARTH_M
    assert kit.straight_m((30, 0), (31, 0)) == pytest.approx(a_degree)
    assert kit.straight_m((60, 0), (60, 1)) == pytest.approx(a_degree / 2, rel=1e-4)
    assert kit.straight_m((90, 0), (-90, 180)) == pytest.approx(math.pi * kit.EARTH_M)
