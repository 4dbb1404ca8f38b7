"""A firm: what happened to it, its credit and risk, and when it is to be inspected next. Pure.

What happens to a firm stands in the streams of its sources, inspections and cases. A reaction writes it into the firm's own
stream, where the rest follows in the same append.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.environment import scorecard
from citybrain.services.environment.hours import DAY_US, HANGZHOU


@dataclass(frozen=True, slots=True)
class Firm:
    """A firm.

    `decisions`: case → whether what it found was put right. `rejected`: case → how often it was not, when looked at.
    `since`, `inspected`: in microseconds; 0: never. `listed`: as it is listed.
    """

    firm_id: str = ""
    name: str = ""
    district_id: str = ""
    since: int = 0
    sources: Mapping[str, float] = field(default_factory=dict)
    decisions: Mapping[str, bool] = field(default_factory=dict)
    findings: frozenset[str] = frozenset()
    clean: frozenset[str] = frozenset()
    rejected: Mapping[str, int] = field(default_factory=dict)
    exceeded: frozenset[str] = frozenset()
    inspected: int = 0
    credit: pb.EnvironmentalCredit = pb.ENVIRONMENTAL_CREDIT_UNSPECIFIED
    risk: pb.RiskGrade = pb.RISK_GRADE_UNSPECIFIED
    listed: pb.InspectionDue | None = None


def evolve(firm: Firm, event: Message) -> Firm:
    """The firm after an event."""
    match event:
        case ev.FirmNoted():
            known = replace(firm, firm_id=event.firm_id, name=event.name, district_id=event.district_id)
            return _noted(known, event.entry)
        case ev.EnvironmentalCreditChanged():
            return replace(firm, credit=event.new_credit, risk=event.risk)
        case ev.InspectionListed():
            return replace(firm, listed=event.due)
        case ev.InspectionUnlisted():
            return replace(firm, listed=None)
    return firm


def _noted(firm: Firm, entry: pb.FirmEntry) -> Firm:
    at, about = microseconds(entry.at), entry.about
    match entry.kind:
        case pb.FIRM_ENTRY_KIND_SOURCE_ADMITTED:
            return replace(firm, sources={**firm.sources, about: entry.kg_a_year}, since=firm.since or at)
        case pb.FIRM_ENTRY_KIND_SOURCE_CLOSED:
            return replace(firm, sources={key: kg for key, kg in firm.sources.items() if key != about})
        case pb.FIRM_ENTRY_KIND_FOUND:
            return replace(firm, findings=firm.findings | {about}, inspected=max(firm.inspected, at))
        case pb.FIRM_ENTRY_KIND_CLEAN:
            return replace(firm, clean=firm.clean | {about}, inspected=max(firm.inspected, at))
        case pb.FIRM_ENTRY_KIND_DECIDED:
            return replace(firm, decisions={**firm.decisions, about: False})
        case pb.FIRM_ENTRY_KIND_REVOKED:
            decisions = {key: right for key, right in firm.decisions.items() if key != about}
            return replace(firm, decisions=decisions, rejected={key: n for key, n in firm.rejected.items() if key != about})
        case pb.FIRM_ENTRY_KIND_CORRECTED:
            return replace(firm, decisions={key: right or key == about for key, right in firm.decisions.items()})
        case pb.FIRM_ENTRY_KIND_NOT_CORRECTED:
            return replace(firm, rejected={**firm.rejected, about: firm.rejected.get(about, 0) + 1})
        case pb.FIRM_ENTRY_KIND_EXCEEDED:
            return replace(firm, exceeded=firm.exceeded | {about})
        case pb.FIRM_ENTRY_KIND_EXCEEDANCE_RETRACTED:
            return replace(firm, exceeded=firm.exceeded - {about})
    return firm


def district_of(firm: Firm) -> str:
    """The district of a firm: that of its first source."""
    return firm.district_id


def existing(firm: Firm, firm_id: str) -> Firm:
    """The firm, or NotFound."""
    if not firm.firm_id:
        raise NotFound(f"nothing is known of firm {firm_id}: AdmitSource makes its first source known", "NO_SUCH_FIRM")
    return firm


def facts(firm: Firm) -> scorecard.Facts:
    """What the scorecard counts."""
    corrected = sum(firm.decisions.values())
    return scorecard.Facts(
        uncorrected=len(firm.decisions) - corrected, corrected=corrected, findings=len(firm.findings),
        rejected=sum(firm.rejected.values()), exceeded=len(firm.exceeded), clean=len(firm.clean),
        kg_a_year=sum(firm.sources.values()),
    )  # fmt: skip


def note(firm: Firm, firm_id: str, entry: pb.FirmEntry, district_id: str, name: str = "") -> list[Message]:
    """Writes down what happened, with what follows for credit, risk and the next inspection.

    What refutes something that the firm never had is left out: an exceedance that was never its own.
    """
    if entry.kind == pb.FIRM_ENTRY_KIND_EXCEEDANCE_RETRACTED and entry.about not in firm.exceeded:
        return []
    noted = ev.FirmNoted(firm_id=firm_id, entry=entry, district_id=firm.district_id or district_id, name=name or firm.name)
    after = evolve(firm, noted)
    found = scorecard.standing(facts(after))
    events: list[Message] = [noted]
    credit, risk = _CREDIT[found.credit], _RISK[found.risk]
    if (credit, risk) != (firm.credit, firm.risk):
        events.append(
            ev.EnvironmentalCreditChanged(
                firm_id=firm_id, old_credit=firm.credit, new_credit=credit, risk=risk, score=found.score,
                factors=_factors(found), scorecard=scorecard.VERSION, district_id=after.district_id,
                because=f"{pb.FirmEntryKind.Name(entry.kind).removeprefix('FIRM_ENTRY_KIND_').lower()} {entry.about}",
            )
        )  # fmt: skip
    due = next_inspection(after, found)
    if due == firm.listed:
        return events
    if firm.listed is not None:
        events.append(
            ev.InspectionUnlisted(firm_id=firm_id, due_at=firm.listed.due_at, district_id=firm.listed.district_id)
        )  # fmt: skip
    if due is not None:
        events.append(ev.InspectionListed(due=due, district_id=after.district_id))
    return events


def next_inspection(firm: Firm, found: scorecard.Standing) -> pb.InspectionDue | None:
    """When a firm is to be inspected next, and why; None: it has no source any more."""
    if not firm.sources:
        return None
    days = scorecard.DAYS[found.risk]
    last = firm.inspected or firm.since
    when = f"last inspected on {_day(firm.inspected)}" if firm.inspected else f"never inspected since {_day(firm.since)}"
    reasons = [f"{when}; firms of {found.risk.lower()} risk are inspected every {days} days"]
    reasons += [f"{one.amount:g} {one.name}" for one in found.factors if one.points < 0]
    reasons.append(f"{len(firm.sources)} sources with permits for {sum(firm.sources.values()):g} kg a year")
    return pb.InspectionDue(
        firm_id=firm.firm_id, name=firm.name, due_at=timestamp(last + days * DAY_US), reasons=reasons, risk=_RISK[found.risk],
        district_id=firm.district_id,
    )  # fmt: skip


def show(firm: Firm) -> pb.FirmStanding:
    """The standing of a firm as callers see it."""
    found = scorecard.standing(facts(firm))
    return pb.FirmStanding(
        firm_id=firm.firm_id, name=firm.name, score=found.score, credit=_CREDIT[found.credit], risk=_RISK[found.risk],
        factors=_factors(found), scorecard=scorecard.VERSION,
    )  # fmt: skip


_CREDIT = {
    "TRUSTED": pb.ENVIRONMENTAL_CREDIT_TRUSTED,
    "GOOD": pb.ENVIRONMENTAL_CREDIT_GOOD,
    "WARNED": pb.ENVIRONMENTAL_CREDIT_WARNED,
    "BAD": pb.ENVIRONMENTAL_CREDIT_BAD,
}
_RISK = {"LOW": pb.RISK_GRADE_LOW, "MIDDLE": pb.RISK_GRADE_MIDDLE, "HIGH": pb.RISK_GRADE_HIGH}


def _factors(found: scorecard.Standing) -> list[pb.ScoreFactor]:
    return [pb.ScoreFactor(name=one.name, amount=one.amount, points=one.points) for one in found.factors]


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment // 1_000_000, UTC).astimezone(HANGZHOU):%Y-%m-%d}"
