"""The critical path: what the time of an incident went into, one part after the other."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.cli.incident.critical_path import critical_path, longest
from citybrain.observability.spans import Span
from citybrain.observability.trace_tree import build
from tests.unit.incident.made import TRACE, span


def path(*spans: Span) -> list[tuple[str, float, bool]]:
    (root,) = build(spans)
    return [(part.span.name, part.ms, part.pause) for part in critical_path(root)]


def test_of_two_calls_side_by_side_the_one_that_ends_last_is_on_it() -> None:
    root = span("root", 0, 10)
    assert path(root, span("short", 1, 4, root), span("long", 2, 9, root)) == [
        ("root", 2, False), ("long", 7, False), ("root", 1, False),
    ]  # fmt: skip


def test_of_two_calls_one_after_the_other_both_are_and_what_lies_between_is_their_callers() -> None:
    root = span("root", 0, 10)
    assert path(root, span("first", 1, 4, root), span("second", 6, 9, root)) == [
        ("root", 1, False), ("first", 3, False), ("root", 2, False), ("second", 3, False), ("root", 1, False),
    ]  # fmt: skip


def test_where_an_event_leads_on_after_its_writer_has_ended_the_time_between_is_a_pause() -> None:
    root = span("report", 0, 2)
    assert path(root, span("handle", 5, 6, root)) == [("report", 2, False), ("report", 3, True), ("handle", 1, False)]


def test_a_call_that_ends_where_the_next_begins_leaves_nothing_between() -> None:
    root = span("root", 0, 4)
    assert path(root, span("first", 0, 2, root), span("second", 2, 4, root)) == [("first", 2, False), ("second", 2, False)]


def test_of_several_traces_the_one_that_took_longest_is_shown() -> None:
    roots = build([span("a", 0, 5), span("b", 0, 9, trace_id="b" * 32)])
    assert [part.span.name for part in longest(roots)] == ["b"]
    assert longest([]) == []


def test_a_very_deep_trace_is_walked_to_its_end() -> None:
    spans = [span("0", 0, 5000)]
    for number in range(1, 3000):
        spans.append(span(str(number), number, 5000, spans[-1]))
    (root,) = build(spans)
    assert len(critical_path(root)) == 3000


@settings(max_examples=40)
@given(st.integers(0, 10**6))
def test_the_parts_touch_each_other_and_are_as_long_as_the_whole_tree(seed: int) -> None:
    dice = random.Random(seed)
    spans = [span("root", 0, dice.randrange(1, 50))]
    for _ in range(dice.randrange(12)):
        parent = dice.choice(spans)
        begin = dice.randrange(parent.start_ns // 1_000_000, 60)
        spans.append(span("s", begin, begin + dice.randrange(0, 30), parent))
    (root,) = build(spans)
    parts = critical_path(root)
    assert parts[0].begin_ns == 0 and parts[-1].end_ns == max(one.end_ns for one in spans)
    assert all(one.end_ns == other.begin_ns for one, other in itertools.pairwise(parts))
    assert all(one.ms > 0 for one in parts)
    assert {one.span.trace_id for one in parts} == {TRACE}
    # Nothing works before it begins or after it has ended.
    assert all(one.pause or one.span.start_ns <= one.begin_ns <= one.end_ns <= one.span.end_ns for one in parts)


def test_work_that_ended_before_what_came_next_is_on_it_though_other_work_beside_it_went_on() -> None:
    root = span("handle", 0, 1)
    reserve = span("reserve", 2, 3, root)
    arrived, later = span("arrived", 6, 7, reserve), span("later", 20, 21, reserve)
    assert later.end_ns > arrived.end_ns
    close = span("step close", 10, 12, root)
    told = path(root, reserve, arrived, later, close)
    assert [name for name, _, pause in told if not pause] == ["handle", "reserve", "arrived", "step close"]
    # The path ends with the last step: what comes in later, nobody waits for.
    assert sum(ms for _, ms, _ in told) == 12


def test_what_began_before_its_cause_by_another_clock_is_passed_over() -> None:
    root = span("root", 10, 20)
    assert path(root, span("early", 5, 15, root), span("inside", 16, 18, root)) == [
        ("root", 6, False), ("inside", 2, False), ("root", 2, False),
    ]  # fmt: skip
