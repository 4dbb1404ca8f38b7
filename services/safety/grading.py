"""How grave an incident is, by the numbers: Decree 493 of the State Council (2007), article 3.

Each bound is included from below, and excluded from above: 10 dead are a major accident, 9 a larger one.
"""

from __future__ import annotations

from collections.abc import Iterable

from citybrain.safety.v1 import safety_service_pb2 as pb

FROM = {
    pb.GRADE_EXTRA_MAJOR: (30, 100, 100_000_000),
    pb.GRADE_MAJOR: (10, 50, 50_000_000),
    pb.GRADE_LARGER: (3, 10, 10_000_000),
}
"""The gravest first. From how many dead, badly hurt, or yuan of direct loss on an incident has a grade; below all: general."""

COLOURS = {
    pb.GRADE_UNSPECIFIED: pb.COLOUR_UNSPECIFIED,
    pb.GRADE_GENERAL: pb.COLOUR_BLUE,
    pb.GRADE_LARGER: pb.COLOUR_YELLOW,
    pb.GRADE_MAJOR: pb.COLOUR_ORANGE,
    pb.GRADE_EXTRA_MAJOR: pb.COLOUR_RED,
}
"""Red, orange, yellow and blue, from the gravest."""

NAMES = {
    pb.GRADE_UNSPECIFIED: "not assessed",
    pb.GRADE_GENERAL: "general (一般)",
    pb.GRADE_LARGER: "larger (较大)",
    pb.GRADE_MAJOR: "major (重大)",
    pb.GRADE_EXTRA_MAJOR: "extra-major (特别重大)",
}


TOGETHER = frozenset({pb.EVENT_KIND_FIRE, pb.EVENT_KIND_GAS_LEAK, pb.EVENT_KIND_FLOOD, pb.EVENT_KIND_CROWD})
"""The kinds of event on which departments act together without being asked; a proposal of this project."""

TOGETHER_FROM = pb.GRADE_LARGER
"""The grade from which on they do; a proposal too."""


def needs_joint_command(kind: pb.EventKind, grade: pb.Grade) -> bool:
    """Whether an incident of a kind and a grade is too much for one department."""
    return kind in TOGETHER and grade >= TOGETHER_FROM


def grade_of(counted: pb.Assessment) -> pb.Grade:
    """The gravest grade that one of these numbers gives."""
    numbers = (counted.dead, counted.badly_hurt, counted.loss_yuan)
    for grade, bounds in FROM.items():
        if any(number >= bound for number, bound in zip(numbers, bounds, strict=True)):
            return grade
    return pb.GRADE_GENERAL


def gravest(counted: Iterable[pb.Assessment]) -> pb.Grade:
    """The gravest grade that a number of any source gives; unspecified where nobody has counted."""
    return max(map(grade_of, counted), default=pb.GRADE_UNSPECIFIED)
