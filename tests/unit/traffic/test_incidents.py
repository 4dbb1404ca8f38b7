"""Incidents: what is suspected, by whom it is supported, who confirms it, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, Refused
from citybrain.mesh.events import timestamp
from citybrain.services.traffic import incident_pairs, incident_thresholds, incidents
from citybrain.services.traffic.detectors import WINDOW_US
from citybrain.services.traffic.incident_thresholds import named
from tests.unit.traffic.measuring import START, of

MINUTE = 60_000_000
LIMITS = {
    (one.edge_id, "up", "dn", 90): one
    for one in (
        pb.PairThresholds(
            edge_id=edge_id, upstream_detector_id="up", downstream_detector_id="dn", block_s=90, occupancy_difference=0.2,
            occupancy_ratio=0.3, downstream_occupancy=0.1, deviate=3.0,
        )
        for edge_id in ("a", "b")
    )
}  # fmt: skip
CALIFORNIA, DEVIATE = pb.INCIDENT_SOURCE_CALIFORNIA_7, pb.INCIDENT_SOURCE_NORMAL_DEVIATE
CITIZEN, PATROL, VIDEO = pb.INCIDENT_SOURCE_CITIZEN, pb.INCIDENT_SOURCE_PATROL, pb.INCIDENT_SOURCE_VIDEO
WHOLE, SOME = pb.BLOCKED_SCOPE_WHOLE_ROAD, pb.BLOCKED_SCOPE_SOME_LANES
STOPPED = pb.TRAFFIC_INCIDENT_KIND_STOPPED_VEHICLE


def pair(difference: float = 0.0, deviate: float | None = 0.0, out: int = 9, edge_id: str = "a", **more: Any) -> pb.PairFigures:
    told: dict[str, Any] = {
        "edge_id": edge_id, "upstream_detector_id": "up", "downstream_detector_id": "dn", "block_s": 90,
        "occupancy_difference": difference, "occupancy_ratio": 0.5, "downstream_occupancy": 0.05, "vehicles_in": 9,
        "vehicles_out": out, **more,
    }  # fmt: skip
    figures = pb.PairFigures(**told)
    if deviate is not None:
        figures.deviate = deviate
    return figures


QUIET, OCCUPIED, DEVIATING = pair(), pair(0.4), pair(deviate=5.0)


class Roads:
    """Roads `a` and `b`, window by window."""

    def __init__(self) -> None:
        self.board = incidents.Board()
        self.log: list[Message] = []

    def take(self, told: Sequence[Message]) -> list[str]:
        self.board = reduce(incidents.evolve, told, self.board)
        self.log += told
        return [type(one).__name__ for one in told]

    def window(self, number: int, *pairs: pb.PairFigures, judged: int | None = None, limits: Any = None) -> list[str]:
        """Takes a window in, a minute after its end or that of the window `judged`; names the events."""
        start = START + number * WINDOW_US
        window = {"from": timestamp(start), "to": timestamp(start + WINDOW_US)}
        measured = ev.PairsMeasured(part_id="a", pairs=pairs, version="v", **window)
        now = START + ((number if judged is None else judged) + 1) * WINDOW_US + MINUTE
        known = LIMITS if limits is None else limits
        return self.take(incidents.watch(self.board, measured, known, {"a": "xihu", "b": "xihu"}, now))

    def minute(self, minute: int, *pairs: pb.PairFigures) -> list[str]:
        """What a minute shows before its five minutes are over."""
        end = START + (minute + 1) * MINUTE
        return self.take(incidents.notice(self.board, pairs, LIMITS, {"a": "xihu", "b": "xihu"}, end))

    def report(self, name: str, source: pb.IncidentSource, minute: float = 3, **more: Any) -> list[str]:
        seen = timestamp(START + round(minute * MINUTE))
        told: dict[str, Any] = {"report_id": name, "edge_id": "a", "source": source, "kind": STOPPED, "seen_at": seen, **more}
        return self.take(incidents.report(self.board, pb.ReportIncidentRequest(**told), "xihu"))

    def confirm(self, scope: pb.BlockedScope = WHOLE) -> list[str]:
        request = pb.ConfirmIncidentRequest(incident_id=self.one.incident_id, kind=STOPPED, scope=scope)
        return self.take(incidents.confirm(self.board, request))

    def reject(self, minute: float) -> list[str]:
        request = pb.RejectIncidentRequest(incident_id=self.one.incident_id, reason="a bus stop")
        return self.take(incidents.reject(self.board, request, START + round(minute * MINUTE)))

    @property
    def one(self) -> incidents.Incident:
        (found,) = self.board.open.values()
        return found

    @property
    def state(self) -> str:
        return pb.TrafficIncidentState.Name(self.one.state).removeprefix("TRAFFIC_INCIDENT_STATE_")


def test_what_an_algorithm_finds_is_suspected_with_its_figures_and_thresholds() -> None:
    roads = Roads()
    assert roads.window(0, QUIET, pair(edge_id="b")) == []
    assert roads.window(1, OCCUPIED, pair(edge_id="b")) == ["IncidentSuspected"]
    (told,) = of(ev.IncidentSuspected, roads.log)
    assert (told.edge_id, told.district_id, told.evidence.source) == ("a", "xihu", CALIFORNIA)
    assert (told.evidence.figures, told.evidence.thresholds) == (OCCUPIED, LIMITS[named(OCCUPIED)])
    assert getattr(told.evidence, "from").ToMicroseconds() == START + WINDOW_US
    assert (
        told.may_be
        and told.evidence.version == incident_pairs.VERSION
        and "a" not in told.incident_id.removeprefix("ti-").split("-")
    )
    assert roads.state == "SUSPECTED"


def test_before_a_pair_is_calibrated_nothing_is_found_by_it() -> None:
    roads = Roads()
    assert roads.window(0, pair(0.9, 50.0), limits={}) == []
    other = {key: one for key, one in LIMITS.items() if key[0] == "b"}
    assert roads.window(1, pair(0.9, 50.0), limits=other) == []
    assert roads.window(2, pair(0.9, 50.0, block_s=120)) == [], "with other blocks it is another pair"


def test_on_a_road_that_is_not_published_any_more_nothing_is_found() -> None:
    roads, elsewhere = Roads(), pair(0.9, 50.0, edge_id="c")
    limits = {named(elsewhere): LIMITS[named(OCCUPIED)]}
    assert incident_thresholds.sources(elsewhere, limits)
    assert roads.window(0, elsewhere, limits=limits) == []
    assert incidents.notice(roads.board, [elsewhere], limits, {"a": "xihu"}, START + MINUTE) == []


def test_what_reaches_a_threshold_is_found() -> None:
    assert Roads().window(0, pair(deviate=3.0)) == ["IncidentSuspected"]
    assert Roads().window(0, pair(deviate=2.99)) == []
    assert Roads().window(0, pair(deviate=None)) == []


def test_what_a_minute_shows_is_told_of_its_five_minutes_and_the_next_minute_takes_nothing_back() -> None:
    roads = Roads()
    assert roads.minute(2, OCCUPIED) == ["IncidentSuspected"]
    (told,) = of(ev.IncidentSuspected, roads.log)
    assert getattr(told.evidence, "from").ToMicroseconds() == START and told.evidence.to.ToMicroseconds() == START + 3 * MINUTE
    assert roads.minute(3, QUIET) == [] and roads.state == "SUSPECTED"
    assert roads.minute(4, DEVIATING) == ["IncidentSupported", "IncidentConfirmed"], "the fifth minute belongs to them"
    assert roads.window(0, pair(0.4, 5.0)) == ["IncidentSupported", "IncidentSupported"], "with the figures of all five"
    assert roads.window(0, QUIET, judged=1) == ["IncidentEvidenceRetracted", "IncidentEvidenceRetracted"]
    assert not roads.board.open
    roads.minute(5, OCCUPIED)
    roads.reject(7)
    assert roads.minute(7, OCCUPIED) == [], "rejected"


def test_the_same_source_supports_and_a_second_one_confirms() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    assert roads.window(1, OCCUPIED) == ["IncidentSupported"] and roads.state == "SUSPECTED"
    assert roads.window(2, pair(0.4, 5.0)) == ["IncidentSupported", "IncidentSupported", "IncidentConfirmed"]
    (told,) = of(ev.IncidentConfirmed, roads.log)
    assert (list(told.sources), told.by_person, told.scope, told.closure_id) == ([CALIFORNIA, DEVIATE], False, 0, "")
    assert roads.window(3, pair(0.4, 5.0)) == ["IncidentSupported", "IncidentSupported"], "it is confirmed once"


def test_where_both_find_it_at_once_it_is_confirmed_at_once() -> None:
    roads = Roads()
    assert roads.window(0, pair(0.4, 5.0)) == ["IncidentSuspected", "IncidentSupported", "IncidentConfirmed"]


def test_where_nobody_gets_through_what_two_sources_confirm_closes_the_road() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0, out=0))
    assert roads.one.scope == WHOLE and roads.one.closure_id == f"traffic-{roads.one.incident_id}-1"
    other = Roads()
    both = [pair(0.4, 5.0, out=0), pair(0.0, 0.0, out=1, upstream_detector_id="up2")]
    other.window(0, *both)
    assert other.state == "CONFIRMED" and other.one.closure_id == "", "on another lane somebody does"


def test_what_is_blocked_is_what_the_newest_window_shows_until_a_person_says_it() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0))
    assert roads.window(1, pair(0.4, 5.0, out=0))[-1] == "IncidentConfirmed" and roads.one.closure_id
    assert roads.window(2, pair(0.4, 5.0, out=2))[-1] == "IncidentConfirmed" and not roads.one.closure_id
    roads.report("r1", PATROL, scope=WHOLE)
    assert roads.one.closure_id and roads.window(3, pair(0.4, 5.0)) == ["IncidentSupported", "IncidentSupported"]
    roads.confirm(SOME)
    roads.window(4, pair(0.4, 5.0, out=0))
    assert roads.one.closure_id == "" and roads.one.scope == SOME


def test_a_report_of_less_does_not_take_back_what_the_newest_window_shows() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0, out=0))
    roads.report("r1", PATROL, 6, scope=SOME)
    assert roads.one.scope == WHOLE


@pytest.mark.parametrize("source", [CITIZEN, PATROL, VIDEO])
def test_a_report_is_a_second_source(source: pb.IncidentSource) -> None:
    roads = Roads()
    roads.window(0, DEVIATING)
    assert roads.report("r1", source, scope=WHOLE, position_m=40) == ["IncidentSupported", "IncidentConfirmed"]
    assert (roads.one.kind, roads.one.scope, roads.one.by_person) == (STOPPED, WHOLE, False)
    assert roads.one.evidence[-1].position_m == 40


def test_two_citizens_are_one_source_and_a_patrol_is_another() -> None:
    roads = Roads()
    assert roads.report("r1", CITIZEN) == ["IncidentSuspected"]
    assert roads.report("r2", CITIZEN) == ["IncidentSupported"] and roads.state == "SUSPECTED"
    assert roads.report("r3", PATROL) == ["IncidentSupported", "IncidentConfirmed"]
    assert [one.report_id for one in roads.one.evidence] == ["r1", "r2", "r3"]


def test_a_report_counts_once_also_when_the_incident_is_over() -> None:
    roads = Roads()
    roads.report("r1", CITIZEN)
    first = roads.one.incident_id
    assert roads.report("r1", CITIZEN) == []
    with pytest.raises(AlreadyDifferent, match="report r1 is of road 'a'"):
        roads.report("r1", CITIZEN, edge_id="b")
    roads.reject(4)
    assert roads.report("r1", CITIZEN) == []
    request = pb.ReportIncidentRequest(report_id="r1", edge_id="a")
    assert incidents.reported(roads.board, request) == (first, pb.TRAFFIC_INCIDENT_STATE_CLOSED)
    assert roads.report("r2", CITIZEN) == ["IncidentSuspected"] and roads.one.incident_id != first


# -- people -------------------------------------------------------------------------------------------------------------------


def test_a_person_confirms_what_is_blocked_and_may_say_it_anew() -> None:
    roads = Roads()
    roads.window(0, DEVIATING)
    assert roads.confirm(SOME) == ["IncidentConfirmed"] and roads.one.closure_id == ""
    assert roads.confirm(SOME) == []
    assert roads.confirm(WHOLE) == ["IncidentConfirmed"]
    closure = roads.one.closure_id
    assert closure == f"traffic-{roads.one.incident_id}-1"
    assert roads.confirm(SOME) == ["IncidentConfirmed"]
    assert of(ev.IncidentConfirmed, roads.log)[-1].ended_closure_id == closure and roads.one.closure_id == ""
    roads.confirm(WHOLE)
    assert roads.one.closure_id == f"traffic-{roads.one.incident_id}-2", "a closure that has ended does not come again"
    accident = pb.TRAFFIC_INCIDENT_KIND_ACCIDENT
    again = pb.ConfirmIncidentRequest(incident_id=roads.one.incident_id, kind=accident, scope=WHOLE)
    (told,) = incidents.confirm(roads.board, again)
    assert isinstance(told, ev.IncidentConfirmed) and (told.closure_id, told.ended_closure_id) == (roads.one.closure_id, "")


def test_a_person_may_say_the_same_as_two_sources_and_then_only_a_person_closes_it() -> None:
    roads = Roads()
    roads.report("r1", CITIZEN, scope=SOME)
    roads.report("r2", PATROL, scope=SOME)
    assert roads.state == "CONFIRMED" and not roads.one.by_person
    assert roads.confirm(SOME) == ["IncidentConfirmed"] and roads.one.by_person


def test_what_is_over_is_neither_confirmed_nor_rejected_nor_closed() -> None:
    roads = Roads()
    roads.window(0, DEVIATING)
    over = roads.one.incident_id
    roads.take(incidents.close(roads.board, pb.CloseIncidentRequest(incident_id=over, reason="towed"), START + 9 * MINUTE))
    (told,) = of(ev.IncidentClosed, roads.log)
    assert (told.end, told.reason) == (pb.INCIDENT_END_BY_PERSON, "towed")
    with pytest.raises(Refused, match=f"incident {over} is over"):
        incidents.confirm(roads.board, pb.ConfirmIncidentRequest(incident_id=over))
    with pytest.raises(Refused, match="is over"):
        incidents.reject(roads.board, pb.RejectIncidentRequest(incident_id=over), 0)
    with pytest.raises(Refused, match="is over"):
        incidents.close(roads.board, pb.CloseIncidentRequest(incident_id=over), 0)


def test_after_a_rejection_detectors_open_none_on_the_road_for_half_an_hour_and_people_may() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0, out=0))
    closure = roads.one.closure_id
    assert roads.reject(6) == ["IncidentRejected"]
    assert of(ev.IncidentRejected, roads.log)[0].ended_closure_id == closure
    assert roads.window(1, OCCUPIED, pair(0.4, edge_id="b")) == ["IncidentSuspected"], "on another road"
    assert roads.window(7, OCCUPIED) == []
    assert [one.edge_id for one in roads.board.open.values()] == ["b"]
    assert roads.window(8, OCCUPIED)[:1] == ["IncidentSuspected"]
    other = Roads()
    other.window(0, OCCUPIED)
    other.reject(5)
    assert other.window(6, OCCUPIED) == []
    assert other.window(7, OCCUPIED) == ["IncidentSuspected"], "the five minutes that begin when it ends"
    other.reject(41)
    assert other.minute(69, OCCUPIED) == [] and other.minute(75, OCCUPIED) == ["IncidentSuspected"]
    other.reject(76)
    assert other.report("r1", CITIZEN, 77) == ["IncidentSuspected"]


def test_what_was_measured_before_an_incident_was_closed_does_not_open_it_again() -> None:
    roads = Roads()
    roads.minute(5, OCCUPIED)
    over = roads.one.incident_id
    roads.take(incidents.close(roads.board, pb.CloseIncidentRequest(incident_id=over, reason="towed"), START + 7 * MINUTE))
    assert roads.minute(7, OCCUPIED) == [], "of the five minutes in which it was closed"
    assert roads.window(1, OCCUPIED) == []
    assert roads.window(2, OCCUPIED) == ["IncidentSuspected"] and roads.one.incident_id != over
    # Which roads were closed or rejected is not remembered for ever.
    assert set(roads.board.rejected) == {"a"}
    for minute, name in ((30, "r1"), (60, "r2")):
        roads.report(name, CITIZEN, minute, edge_id="b")
        other = next(one for one in roads.board.open.values() if one.edge_id == "b")
        request = pb.CloseIncidentRequest(incident_id=other.incident_id, reason="towed")
        roads.take(incidents.close(roads.board, request, START + minute * MINUTE))
        assert set(roads.board.open) == {"a"}
    assert roads.board.rejected == {"b": START + 60 * MINUTE}


def test_a_rejection_is_not_shortened_by_a_report_that_is_closed_meanwhile() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    roads.reject(6)
    roads.report("r1", CITIZEN, 7)
    request = pb.CloseIncidentRequest(incident_id=roads.one.incident_id, reason="towed")
    roads.take(incidents.close(roads.board, request, START + 8 * MINUTE))
    assert roads.window(7, OCCUPIED) == []
    assert roads.window(8, OCCUPIED) == ["IncidentSuspected"]


def test_what_a_person_has_confirmed_is_not_rejected() -> None:
    roads = Roads()
    roads.window(0, DEVIATING)
    roads.confirm()
    with pytest.raises(Refused, match="was confirmed by a person: close it when it is over"):
        roads.reject(9)


# -- how it ends by itself ----------------------------------------------------------------------------------------------------


def test_it_is_over_when_nothing_was_found_for_a_quarter_of_an_hour_and_vehicles_pass() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    assert [roads.window(number, QUIET) for number in (1, 2)] == [[], []]
    assert roads.window(3, pair(out=0)) == [], "nobody passes: it may be blocked all the same"
    assert roads.window(3) == [], "nothing is known"
    assert roads.window(4, QUIET) == ["IncidentClosed"]
    (told,) = of(ev.IncidentClosed, roads.log)
    assert (told.end, told.at.ToMicroseconds()) == (pb.INCIDENT_END_BACK_TO_NORMAL, START + 5 * WINDOW_US)


def test_what_a_person_has_confirmed_only_a_person_closes() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    roads.confirm()
    assert [roads.window(number, QUIET) for number in range(1, 9)] == [[]] * 8


def test_what_nobody_confirms_for_an_hour_is_over() -> None:
    roads = Roads()
    roads.report("r1", CITIZEN, 0)
    assert incidents.forget(roads.board, START + 60 * MINUTE - 1) == []
    roads.report("r2", CITIZEN, 30)
    assert incidents.forget(roads.board, START + 90 * MINUTE - 1) == []
    assert roads.take(incidents.forget(roads.board, START + 90 * MINUTE)) == ["IncidentClosed"]
    assert of(ev.IncidentClosed, roads.log)[0].end == pb.INCIDENT_END_NOT_CONFIRMED
    other = Roads()
    other.window(0, pair(0.4, 5.0))
    assert incidents.forget(other.board, START + 900 * MINUTE) == [], "it is confirmed"


def test_what_was_measured_while_an_incident_was_confirmed_is_not_what_is_usual() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0))
    now = START + 30 * MINUTE
    assert incidents.disturbed(roads.board, now) == {"a": [(START, now)]}
    for number in range(1, 5):
        roads.window(number, QUIET)
    assert incidents.disturbed(roads.board, now) == {"a": [(START, START + 4 * WINDOW_US)]}
    other = Roads()
    other.window(0, OCCUPIED)
    assert incidents.disturbed(other.board, now) == {}, "it is suspected only"
    other.window(4, QUIET)
    assert incidents.disturbed(other.board, now) == {}, "it was suspected only"


def test_what_was_disturbed_more_than_a_fortnight_ago_is_forgotten() -> None:
    roads = Roads()
    for day in (0, 14, 15):
        minute = day * 24 * 60
        roads.report("r1", CITIZEN, minute)
        roads.report("r2", PATROL, minute)
        request = pb.CloseIncidentRequest(incident_id=roads.one.incident_id, reason="towed")
        roads.take(incidents.close(roads.board, request, START + (minute + 1) * MINUTE))
        roads.board = replace(roads.board, reports={})
    assert [(begun - START) // (24 * 60 * MINUTE) for _, begun, _ in roads.board.disturbed] == [14, 15]


# -- late readings ------------------------------------------------------------------------------------------------------------


def test_what_late_readings_do_not_support_any_more_is_retracted() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    assert roads.window(0, QUIET, judged=1) == ["IncidentEvidenceRetracted"]
    (told,) = of(ev.IncidentEvidenceRetracted, roads.log)
    assert (told.source, told.state) == (CALIFORNIA, pb.TRAFFIC_INCIDENT_STATE_RETRACTED) and not roads.board.open


def test_a_window_of_which_nothing_is_known_any_more_supports_nothing() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    assert roads.window(0, judged=1) == ["IncidentEvidenceRetracted"] and not roads.board.open


def test_one_window_that_holds_no_more_leaves_what_others_support() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    roads.window(1, OCCUPIED)
    assert roads.window(0, QUIET, judged=2) == ["IncidentEvidenceRetracted"]
    assert roads.state == "SUSPECTED" and len(roads.one.evidence) == 1


def test_a_confirmation_goes_with_its_second_source_and_the_closure_with_it() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0, out=0))
    closure = roads.one.closure_id
    assert roads.window(0, pair(0.4, 0.0, out=0), judged=1) == ["IncidentSupported", "IncidentEvidenceRetracted"]
    assert roads.state == "SUSPECTED" and roads.one.closure_id == ""
    assert of(ev.IncidentEvidenceRetracted, roads.log)[0].ended_closure_id == closure
    assert roads.window(1, pair(0.4, 5.0, out=0)) == ["IncidentSupported", "IncidentSupported", "IncidentConfirmed"]
    assert roads.one.closure_id == f"traffic-{roads.one.incident_id}-2"


def test_one_that_is_found_again_after_it_was_retracted_closes_the_road_by_a_closure_that_has_not_ended() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0, out=0))
    first = roads.one
    assert roads.window(0, QUIET, judged=1) == ["IncidentEvidenceRetracted", "IncidentEvidenceRetracted"]
    roads.window(0, pair(0.4, 5.0, out=0), judged=2)
    assert roads.one.incident_id == first.incident_id
    assert roads.one.closure_id == f"traffic-{first.incident_id}-2"
    for number in range(incidents.REMEMBERED + 1):
        roads.window(number, pair(0.4, 5.0, out=0))
        roads.window(number, QUIET)
    assert len(roads.board.retracted) == incidents.REMEMBERED


def test_of_three_sources_two_are_left_and_it_stays_confirmed() -> None:
    roads = Roads()
    roads.window(0, pair(0.4, 5.0))
    roads.report("r1", CITIZEN)
    assert roads.window(0, OCCUPIED, judged=1) == ["IncidentSupported", "IncidentEvidenceRetracted"]
    assert roads.state == "CONFIRMED" and roads.one.sources == [CALIFORNIA, CITIZEN]


def test_what_a_person_has_confirmed_no_reading_takes_back() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    roads.confirm()
    assert roads.window(0, QUIET, judged=1) == ["IncidentEvidenceRetracted"]
    assert roads.state == "CONFIRMED" and roads.one.closure_id and roads.one.evidence == ()
    assert roads.window(1, QUIET) == []


def test_what_one_algorithm_finds_no_more_and_the_other_finds_now_stays_open() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    assert roads.window(0, DEVIATING, judged=1) == ["IncidentSupported", "IncidentEvidenceRetracted"]
    assert roads.state == "SUSPECTED" and roads.one.sources == [DEVIATE]


def test_figures_that_change_are_told_anew_and_the_same_ones_are_not() -> None:
    roads = Roads()
    roads.window(0, OCCUPIED)
    assert roads.window(0, OCCUPIED, judged=1) == []
    assert roads.window(0, pair(0.6), judged=1) == ["IncidentSupported"]
    assert len(roads.one.evidence) == 1 and round(roads.one.evidence[0].figures.occupancy_difference, 3) == 0.6


def test_what_late_readings_show_of_long_ago_opens_nothing_and_supports_what_is_open() -> None:
    roads = Roads()
    assert roads.window(0, OCCUPIED, judged=3) == []
    window: dict[str, Any] = {"from": timestamp(START), "to": timestamp(START + WINDOW_US)}
    measured = ev.PairsMeasured(pairs=[OCCUPIED], **window)
    now = START + WINDOW_US + incidents.OLD_US
    assert incidents.watch(roads.board, measured, LIMITS, {"a": "xihu"}, now)
    assert not incidents.watch(roads.board, measured, LIMITS, {"a": "xihu"}, now + 1), (
        "a quarter of an hour is not too long ago"
    )
    assert roads.window(1, OCCUPIED, judged=3) == ["IncidentSuspected"], "ten minutes ago"
    assert roads.window(0, OCCUPIED, judged=3) == ["IncidentSupported"]
    assert roads.window(-2, OCCUPIED, judged=3) == ["IncidentSupported"], "a quarter of an hour before it began"
    assert roads.window(-3, OCCUPIED, judged=3) == [], "that was another one"


def test_a_long_incident_keeps_its_newest_evidence() -> None:
    roads = Roads()
    for number in range(incidents.MOST + 5):
        roads.window(number, OCCUPIED)
    assert len(roads.one.evidence) == incidents.MOST and roads.one.since == START
    assert getattr(roads.one.evidence[-1], "from").ToMicroseconds() == START + (incidents.MOST + 4) * WINDOW_US
