"""How grave an incident is by its numbers, at every bound of Decree 493."""

from __future__ import annotations

import pytest
from citybrain.safety.v1 import safety_service_pb2 as pb
from hypothesis import given as for_all
from hypothesis import strategies as st

from citybrain.services.safety import grading

GENERAL, LARGER, MAJOR, EXTRA = pb.GRADE_GENERAL, pb.GRADE_LARGER, pb.GRADE_MAJOR, pb.GRADE_EXTRA_MAJOR
M = 1_000_000
counts = st.builds(pb.Assessment, dead=st.integers(0, 60), badly_hurt=st.integers(0, 200), loss_yuan=st.integers(0, 200 * M))


@pytest.mark.parametrize(
    ("field", "value", "grade"),
    [
        ("dead", 0, GENERAL),
        ("dead", 2, GENERAL),
        ("dead", 3, LARGER),
        ("dead", 9, LARGER),
        ("dead", 10, MAJOR),
        ("dead", 29, MAJOR),
        ("dead", 30, EXTRA),
        ("badly_hurt", 9, GENERAL),
        ("badly_hurt", 10, LARGER),
        ("badly_hurt", 49, LARGER),
        ("badly_hurt", 50, MAJOR),
        ("badly_hurt", 99, MAJOR),
        ("badly_hurt", 100, EXTRA),
        ("loss_yuan", 10 * M - 1, GENERAL),
        ("loss_yuan", 10 * M, LARGER),
        ("loss_yuan", 50 * M - 1, LARGER),
        ("loss_yuan", 50 * M, MAJOR),
        ("loss_yuan", 100 * M - 1, MAJOR),
        ("loss_yuan", 100 * M, EXTRA),
    ],
)
def test_a_number_gives_a_grade_from_its_bound_on(field: str, value: int, grade: pb.Grade) -> None:
    assert grading.grade_of(pb.Assessment(**{field: value})) == grade  # type: ignore[arg-type]


def test_the_colours_are_red_orange_yellow_and_blue_from_the_gravest() -> None:
    colours = [grading.COLOURS[grade] for grade in (EXTRA, MAJOR, LARGER, GENERAL)]
    assert colours == [pb.COLOUR_RED, pb.COLOUR_ORANGE, pb.COLOUR_YELLOW, pb.COLOUR_BLUE]
    assert grading.COLOURS[pb.GRADE_UNSPECIFIED] == pb.COLOUR_UNSPECIFIED


@for_all(counts)
def test_the_grade_is_the_gravest_that_any_number_gives_alone(counted: pb.Assessment) -> None:
    alone = [
        pb.Assessment(dead=counted.dead),
        pb.Assessment(badly_hurt=counted.badly_hurt),
        pb.Assessment(loss_yuan=counted.loss_yuan),
    ]
    assert grading.grade_of(counted) == max(map(grading.grade_of, alone))


@for_all(counts, st.sampled_from(["dead", "badly_hurt", "loss_yuan"]), st.integers(0, 100 * M))
def test_a_higher_number_never_gives_a_lower_grade(counted: pb.Assessment, field: str, more: int) -> None:
    higher = pb.Assessment()
    higher.CopyFrom(counted)
    setattr(higher, field, getattr(counted, field) + more)
    assert grading.grade_of(higher) >= grading.grade_of(counted)


@for_all(st.lists(counts, max_size=5))
def test_of_several_sources_the_gravest_counts_and_nobody_is_no_grade(counted: list[pb.Assessment]) -> None:
    grade = grading.gravest(counted)
    assert grade == max(map(grading.grade_of, counted)) if counted else grade == pb.GRADE_UNSPECIFIED
