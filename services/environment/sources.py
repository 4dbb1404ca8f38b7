"""The life of a source of pollution: admitted with a permit, at work, stopped by measures, corrected, closed. Pure.

What is ordered has an id that the caller chose. An undo may overtake its order: then the id is barred, and the order is
refused when it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.mesh.identifiers import uscc, uscc_problem
from citybrain.services.environment import places, quantities

_NO_POLLUTANTS = {pb.QUANTITY_WATER_TEMPERATURE, pb.QUANTITY_PH, pb.QUANTITY_DISSOLVED_OXYGEN}
EMITTED = frozenset(quantities.MEASURED[pb.MEDIUM_STACK]) | frozenset(quantities.MEASURED[pb.MEDIUM_WATER]) - _NO_POLLUTANTS
"""What a permit can be for."""


@dataclass(frozen=True, slots=True)
class Life:
    """A source.

    `at_work`: its state without measures. `measures`: those that are ordered. `lifted`: those that have ended, or were
    barred.
    """

    source: pb.Source | None = None
    at_work: pb.SourceState = pb.SOURCE_STATE_UNSPECIFIED
    measures: Mapping[str, pb.Measures] = field(default_factory=dict)
    lifted: Mapping[str, pb.Measures | None] = field(default_factory=dict)


def evolve(life: Life, event: Message) -> Life:
    """The source after an event."""
    match event:
        case ev.SourceAdmitted():
            state = life.at_work or pb.SOURCE_STATE_ADMITTED
            return replace(life, source=event.source, at_work=state)
        case ev.SourceStarted():
            return replace(life, at_work=pb.SOURCE_STATE_OPERATING)
        case ev.SourceCorrected():
            return replace(life, at_work=pb.SOURCE_STATE_CORRECTED)
        case ev.SourceClosed():
            return replace(life, at_work=pb.SOURCE_STATE_CLOSED)
        case ev.MeasuresOrdered():
            return replace(life, measures={**life.measures, event.measures.measures_id: event.measures})
        case ev.MeasuresLifted():
            others = {key: one for key, one in life.measures.items() if key != event.measures_id}
            return replace(
                life, measures=others, lifted={**life.lifted, event.measures_id: life.measures.get(event.measures_id)}
            )
    return life


def district_of(life: Life) -> str:
    """The district of a source; empty: it is not known."""
    return life.source.district_id if life.source is not None else ""


def firm_of(life: Life) -> str:
    """The firm of a source; empty: it is not known."""
    return life.source.firm.firm_id if life.source is not None else ""


def existing(life: Life, source_id: str) -> pb.Source:
    """The source, or NotFound."""
    if life.source is None:
        raise NotFound(f"there is no source {source_id}: AdmitSource makes one known", "NO_SUCH_SOURCE")
    return life.source


def show(life: Life) -> pb.Source:
    """A source as callers see it."""
    shown = pb.Source()
    if life.source is not None:
        shown.CopyFrom(life.source)
    shown.state = pb.SOURCE_STATE_STOPPED if life.measures else life.at_work
    shown.measures_ids.extend(sorted(life.measures))
    return shown


# -- its life -----------------------------------------------------------------------------------------------------------------


def check(request: pb.AdmitSourceRequest) -> None:
    """BadRequest: a number with a wrong check digit, a place outside the city, a pollutant that nobody permits."""
    wrong = []
    if problem := uscc_problem(request.uscc):
        wrong.append(("uscc", problem))
    if problem := places.problem(request.place):
        wrong.append(("place", problem))
    for number, one in enumerate(request.permit.pollutants):
        if one.quantity not in EMITTED:
            wrong.append((f"permit.pollutants[{number}].quantity", "is nothing that a permit is for: name what is emitted"))
    if wrong:
        raise BadRequest(wrong)


def admit(life: Life, request: pb.AdmitSourceRequest, firm_id: str) -> list[Message]:
    """Admits a source, or changes its permit. Refused: it is closed, or of another firm."""
    source = pb.Source(
        source_id=request.source_id, name=request.name, place=request.place, stack_height_m=request.stack_height_m,
        district_id=request.district_id, permit=request.permit, road_ids=request.road_ids,
        firm=pb.Firm(firm_id=firm_id, uscc=uscc(request.uscc), name=request.firm_name),
        flue=request.flue if request.HasField("flue") else None,
    )  # fmt: skip
    if life.source == source:
        return []
    if life.source is not None:
        if firm_of(life) != firm_id:
            problem = f"source {request.source_id} is of another firm: give this one an id of its own"
            raise AlreadyDifferent(problem, "OTHER_FIRM")
        not_closed(life, request.source_id)
    return [ev.SourceAdmitted(source=source, district_id=request.district_id, firm_id=firm_id)]


def not_closed(life: Life, source_id: str) -> pb.Source:
    """The source, or NotFound; Refused where it is closed."""
    source = existing(life, source_id)
    if life.at_work == pb.SOURCE_STATE_CLOSED:
        raise Refused(f"source {source_id} is closed, for ever: another one has another id", "SOURCE_CLOSED")
    return source


def start(life: Life, request: pb.StartSourceRequest) -> list[Message]:
    """A source begins to work, once."""
    not_closed(life, request.source_id)
    if life.at_work != pb.SOURCE_STATE_ADMITTED:
        return []
    return [ev.SourceStarted(source_id=request.source_id, district_id=district_of(life), firm_id=firm_of(life))]


def close(life: Life, request: pb.CloseSourceRequest) -> list[Message]:
    """A source works no more. Refused while measures on it are ordered."""
    existing(life, request.source_id)
    if life.at_work == pb.SOURCE_STATE_CLOSED:
        return []
    if life.measures:
        told = ", ".join(sorted(life.measures))
        raise Refused(f"measures on {request.source_id} are ordered: lift {told} first", "MEASURES_ORDERED")
    return [
        ev.SourceClosed(
            source_id=request.source_id, reason=request.reason, district_id=district_of(life), firm_id=firm_of(life)
        )
    ]  # fmt: skip


def correct(life: Life, source_id: str, case_id: str) -> list[Message]:
    """What was wrong with a source was put right. Of a closed one nothing is said."""
    if life.source is None or life.at_work in (pb.SOURCE_STATE_CLOSED, pb.SOURCE_STATE_CORRECTED):
        return []
    return [
        ev.SourceCorrected(source_id=source_id, case_id=case_id, district_id=district_of(life), firm_id=firm_of(life))
    ]  # fmt: skip


# -- measures -----------------------------------------------------------------------------------------------------------------


def order_measures(life: Life, request: pb.OrderMeasuresRequest) -> list[Message]:
    """Orders a source to stop a line, once. Refused: the measures were lifted before they came, or the source is closed."""
    measures = pb.Measures(
        measures_id=request.measures_id, source_id=request.source_id, exceedance_id=request.exceedance_id, line=request.line,
        reason=request.reason, district_id=district_of(life),
    )  # fmt: skip
    if request.measures_id in life.lifted:
        raise Refused(f"measures {request.measures_id} were lifted: others have another id", "MEASURES_LIFTED")
    if request.measures_id in life.measures:
        if life.measures[request.measures_id] != measures:
            raise AlreadyDifferent(f"measures {request.measures_id} stand already, with other content", "OTHER_MEASURES")
        return []
    not_closed(life, request.source_id)
    return [ev.MeasuresOrdered(measures=measures, district_id=district_of(life), firm_id=firm_of(life))]


def lift_measures(life: Life, request: pb.LiftMeasuresRequest) -> list[Message]:
    """Ends measures, or bars those that may still come."""
    if request.measures_id in life.lifted:
        return []
    return [
        ev.MeasuresLifted(
            measures_id=request.measures_id, source_id=request.source_id, reason=request.reason, district_id=district_of(life),
            firm_id=firm_of(life),
        )
    ]  # fmt: skip


def show_lifted(life: Life, measures_id: str) -> pb.Measures | None:
    """Measures that have ended, as callers see them; None: they had never been ordered."""
    measures = life.lifted.get(measures_id)
    if measures is None:
        return None
    shown = pb.Measures()
    shown.CopyFrom(measures)
    shown.lifted = True
    return shown
