"""Credit before approval (信用前置): what is told of a subject, for a purpose. Pure.

A decision rests on sanctions in force alone, because only a sanction was decided by somebody, by a law, after a hearing.
Records and their number are told beside it; the score is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from citybrain.credit.v1 import credit_service_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.services.credit.views import SanctionRow, StandingRow, standing_counts

MOST_REASONS = 20

KEEPS_FROM: Mapping[int, int] = {
    pb.SANCTION_MEASURE_NO_APPROVAL: pb.CHECK_PURPOSE_APPROVAL,
    pb.SANCTION_MEASURE_NO_PROCUREMENT: pb.CHECK_PURPOSE_PROCUREMENT,
    pb.SANCTION_MEASURE_NO_SUBSIDY: pb.CHECK_PURPOSE_SUBSIDY,
    pb.SANCTION_MEASURE_NO_AWARD: pb.CHECK_PURPOSE_AWARD,
    pb.SANCTION_MEASURE_LENDERS_TOLD: pb.CHECK_PURPOSE_LENDING,
}
"""What each measure keeps a subject from. More inspections keep it from nothing."""

MEASURES: Mapping[int, str] = {
    pb.SANCTION_MEASURE_NO_APPROVAL: "no approvals",
    pb.SANCTION_MEASURE_NO_PROCUREMENT: "no public procurement",
    pb.SANCTION_MEASURE_NO_SUBSIDY: "no subsidies",
    pb.SANCTION_MEASURE_NO_AWARD: "no awards",
    pb.SANCTION_MEASURE_INSPECTED_MORE: "more inspections",
    pb.SANCTION_MEASURE_LENDERS_TOLD: "lenders are told",
}
WEIGHTS: Mapping[int, str] = {
    pb.RECORD_WEIGHT_MINOR: "minor",
    pb.RECORD_WEIGHT_COMMON: "common",
    pb.RECORD_WEIGHT_SERIOUS: "serious",
}
DIMENSIONS: Mapping[int, str] = {
    pb.CREDIT_DIMENSION_IDENTITY: "identity",
    pb.CREDIT_DIMENSION_PUBLIC_GOOD: "public good",
    pb.CREDIT_DIMENSION_SOCIAL: "social",
    pb.CREDIT_DIMENSION_PERFORMANCE: "ability to perform",
    pb.CREDIT_DIMENSION_LAW_ABIDING: "law-abiding",
}


def decide(row: StandingRow | None, purpose: int, now: int) -> tuple[pb.CreditDecision, list[pb.Reason]]:
    """The decision, and why: what it rests on comes first. `row`: None where nothing is known; `now`: microseconds."""
    if row is None:
        reason = pb.Reason(
            kind=pb.REASON_KIND_NOT_KNOWN,
            text="nothing is known of this subject, neither good nor bad: decide without its credit",
        )
        return pb.CREDIT_DECISION_UNKNOWN, [reason]
    appealed = set(row.appealed.values())
    # A sanction is over at the moment of its end.
    in_force = sorted((name, one) for name, one in row.sanctions.items() if one.until > now)
    restricting = [(name, one) for name, one in in_force if keeps_from(one, purpose)]
    reasons = [_sanction(name, one, pb.REASON_KIND_SANCTION, name in appealed) for name, one in restricting]
    if not restricting and not in_force and not any(True for _ in standing_counts(row.bad, now)):
        reasons.append(pb.Reason(kind=pb.REASON_KIND_NOTHING_BAD, text="nothing bad that counts now is recorded"))
    reasons += [
        _sanction(name, one, pb.REASON_KIND_OTHER_SANCTION, name in appealed)
        for name, one in in_force
        if not keeps_from(one, purpose)
    ]
    reasons += _records(row, now)
    return (pb.CREDIT_DECISION_RESTRICTED if restricting else pb.CREDIT_DECISION_CLEAR), reasons[:MOST_REASONS]


def keeps_from(sanction: SanctionRow, purpose: int) -> bool:
    """Whether a sanction keeps its subject from something."""
    return any(KEEPS_FROM.get(measure) == purpose for measure in sanction.measures)


def _sanction(name: str, one: SanctionRow, kind: pb.ReasonKind, appealed: bool) -> pb.Reason:
    what = ", ".join(MEASURES[measure] for measure in MEASURES if measure in one.measures)
    beside = "" if kind == pb.REASON_KIND_SANCTION else "; it does not concern what is asked for"
    return pb.Reason(
        kind=kind, sanction_id=name, law=one.law, until=timestamp(one.until), appealed=appealed,
        text=f"a sanction is in force: {what} (case {one.case_id}){beside}",
    )  # fmt: skip


def _records(row: StandingRow, now: int) -> Iterator[pb.Reason]:
    for kind, word, counts in (
        (pb.REASON_KIND_BAD_RECORDS, "bad", row.bad),
        (pb.REASON_KIND_GOOD_RECORDS, "good", row.good),
    ):
        for dimension, weight, count, last in standing_counts(counts, now):
            named = "record" if count == 1 else "records"
            what = f"{count} {WEIGHTS[weight]} {word} {named} ({DIMENSIONS[dimension]})"
            yield pb.Reason(kind=kind, text=what, records=count, until=timestamp(last) if last else None)
