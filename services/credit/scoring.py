"""The score of a subject from its row, in the words of the contract."""

from __future__ import annotations

from collections.abc import Mapping

from citybrain.credit.v1 import credit_service_pb2 as pb

from citybrain.services.credit import decision, scorecard
from citybrain.services.credit.views import StandingRow, standing_counts

_DIMENSIONS: Mapping[int, str] = {
    pb.CREDIT_DIMENSION_IDENTITY: "identity",
    pb.CREDIT_DIMENSION_PUBLIC_GOOD: "public_good",
    pb.CREDIT_DIMENSION_SOCIAL: "social",
    pb.CREDIT_DIMENSION_PERFORMANCE: "performance",
    pb.CREDIT_DIMENSION_LAW_ABIDING: "law_abiding",
}
_NUMBERS: Mapping[str, pb.CreditDimension] = {name: number for number, name in _DIMENSIONS.items()}  # type: ignore[misc]


def score(row: StandingRow, now: int, card: scorecard.Scorecard | None = None) -> pb.Score:
    """The score at a moment (microseconds), with what each dimension adds and why."""
    counts = {
        (_DIMENSIONS[dimension], kind, decision.WEIGHTS[weight]): count
        for kind, kept in (("good", row.good), ("bad", row.bad))
        for dimension, weight, count, _ in standing_counts(kept, now)
    }
    made = scorecard.score(card or scorecard.current(), counts)
    return pb.Score(
        score=made.score,
        base=made.base,
        factors=[
            pb.ScoreFactor(
                dimension=_NUMBERS[part.dimension], points=part.points, good_records=part.good, bad_records=part.bad,
                why=_why(part),
            )
            for part in made.parts
        ],
        not_known=[_NUMBERS[name] for name in made.not_known],
        version=made.version,
        cut=made.cut,
    )  # fmt: skip


def _why(part: scorecard.Part) -> str:
    counted = " and ".join(f"{count} {word}" for count, word in ((part.good, "good"), (part.bad, "bad")) if count)
    return f"{decision.DIMENSIONS[_NUMBERS[part.dimension]]}: {counted} that count now, {part.points:+.1f} points"
