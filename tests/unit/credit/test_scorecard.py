"""The scorecard by published values, and what it says of what it is made of."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from citybrain.credit.v1 import credit_service_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.testing import Running
from citybrain.services.credit import scorecard, scoring
from citybrain.services.credit.scorecard import DIMENSIONS, KINDS, WEIGHTS, Scored, current, points, read, score
from citybrain.services.credit.views import StandingRow
from tests.unit.credit.conftest import added, citizen, get, good

SORTS = [(dimension, kind, weight) for dimension in DIMENSIONS for kind in KINDS for weight in WEIGHTS]
CONTENT: dict[str, Any] = yaml.safe_load(
    """
version: test
score: 600
odds: 50
points_to_double: 20
lowest: 350
highest: 950
most: 5
weights:
"""
    + "".join(
        f"  {dimension}:\n"
        "    good: {minor: 0.1, common: 0.2, serious: 0.3}\n"
        "    bad: {minor: -0.1, common: -0.5, serious: -1}\n"
        for dimension in DIMENSIONS
    )
)


def test_factor_offset_and_points_are_those_of_the_book() -> None:
    """600 at 50:1, 20 to double the odds: N. Siddiqi, Credit Risk Scorecards (2006), chapter 6."""
    card = read(CONTENT)
    assert (round(card.factor, 4), round(card.offset, 4)) == (28.8539, 487.1229)
    assert [round(points(card, odds)) for odds in (10, 50, 100, 200)] == [554, 600, 620, 640]
    with pytest.raises(ValueError, match="above zero"):
        points(card, 0)


def test_of_whom_nothing_is_known_the_score_is_the_base_and_says_that_nothing_is_known() -> None:
    made = score(read(CONTENT), {})
    assert made == Scored(600, 600, (), DIMENSIONS, "test", False)


def test_each_dimension_says_what_it_adds_and_together_they_are_the_score() -> None:
    card = read(CONTENT)
    made = score(card, {("law_abiding", "bad", "serious"): 2, ("performance", "good", "common"): 1})
    assert [(part.dimension, round(part.points, 2), part.good, part.bad) for part in made.parts] == [
        ("performance", round(0.2 * card.factor, 2), 1, 0), ("law_abiding", round(-2 * card.factor, 2), 0, 2),
    ]  # fmt: skip
    assert made.score == math.floor(600 - 1.8 * card.factor + 0.5) == 548
    assert made.not_known == ("identity", "public_good", "social")


def test_of_one_sort_at_most_five_count_and_the_scale_ends() -> None:
    card = read(CONTENT)
    bad = ("law_abiding", "bad", "serious")
    assert score(card, {bad: 5}).score == score(card, {bad: 500}).score == math.floor(600 - 5 * card.factor + 0.5)
    everything = {sort: 100 for sort in SORTS if sort[1] == "bad"}
    assert (score(card, everything).score, score(card, everything).cut) == (350, True)
    deeper = read({**CONTENT, "lowest": -1000})
    assert (score(deeper, everything).score, score(deeper, everything).cut) == (math.floor(600 - 40 * card.factor + 0.5), False)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(SORTS), st.integers(0, 8), max_size=12), st.sampled_from(SORTS))
def test_a_good_record_more_never_lowers_a_score_and_a_bad_one_never_raises_it(
    counts: dict[tuple[str, str, str], int], sort: tuple[str, str, str]
) -> None:
    before = score(current(), counts)
    after = score(current(), {**counts, sort: counts.get(sort, 0) + 1})
    assert after.score >= before.score if sort[1] == "good" else after.score <= before.score
    assert abs(before.base + sum(part.points for part in before.parts) - before.score) <= 0.5 or before.cut


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"good": {"minor": 0.1, "common": 0.2}}, "no weight social.good.serious"),
        ({"bad": {"minor": 0.1, "common": -0.5, "serious": -1}}, "social.bad.minor is 0.1"),
    ],
)
def test_a_table_that_lacks_a_weight_or_turns_one_round_is_refused(change: dict[str, Any], problem: str) -> None:
    weights = {**CONTENT["weights"], "social": {**CONTENT["weights"]["social"], **change}}
    with pytest.raises(ValueError, match=problem):
        read({**CONTENT, "weights": weights})


def test_the_table_of_this_release_is_whole_and_has_a_version() -> None:
    card = current()
    assert card.version == "2026-11" and set(card.weights) == set(SORTS)
    assert (card.score, card.odds, card.points_to_double) == (600, 50, 20)


def test_a_score_names_its_factors_in_words_with_its_version(credit: Running) -> None:
    added(credit, ref=citizen())
    good(credit, ref=citizen())
    made = get(credit, citizen()).score
    assert [one.why for one in made.factors] == [
        "ability to perform: 1 good that count now, +7.2 points",
        "law-abiding: 1 bad that count now, -23.1 points",
    ]
    assert (made.score, made.base, made.version) == (584, 600, "2026-11")
    assert list(made.not_known) == [
        pb.CREDIT_DIMENSION_IDENTITY, pb.CREDIT_DIMENSION_PUBLIC_GOOD, pb.CREDIT_DIMENSION_SOCIAL,
    ]  # fmt: skip


def test_another_table_gives_another_score_of_the_same_row() -> None:
    row = StandingRow(pb.SUBJECT_KIND_FIRM, bad={"5/3": {"0": 1}})
    assert scoring.score(row, 0).version == scorecard.current().version
    other = scoring.score(row, 0, read(CONTENT))
    assert (other.version, other.score) == ("test", 571)
