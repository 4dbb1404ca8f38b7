"""given … when … then: what holds passes, what does not says in a few lines what there was instead."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from citybrain.traffic.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound, Refused
from citybrain.mesh.testing import Misused, given


@dataclass(frozen=True)
class Count:
    """How often something was reported."""

    reported: int = 0


def evolve(count: Count, event: Message) -> Count:
    return Count(count.reported + 1)


def report(count: Count, name: str, at_most: int = 2) -> list[Message]:
    if count.reported >= at_most:
        raise Refused("enough was reported", "ENOUGH")
    return [] if name == "silence" else [reported(name)]


def reported(name: str) -> ev.SignalReported:
    return ev.SignalReported(signal_id="延安路", command_id=name)


def fails(sentence: object, *said: str) -> None:
    assert callable(sentence)
    with pytest.raises(AssertionError) as caught:
        sentence()
    for text in said:
        assert text in str(caught.value), str(caught.value)


def test_a_sentence_goes_on_with_what_was_decided() -> None:
    end = (
        given(evolve, Count(), reported("a"))
        .when(report, "silence")
        .then_nothing()
        .when(report, "b")
        .then(reported("b"))
        .when(report, "c", at_most=3)
        .then(reported("c"))
    )
    assert end.state == Count(3)
    assert end.when(report, "d").then_refused(Refused, "ENOUGH").reason == "ENOUGH"


def test_other_events_than_expected_are_shown_line_by_line_with_what_differs() -> None:
    decided = given(evolve, Count()).when(report, "b")
    fails(
        lambda: decided.then(reported("a")),
        "report decided otherwise\n- expected\n+ decided\n",
        '  citybrain.traffic.v1.SignalReported\n    signal_id: "延安路"\n-   command_id: "a"\n+   command_id: "b"',
    )
    fails(lambda: decided.then(reported("b"), reported("b")), "- citybrain.traffic.v1.SignalReported")
    fails(decided.then_nothing, "- nothing\n", "+ citybrain.traffic.v1.SignalReported")
    fails(lambda: given(evolve, Count()).when(report, "silence").then(reported("a")), "+ nothing", "- citybrain.traffic.v1.")


def test_events_in_another_order_are_other_events() -> None:
    def both(count: Count) -> list[Message]:
        return [reported("a"), reported("b")]

    fails(lambda: given(evolve, Count()).when(both).then(reported("b"), reported("a")), 'command_id: "a"')


def test_a_refusal_where_events_were_expected_is_told_with_its_words_and_the_other_way_round() -> None:
    full = given(evolve, Count(), reported("a"), reported("b"))
    fails(lambda: full.when(report, "c").then(reported("c")), 'command_id: "c"', "it raised Refused('enough was reported')")
    fails(lambda: full.when(report, "c").then_nothing(), "it raised Refused")
    fails(lambda: full.when(report, "c").then_refused(NotFound), "expected to raise NotFound", "it raised Refused")
    fails(lambda: full.when(report, "c").then_refused(Refused, "TOO_LATE"), "TOO_LATE", "it said ENOUGH: enough was")
    fails(lambda: given(evolve, Count()).when(report, "a").then_refused(), "it decided", 'command_id: "a"')


def test_a_defect_is_no_refusal() -> None:
    def broken(count: Count) -> list[Message]:
        raise ZeroDivisionError

    fails(lambda: given(evolve, Count()).when(broken).then_refused(), "expected to raise ServiceError", "ZeroDivisionError")


def test_what_decides_otherwise_when_it_is_asked_again_is_not_pure() -> None:
    numbers = itertools.count()

    def impure(count: Count) -> list[Message]:
        return [reported(str(next(numbers)))]

    with pytest.raises(Misused, match="impure is not pure") as caught:
        given(evolve, Count()).when(impure)
    assert '-   command_id: "0"\n+   command_id: "1"' in str(caught.value)
