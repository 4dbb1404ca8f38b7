"""Read models of incidents: each with its history, those that are open, and the thresholds that they are found by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb

from citybrain.mesh.events import Heard, microseconds, timestamp
from citybrain.mesh.kept import Kept
from citybrain.services.traffic.incident_pairs import NO_CYCLE_S
from citybrain.services.traffic.incident_thresholds import Named, named

INCIDENT_EVENTS = (
    ev.IncidentSuspected, ev.IncidentSupported, ev.IncidentEvidenceRetracted, ev.IncidentConfirmed, ev.IncidentRejected,
    ev.IncidentClosed,
)  # fmt: skip
PAIR_EVENTS = (ev.PairsMeasured,)
THRESHOLD_EVENTS = (ev.IncidentThresholdsCalibrated,)
CYCLE_EVENTS = (ev.SignalRegistered,)
MOST_EVIDENCE, MOST_STEPS = 20, 50
OPEN = (pb.TRAFFIC_INCIDENT_STATE_SUSPECTED, pb.TRAFFIC_INCIDENT_STATE_CONFIRMED)


def incident_key(event: Heard) -> str:
    """The incident."""
    return str(event.data.incident_id)  # type: ignore[attr-defined]


def incident(row: Kept | None, event: Heard) -> Kept | None:
    """The incident, with one step more."""
    one, data, at = (
        row.read(pb.TrafficIncident) if row is not None else pb.TrafficIncident(),
        event.data,
        event.stored.occurred_at,
    )
    what = ""
    match data:
        case ev.IncidentSuspected():
            # Found, retracted and found again it is the same one.
            one = pb.TrafficIncident(
                incident_id=data.incident_id, edge_id=data.edge_id, district_id=data.district_id,
                state=pb.TRAFFIC_INCIDENT_STATE_SUSPECTED, suspected_at=timestamp(at), history=one.history,
            )  # fmt: skip
            what = f"suspected by {_source(data.evidence.source)}; it may be {data.may_be}"
            _add(one, data.evidence)
        case ev.IncidentSupported():
            new = data.evidence.source not in {each.source for each in one.evidence}
            what = f"supported by {_source(data.evidence.source)}" if new or data.evidence.report_id else ""
            _add(one, data.evidence)
        case ev.IncidentEvidenceRetracted():
            kept = [
                each
                for each in one.evidence
                if (each.source, getattr(each, "from"), each.report_id) != (data.source, getattr(data, "from"), "")
            ]
            del one.evidence[:]
            one.evidence.extend(kept)
            one.state = data.state
            what = f"other readings came: {_source(data.source)} finds it no more"
        case ev.IncidentConfirmed():
            one.state, one.kind, one.scope = pb.TRAFFIC_INCIDENT_STATE_CONFIRMED, data.kind, data.scope
            one.confirmed_by_person |= data.by_person
            by = "a person" if data.by_person else " and ".join(map(_source, data.sources))
            what = f"confirmed by {by}; {pb.BlockedScope.Name(data.scope).removeprefix('BLOCKED_SCOPE_').lower()} blocked"
            one.closure_id = data.closure_id
        case ev.IncidentRejected():
            one.state, what = pb.TRAFFIC_INCIDENT_STATE_REJECTED, f"rejected: {data.reason}"
        case ev.IncidentClosed():
            one.state, one.end, what = pb.TRAFFIC_INCIDENT_STATE_CLOSED, data.end, f"closed: {data.reason}"
    if one.state not in OPEN:
        one.closure_id = ""
        one.ended_at.CopyFrom(timestamp(at))
    elif one.state == pb.TRAFFIC_INCIDENT_STATE_SUSPECTED:
        one.closure_id = ""
    if what:
        one.history.add(at=timestamp(at), state=one.state, what=what)
    del one.history[:-MOST_STEPS]
    return Kept.of(one)


def _add(one: pb.TrafficIncident, evidence: pb.IncidentEvidence) -> None:
    """With some evidence more; of a source and five minutes the newest counts."""
    place = evidence.source, getattr(evidence, "from"), evidence.report_id
    kept = [each for each in one.evidence if (each.source, getattr(each, "from"), each.report_id) != place]
    del one.evidence[:]
    one.evidence.extend([*kept, evidence][-MOST_EVIDENCE:])


def _source(number: pb.IncidentSource) -> str:
    return pb.IncidentSource.Name(number).removeprefix("INCIDENT_SOURCE_").lower().replace("_", " ")


def open_incident(row: Kept | None, event: Heard) -> Kept | None:
    """The incident while it is open."""
    if row is None and not isinstance(event.data, ev.IncidentSuspected):
        return None
    now = incident(row, event)
    return now if now is not None and now.read(pb.TrafficIncident).state in OPEN else None


def oldest_first(rows: Iterable[Kept]) -> list[pb.TrafficIncident]:
    """The incidents that are open, the oldest first."""
    return sorted((row.read(pb.TrafficIncident) for row in rows), key=place_in_list)


def place_in_list(one: pb.TrafficIncident) -> tuple[int | str, ...]:
    """What incidents are ordered by."""
    return microseconds(one.suspected_at), one.incident_id


def thresholds_key(event: Heard) -> str:
    """The part of the network."""
    assert isinstance(event.data, ev.IncidentThresholdsCalibrated)
    return event.data.part_id


def thresholds(row: Kept | None, event: Heard) -> Kept | None:
    """The thresholds as they were learnt last."""
    return Kept.of(event.data)


def by_pair(rows: Iterable[Kept]) -> dict[Named, pb.PairThresholds]:
    """The thresholds of each pair."""
    return {named(one): one for row in rows for one in row.read(ev.IncidentThresholdsCalibrated).pairs}


@dataclass(frozen=True, slots=True)
class CycleRow:
    """The cycle of a signal in seconds, and the roads that end at it."""

    signal_id: str
    seconds: float
    edge_ids: tuple[str, ...]


def signal_key(event: Heard) -> str:
    """The signal."""
    assert isinstance(event.data, ev.SignalRegistered)
    return event.data.signal.signal_id


def cycle(row: CycleRow | None, event: Heard) -> CycleRow | None:
    """The cycle of its plan; of one whose plan is not fixed what is taken for it."""
    assert isinstance(event.data, ev.SignalRegistered)
    signal = event.data.signal
    seconds = NO_CYCLE_S if signal.actuated else sum(phase.duration_s for phase in signal.phases)
    return CycleRow(signal.signal_id, seconds, tuple(sorted({link.from_edge_id for link in signal.links})))


def cycles(rows: Iterable[CycleRow]) -> dict[str, float]:
    """Road → the longest cycle of a signal at its end."""
    found: dict[str, float] = {}
    for row in rows:
        for edge_id in row.edge_ids:
            found[edge_id] = max(row.seconds, found.get(edge_id, 0.0))
    return found
