"""One incident: its reports, who may say how grave it is, and how it ends."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import pytest
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import events_pb2 as ev
from citybrain.safety.v1 import safety_service_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.mesh.errors import NotFound, Refused
from citybrain.mesh.testing import given
from citybrain.services.safety import domain, grading

GENERAL, LARGER, MAJOR, EXTRA = pb.GRADE_GENERAL, pb.GRADE_LARGER, pb.GRADE_MAJOR, pb.GRADE_EXTRA_MAJOR
NOW, LATER = Timestamp(seconds=1_767_600_000), Timestamp(seconds=1_767_600_900)
A, B = "saf-00000000000a", "saf-00000000000b"


def signal(name: str, place: bool = True) -> pb.Signal:
    where = RoadPlace(edge_id="e1", position_m=5) if place else None
    return pb.Signal(signal_id=name, source=pb.SIGNAL_SOURCE_119, kind=pb.EVENT_KIND_CRIME, place=where)


def opened(incident: str = A, district: str = "xihu", at: Timestamp = NOW, split_from: str = "") -> ev.SafetyIncidentOpened:
    return ev.SafetyIncidentOpened(
        incident_id=incident, kind=pb.EVENT_KIND_CRIME, opened_at=at, district_id=district, split_from_id=split_from
    )


def received(name: str, incident: str = A) -> ev.SignalReceived:
    return ev.SignalReceived(incident_id=incident, signal=signal(name), district_id="xihu")


def assess(dead: int = 0, source: pb.SignalSource = pb.SIGNAL_SOURCE_UNSPECIFIED, **more: int) -> pb.AssessIncidentRequest:
    return pb.AssessIncidentRequest(incident_id=A, dead=dead, source=source, **more)


def confirm(grade: pb.Grade) -> pb.ConfirmGradeRequest:
    return pb.ConfirmGradeRequest(incident_id=A, grade=grade, reason="a chemical plant")


def graded(old: pb.Grade, new: pb.Grade, why: str) -> ev.SafetyIncidentGraded:
    return ev.SafetyIncidentGraded(
        incident_id=A, old_grade=old, new_grade=new, colour=grading.COLOURS[new], why=why, district_id="xihu"
    )


def confirmed(grade: pb.Grade, by: str) -> ev.SafetyGradeConfirmed:
    confirmation = pb.Confirmation(confirmed_by=by, grade=grade)
    return ev.SafetyGradeConfirmed(incident_id=A, confirmation=confirmation, reason="a chemical plant", district_id="xihu")


def assessed(dead: int = 0, source: pb.SignalSource = pb.SIGNAL_SOURCE_UNSPECIFIED) -> ev.SafetyIncidentAssessed:
    return ev.SafetyIncidentAssessed(incident_id=A, assessment=pb.Assessment(source=source, dead=dead), district_id="xihu")


def of(*events: Message) -> domain.Incident:
    return reduce(domain.evolve, events, domain.Incident())


CLOSED = ev.SafetyIncidentClosed(incident_id=A, outcome="put out", district_id="xihu", ended_at=LATER)
MERGED = ev.SafetyIncidentMerged(incident_id=A, into_incident_id=B, reason="one fire", district_id="xihu", ended_at=LATER)
OPEN = given(domain.evolve, domain.Incident(), opened(), received("s1"))


# -- reports ----------------------------------------------------------------------------------------------------------------


def test_the_first_report_opens_an_incident_and_each_is_taken_in_once() -> None:
    new = given(domain.evolve, domain.Incident())
    first = new.when(domain.receive, A, signal("s1"), "xihu", NOW).then(opened(), received("s1"))
    first.when(domain.receive, A, signal("s1"), "xihu", LATER).then_nothing()
    # A report of the district next door belongs to the district of the incident.
    first.when(domain.receive, A, signal("s2"), "gongshu", LATER).then(received("s2"))


@pytest.mark.parametrize(("end", "reason"), [(CLOSED, "INCIDENT_CLOSED"), (MERGED, "INCIDENT_MERGED")])
def test_an_incident_that_has_ended_takes_no_report(end: Message, reason: str) -> None:
    ended = given(domain.evolve, of(opened(), received("s1"), end))
    ended.when(domain.receive, A, signal("s2"), "xihu", LATER).then_refused(Refused, reason)


def test_where_it_is_was_said_by_the_first_report_that_says_it() -> None:
    position = pb.Position(latitude=30, longitude=120)
    blind = pb.Signal(signal_id="s0", kind=pb.EVENT_KIND_FIRE, position=position)
    elsewhere = pb.Signal(signal_id="s2", place=RoadPlace(edge_id="e9"), position=pb.Position(latitude=1))
    events = [ev.SignalReceived(signal=each) for each in (blind, signal("s1"), elsewhere)]
    shown = domain.show(of(opened(), *events))
    assert (shown.position, shown.place.edge_id, shown.signals) == (position, "e1", 3)


def test_a_report_is_split_off_once_and_the_last_one_stays() -> None:
    request = pb.SplitSignalRequest(incident_id=A, signal_id="s2", reason="another house")
    two = given(domain.evolve, of(opened(), received("s1"), received("s2")))
    off = ev.SignalSplitOff(incident_id=A, signal_id="s2", to_incident_id=B, reason="another house", district_id="xihu")
    split = two.when(domain.split_off, "s2", B, request).then(off)
    split.when(domain.split_off, "s2", "saf-00000000000c", request).then_nothing()
    assert [each.signal_id for each in domain.own_signals(split.state)] == ["s1"]
    split.when(domain.split_off, "s1", B, request).then_refused(Refused, "ONLY_SIGNAL")
    split.when(domain.split_off, "s9", B, request).then_refused(NotFound, "NO_SUCH_SIGNAL")
    # The only one of an incident that was merged is not the only one of what it is now.
    OPEN.when(domain.split_off, "s1", B, request).then_refused(Refused, "ONLY_SIGNAL")
    for joined in (MERGED, ev.SafetyIncidentAbsorbed(incident_id=A, from_incident_id=B)):
        assert domain.split_off(of(opened(), received("s1"), joined), "s1", B, request)


# -- how grave it is --------------------------------------------------------------------------------------------------------


def test_numbers_give_the_grade_and_each_change_is_an_event_with_why() -> None:
    none = OPEN.when(domain.assess, assess(2)).then(
        assessed(2), graded(pb.GRADE_UNSPECIFIED, GENERAL, "a person counts 2 dead, 0 badly hurt, 0 yuan")
    )
    larger = none.when(domain.assess, assess(3)).then(
        assessed(3), graded(GENERAL, LARGER, "a person counts 3 dead, 0 badly hurt, 0 yuan")
    )
    larger.when(domain.assess, assess(4)).then(assessed(4))
    larger.when(domain.assess, assess(3)).then_nothing()
    lower = larger.when(domain.assess, assess(1)).then(
        assessed(1), graded(LARGER, GENERAL, "a person counts 1 dead, 0 badly hurt, 0 yuan")
    )
    assert domain.show(lower.state).colour == pb.COLOUR_BLUE


def test_a_source_replaces_what_it_counted_itself_and_nothing_of_another() -> None:
    fire, police = pb.SIGNAL_SOURCE_119, pb.SIGNAL_SOURCE_110
    both = given(domain.evolve, of(opened(), received("s1"), assessed(10, fire), graded(0, MAJOR, "")))  # type: ignore[arg-type]
    same = both.when(domain.assess, assess(0, police)).then(assessed(0, police))
    same.when(domain.assess, assess(0, fire)).then(
        assessed(0, fire), graded(MAJOR, GENERAL, "119 counts 0 dead, 0 badly hurt, 0 yuan")
    )


def test_a_person_confirms_or_raises_a_grade_and_numbers_do_not_lower_it() -> None:
    counted = OPEN.when(domain.assess, assess(3)).then(
        assessed(3), graded(pb.GRADE_UNSPECIFIED, LARGER, "a person counts 3 dead, 0 badly hurt, 0 yuan")
    )
    same = counted.when(domain.confirm, confirm(LARGER), "li").then(confirmed(LARGER, "li"))
    same.when(domain.confirm, confirm(LARGER), "li").then_nothing()
    same.when(domain.assess, assess(0)).then(assessed(0))
    raised = same.when(domain.confirm, confirm(EXTRA), "li").then(
        confirmed(EXTRA, "li"), graded(LARGER, EXTRA, "a chemical plant")
    )
    raised.when(domain.assess, assess(0)).then(assessed(0))
    raised.when(domain.assess, assess(29)).then(assessed(29))
    # Numbers raise it above what was confirmed.
    same.when(domain.assess, assess(30)).then(
        assessed(30), graded(LARGER, EXTRA, "a person counts 30 dead, 0 badly hurt, 0 yuan")
    )


def test_before_anybody_has_counted_a_person_may_say_how_grave_it_is() -> None:
    OPEN.when(domain.confirm, confirm(MAJOR), "li").then(
        confirmed(MAJOR, "li"), graded(pb.GRADE_UNSPECIFIED, MAJOR, "a chemical plant")
    )


def test_only_who_confirmed_a_grade_confirms_a_lower_one_and_not_below_the_numbers() -> None:
    events = [assessed(3), confirmed(MAJOR, "li"), graded(LARGER, MAJOR, "")]
    raised = given(domain.evolve, of(opened(), received("s1"), *events))
    raised.when(domain.confirm, confirm(LARGER), "wang").then_refused(Refused, "BELOW_CONFIRMED")
    raised.when(domain.confirm, confirm(GENERAL), "li").then_refused(Refused, "BELOW_NUMBERS")
    raised.when(domain.confirm, confirm(LARGER), "li").then(confirmed(LARGER, "li"), graded(MAJOR, LARGER, "a chemical plant"))
    # Whoever confirmed the same keeps it there.
    seconded = raised.when(domain.confirm, confirm(MAJOR), "wang").then(confirmed(MAJOR, "wang"))
    seconded.when(domain.confirm, confirm(LARGER), "li").then_refused(Refused, "BELOW_CONFIRMED")


def test_an_incident_that_is_closed_is_still_assessed_and_one_that_was_merged_is_not() -> None:
    closed = given(domain.evolve, of(opened(), received("s1"), CLOSED))
    closed.when(domain.assess, assess(3)).then(
        assessed(3), graded(pb.GRADE_UNSPECIFIED, LARGER, "a person counts 3 dead, 0 badly hurt, 0 yuan")
    )
    merged = given(domain.evolve, of(opened(), received("s1"), MERGED))
    merged.when(domain.assess, assess(3)).then_refused(Refused, "INCIDENT_MERGED")
    merged.when(domain.confirm, confirm(LARGER), "li").then_refused(Refused, "INCIDENT_MERGED")
    unknown = given(domain.evolve, domain.Incident())
    unknown.when(domain.assess, assess(3)).then_refused(NotFound, "NO_SUCH_INCIDENT")


says = st.one_of(
    st.builds(assess, st.integers(0, 40), st.sampled_from([pb.SIGNAL_SOURCE_UNSPECIFIED, pb.SIGNAL_SOURCE_119])),
    st.tuples(st.builds(confirm, st.sampled_from([GENERAL, LARGER, MAJOR, EXTRA])), st.sampled_from(["li", "wang"])),
)


@for_all(st.lists(says, max_size=12))
def test_whatever_is_said_the_grade_is_the_gravest_of_numbers_and_confirmations_and_its_changes_are_a_chain(
    said: Iterable[object],
) -> None:
    state, grade = of(opened(), received("s1")), pb.GRADE_UNSPECIFIED
    by_li = 0
    for one in said:
        try:
            events = (
                domain.assess(state, one)
                if isinstance(one, pb.AssessIncidentRequest)
                else domain.confirm(state, one[0], one[1])  # type: ignore[index]
            )
        except Refused:
            continue
        if not isinstance(one, pb.AssessIncidentRequest) and one[1] == "li":  # type: ignore[index]
            by_li = one[0].grade  # type: ignore[index]
        for event in events:
            if isinstance(event, ev.SafetyIncidentGraded):
                assert event.old_grade == grade != event.new_grade
                grade = event.new_grade
        state = reduce(domain.evolve, events, state)
        numbers = [grading.grade_of(each) for each in state.assessments.values()]
        assert state.grade == grade == max([*numbers, *state.confirmed.values()], default=pb.GRADE_UNSPECIFIED)
        assert state.grade >= by_li


# -- its end ----------------------------------------------------------------------------------------------------------------


def test_an_incident_is_closed_once_and_not_when_it_is_one_with_another() -> None:
    request = pb.CloseIncidentRequest(incident_id=A, outcome="put out")
    closed = OPEN.when(domain.close, request, LATER).then(CLOSED)
    closed.when(domain.close, request, LATER).then_nothing()
    given(domain.evolve, of(opened(), MERGED)).when(domain.close, request, LATER).then_refused(Refused, "INCIDENT_MERGED")
    given(domain.evolve, domain.Incident()).when(domain.close, request, LATER).then_refused(NotFound, "NO_SUCH_INCIDENT")


def test_the_younger_of_two_that_are_one_ends_once() -> None:
    request = pb.MergeIncidentsRequest(incident_id=A, other_incident_id=B, reason="one fire")
    into = of(opened(B))
    merged = OPEN.when(domain.merge, into, request, LATER).then(MERGED)
    merged.when(domain.merge, into, request, LATER).then_nothing()
    merged.when(domain.merge, of(opened("saf-00000000000c")), request, LATER).then_refused(Refused, "INCIDENT_MERGED")
    closed = given(domain.evolve, of(opened(), CLOSED))
    closed.when(domain.merge, into, request, LATER).then_refused(Refused, "INCIDENT_CLOSED")


def test_the_older_takes_over_numbers_and_confirmations_once_and_its_grade_follows() -> None:
    fire = pb.SIGNAL_SOURCE_119
    theirs = pb.Assessment(source=fire, dead=4, badly_hurt=1), pb.Assessment(dead=1)
    younger = of(
        opened(B), ev.SafetyIncidentAssessed(assessment=theirs[0]), ev.SafetyIncidentAssessed(assessment=theirs[1]),
        confirmed(MAJOR, "li"),
    )  # fmt: skip
    older = given(domain.evolve, of(opened(), assessed(2, fire), graded(0, GENERAL, "")))  # type: ignore[arg-type]
    absorbed = older.when(domain.absorb, younger).then(
        ev.SafetyIncidentAbsorbed(
            incident_id=A, from_incident_id=B, assessments=theirs,
            confirmations=[pb.Confirmation(confirmed_by="li", grade=MAJOR)], district_id="xihu",
        ),
        graded(GENERAL, MAJOR, f"it is one with {B}"),
    )  # fmt: skip
    absorbed.when(domain.absorb, younger).then_nothing()
    state = absorbed.state
    assert state.assessments[fire] == pb.Assessment(source=fire, dead=4, badly_hurt=1)
    assert (state.absorbed, domain.floor(state)) == ((B,), MAJOR)
    # What is higher here stays.
    more = of(opened(), assessed(9, fire), confirmed(EXTRA, "li"))
    after = reduce(domain.evolve, domain.absorb(more, younger), more)
    assert (after.assessments[fire].dead, after.assessments[fire].badly_hurt, domain.floor(after)) == (9, 1, EXTRA)


def test_which_of_two_is_older_is_the_same_whoever_asks() -> None:
    first, second, same = of(opened(B, at=NOW)), of(opened(A, at=LATER)), of(opened(A, at=NOW))
    assert domain.is_older(first, second) and not domain.is_older(second, first)
    assert domain.is_older(same, first) and not domain.is_older(first, same)
