"""Incidents on the roads of a part of the network: suspected, supported, confirmed, and how they end. Pure.

One incident at a time is open on a road; who says more of it supports it. **Sources** are the two algorithms, citizens, patrols
and video. A second source confirms, and so does a person. An algorithm says the same of each window of five minutes in which
it finds it, so that it is known what is left when one of them is judged anew.

It is long because all that may happen to an incident is decided on one state: two who act at once must not both open one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from hashlib import blake2b

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.ids import joined
from citybrain.services.traffic import incident_pairs, incident_thresholds
from citybrain.services.traffic.detectors import MICROSECONDS, WINDOW_US
from citybrain.services.traffic.incident_thresholds import DAYS, Named
from citybrain.services.traffic.standing import begins

QUIET_US = 900 * MICROSECONDS
"""An incident that no person has confirmed is over when nothing was found for so long, and vehicles pass."""
UNCONFIRMED_US = 3600 * MICROSECONDS
"""One that is only suspected is over when nothing more was said of it for so long."""
REJECTED_US = 1800 * MICROSECONDS
"""After a person has rejected one, detectors open none on this road for so long."""
OLD_US = 900 * MICROSECONDS
"""What detectors show late of a window that ended longer ago opens none: it supports or retracts only."""
MOST = 100
"""So much evidence of an incident is kept: more than both algorithms can find in the two hours that are judged anew."""
REMEMBERED = 200
"""So many reports of incidents that are over are remembered, to answer a retry."""
ALGORITHMS = (pb.INCIDENT_SOURCE_CALIFORNIA_7, pb.INCIDENT_SOURCE_NORMAL_DEVIATE)
MAY_BE = "a stopped vehicle, an accident or an obstacle between the two detectors; or a detector that counts wrongly"

State = pb.TrafficIncidentState


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident that is open. `evidence`: the newest, the newest last; `since`: when it was seen first, in microseconds;
    `closures`: how many it has made.
    """

    incident_id: str
    edge_id: str
    district_id: str
    state: State
    evidence: tuple[pb.IncidentEvidence, ...]
    since: int
    by_person: bool = False
    kind: pb.TrafficIncidentKind = pb.TRAFFIC_INCIDENT_KIND_UNSPECIFIED
    scope: pb.BlockedScope = pb.BLOCKED_SCOPE_UNSPECIFIED
    closure_id: str = ""
    closures: int = 0

    @property
    def sources(self) -> list[pb.IncidentSource]:
        """Who says so, each once."""
        return sorted({one.source for one in self.evidence})

    @property
    def newest(self) -> int:
        """When something was said of it last, in microseconds."""
        return max(microseconds(one.to) for one in self.evidence)


@dataclass(frozen=True, slots=True)
class Board:
    """The incidents of a part that are open, by road; until when detectors open none; what was disturbed; old reports; and of
    those that were retracted how many closures they had made: found again such a one is the same.
    """

    open: Mapping[str, Incident] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    disturbed: tuple[tuple[str, int, int], ...] = ()
    reports: Mapping[str, str] = field(default_factory=dict)
    retracted: Mapping[str, int] = field(default_factory=dict)


def evolve(board: Board, event: Message) -> Board:
    """The board after an event."""
    match event:
        case ev.IncidentSuspected():
            one = Incident(
                event.incident_id, event.edge_id, event.district_id, pb.TRAFFIC_INCIDENT_STATE_SUSPECTED, (event.evidence,),
                begins(event.evidence), closures=board.retracted.get(event.incident_id, 0),
            )  # fmt: skip
            return _with(board, one)
        case ev.IncidentSupported():
            one = board.open[event.edge_id]
            place = _place(event.evidence)
            others = [e for e in one.evidence if _place(e) != place][1 - MOST :]
            return _with(board, replace(one, evidence=(*others, event.evidence)))
        case ev.IncidentConfirmed():
            one = board.open[event.edge_id]
            confirmed = replace(
                one, state=pb.TRAFFIC_INCIDENT_STATE_CONFIRMED, by_person=one.by_person or event.by_person, kind=event.kind,
                scope=event.scope, closure_id=event.closure_id,
                closures=one.closures + (event.closure_id not in ("", one.closure_id)),
            )  # fmt: skip
            return _with(board, confirmed)
        case ev.IncidentEvidenceRetracted():
            one = board.open[event.edge_id]
            place = event.source, begins(event), ""
            left = replace(
                one, evidence=tuple(e for e in one.evidence if _place(e) != place), state=event.state,
                closure_id="" if event.ended_closure_id else one.closure_id,
            )  # fmt: skip
            if event.state != pb.TRAFFIC_INCIDENT_STATE_RETRACTED:
                return _with(board, left)
            made = {**board.retracted, one.incident_id: one.closures} if one.closures else board.retracted
            return replace(_without(board, one), retracted=dict(list(made.items())[-REMEMBERED:]))
        case ev.IncidentRejected():
            at = microseconds(event.at)
            return _barred(_without(board, board.open[event.edge_id]), event.edge_id, at, at + REJECTED_US)
        case ev.IncidentClosed():
            # What was measured before it was over does not open it again.
            at = microseconds(event.at)
            return _barred(_closed(board, board.open[event.edge_id], at), event.edge_id, at, at)
    return board


def _with(board: Board, one: Incident) -> Board:
    return replace(board, open={**board.open, one.edge_id: one})


def _barred(board: Board, edge_id: str, at: int, until: int) -> Board:
    """With a road on which detectors open none by windows that begin before `until`. `at`: now; what ended too long before to
    matter is forgotten."""
    still = {name: each for name, each in board.rejected.items() if each > at - OLD_US - WINDOW_US}
    return replace(board, rejected={**still, edge_id: max(until, still.get(edge_id, 0))})


def _without(board: Board, one: Incident) -> Board:
    reports = {**board.reports, **{e.report_id: one.incident_id for e in one.evidence if e.report_id}}
    return replace(
        board, open={edge_id: each for edge_id, each in board.open.items() if edge_id != one.edge_id},
        reports=dict(list(reports.items())[-REMEMBERED:]),
    )  # fmt: skip


def _closed(board: Board, one: Incident, at: int) -> Board:
    """Without an incident that is over. What was measured while one was confirmed is not what is usual."""
    over = _without(board, one)
    if one.state != pb.TRAFFIC_INCIDENT_STATE_CONFIRMED:
        return over
    since = at - DAYS * 24 * 3600 * MICROSECONDS
    kept = tuple(each for each in board.disturbed if each[2] > since)
    return replace(over, disturbed=(*kept, (one.edge_id, one.since, at)))


def _place(evidence: pb.IncidentEvidence) -> tuple[int, int, str]:
    """Which evidence it is: an algorithm has one for each window, and each report is one."""
    return evidence.source, microseconds(getattr(evidence, "from")), evidence.report_id


def disturbed(board: Board, now: int) -> dict[str, list[tuple[int, int]]]:
    """Road → from when to when an incident was confirmed, those that are open up to now (microseconds)."""
    found: dict[str, list[tuple[int, int]]] = {}
    going_on = [
        (one.edge_id, one.since, now) for one in board.open.values() if one.state == pb.TRAFFIC_INCIDENT_STATE_CONFIRMED
    ]
    for edge_id, begun, ended in (*board.disturbed, *going_on):
        found.setdefault(edge_id, []).append((begun, ended))
    return found


# -- what detectors show ------------------------------------------------------------------------------------------------------


def watch(
    board: Board, measured: ev.PairsMeasured, known: Mapping[Named, pb.PairThresholds], districts: Mapping[str, str], now: int
) -> list[Message]:
    """What follows from what pairs show in a window. `districts`: of each road; `now`: in microseconds."""
    start, end = begins(measured), microseconds(measured.to)
    shown: dict[str, list[pb.PairFigures]] = {}
    for figures in measured.pairs:
        shown.setdefault(figures.edge_id, []).append(figures)
    events: list[Message] = []
    for edge_id in sorted(shown.keys() | board.open.keys()):
        pairs = shown.get(edge_id, [])
        found = _found(pairs, known, start, end)
        opens = edge_id in districts and board.rejected.get(edge_id, 0) <= start and now - end <= OLD_US
        events += _follow(board, edge_id, districts.get(edge_id, ""), found, start, opens=opens, whole=True)
        after = reduce(evolve, events, board).open.get(edge_id)
        if after is not None and not after.by_person:
            passing = bool(pairs) and all(one.vehicles_out > 0 for one in pairs)
            if passing and end - after.newest >= QUIET_US:
                events.append(_ended(after, pb.INCIDENT_END_BACK_TO_NORMAL, "nothing was found for 15 minutes", end))
    return events


def notice(
    board: Board,
    pairs: Iterable[pb.PairFigures],
    known: Mapping[Named, pb.PairThresholds],
    districts: Mapping[str, str],
    end: int,
) -> list[Message]:
    """What follows from what pairs show in the minute that ends at a moment (microseconds), before its five minutes are over.

    It is told of these five minutes. When they are over they are judged with all that came, and so is this.
    """
    start = (end - 1) // WINDOW_US * WINDOW_US
    shown: dict[str, list[pb.PairFigures]] = {}
    for figures in pairs:
        shown.setdefault(figures.edge_id, []).append(figures)
    events: list[Message] = []
    for edge_id, mine in sorted(shown.items()):
        found = _found(mine, known, start, end)
        opens = edge_id in districts and board.rejected.get(edge_id, 0) <= start
        events += _follow(board, edge_id, districts.get(edge_id, ""), found, start, opens=opens, whole=False)
    return events


def _found(
    pairs: Iterable[pb.PairFigures], known: Mapping[Named, pb.PairThresholds], start: int, end: int
) -> dict[pb.IncidentSource, pb.IncidentEvidence]:
    """What each algorithm finds on a road: the first pair by which it does."""
    pairs = list(pairs)
    nobody = all(one.vehicles_out == 0 for one in pairs)
    found: dict[pb.IncidentSource, pb.IncidentEvidence] = {}
    for figures in pairs:
        for source in incident_thresholds.sources(figures, known):
            found.setdefault(
                source,
                pb.IncidentEvidence(
                    source=source, to=timestamp(end), figures=figures, thresholds=known[incident_thresholds.named(figures)],
                    scope=pb.BLOCKED_SCOPE_WHOLE_ROAD if nobody else pb.BLOCKED_SCOPE_UNSPECIFIED,
                    version=incident_pairs.VERSION, **{"from": timestamp(start)},  # type: ignore[arg-type]
                ),
            )  # fmt: skip
    return found


def _follow(
    board: Board,
    edge_id: str,
    district_id: str,
    found: Mapping[pb.IncidentSource, pb.IncidentEvidence],
    start: int,
    *,
    opens: bool,
    whole: bool,
) -> list[Message]:
    """What follows on one road. `whole`: the window is over, so that what is not found in it is retracted."""
    one = board.open.get(edge_id)
    events: list[Message] = []
    if one is not None:
        told = {source: e for e in one.evidence for source in ALGORITHMS if _place(e) == (source, start, "")}
        # What was long before is another one.
        near = start >= one.since - OLD_US
        anew = [found[source] for source in ALGORITHMS if near and source in found and found[source] != told.get(source)]
        events += [ev.IncidentSupported(evidence=each, **_whose(one)) for each in anew]
        # After what supports it: else it would be retracted before the other algorithm has spoken.
        for source in ALGORITHMS:
            if whole and source in told and source not in found:
                events.append(_retracted(reduce(evolve, events, board).open[edge_id], told[source]))
    elif found and opens:
        first, *others = (found[source] for source in ALGORITHMS if source in found)
        whose = {"incident_id": _id_of(edge_id, str(start)), "edge_id": edge_id, "district_id": district_id}
        events.append(ev.IncidentSuspected(evidence=first, may_be=MAY_BE, **whose))
        events += [ev.IncidentSupported(evidence=other, **whose) for other in others]
    return events + _second_source(reduce(evolve, events, board).open.get(edge_id))


def _retracted(one: Incident, told: pb.IncidentEvidence) -> ev.IncidentEvidenceRetracted:
    left = [e for e in one.evidence if _place(e) != _place(told)]
    state = one.state
    if not one.by_person:
        if not left:
            state = pb.TRAFFIC_INCIDENT_STATE_RETRACTED
        elif len({e.source for e in left}) < 2:
            state = pb.TRAFFIC_INCIDENT_STATE_SUSPECTED
    ends = state != pb.TRAFFIC_INCIDENT_STATE_CONFIRMED
    return ev.IncidentEvidenceRetracted(
        source=told.source, state=state, ended_closure_id=one.closure_id if ends else "", **_whose(one),
        **{"from": getattr(told, "from")},
    )  # fmt: skip


def _second_source(one: Incident | None) -> list[Message]:
    """Two sources confirm what is suspected, and say anew what is blocked while no person has."""
    if one is None or one.by_person or len(one.sources) < 2:
        return []
    kinds = [e.kind for e in one.evidence if e.kind]
    kind, scope = kinds[-1] if kinds else pb.TRAFFIC_INCIDENT_KIND_UNSPECIFIED, _scope(one)
    if one.state == pb.TRAFFIC_INCIDENT_STATE_CONFIRMED and (one.kind, one.scope) == (kind, scope):
        return []
    return [_confirmed(one, kind, scope, by_person=False)]


def _scope(one: Incident) -> pb.BlockedScope:
    """What is blocked: the most that is reported, or that the newest window of those in which detectors found it shows."""
    reported = [e.scope for e in one.evidence if e.source not in ALGORITHMS]
    found = [e for e in one.evidence if e.source in ALGORITHMS]
    newest = max((microseconds(e.to) for e in found), default=0)
    return max([*reported, *(e.scope for e in found if microseconds(e.to) == newest)])


def _confirmed(one: Incident, kind: pb.TrafficIncidentKind, scope: pb.BlockedScope, *, by_person: bool) -> ev.IncidentConfirmed:
    blocks = scope == pb.BLOCKED_SCOPE_WHOLE_ROAD
    closure_id = one.closure_id or f"traffic-{one.incident_id}-{one.closures + 1}"
    return ev.IncidentConfirmed(
        kind=kind, scope=scope, by_person=by_person, sources=one.sources, closure_id=closure_id if blocks else "",
        ended_closure_id="" if blocks else one.closure_id, **_whose(one),
    )  # fmt: skip


def _whose(one: Incident) -> dict[str, str]:
    return {"incident_id": one.incident_id, "edge_id": one.edge_id, "district_id": one.district_id}


def _ended(one: Incident, end: pb.IncidentEnd, reason: str, at: int) -> ev.IncidentClosed:
    return ev.IncidentClosed(end=end, reason=reason, ended_closure_id=one.closure_id, at=timestamp(at), **_whose(one))


def _id_of(edge_id: str, first: str) -> str:
    """Of a road and what was said first there. The id says nothing of either."""
    return "ti-" + blake2b(joined(edge_id, first).encode(), digest_size=10).hexdigest()


# -- what people say ----------------------------------------------------------------------------------------------------------


def report(board: Board, request: pb.ReportIncidentRequest, district_id: str) -> list[Message]:
    """Somebody has seen something: opens an incident, or supports the one that is open on the road. A report counts once."""
    one = board.open.get(request.edge_id)
    if reported(board, request) is not None:
        return []
    evidence = pb.IncidentEvidence(
        source=request.source, to=request.seen_at, report_id=request.report_id, kind=request.kind, scope=request.scope,
        version=incident_pairs.VERSION, **{"from": request.seen_at},  # type: ignore[arg-type]
    )  # fmt: skip
    if request.HasField("position_m"):
        evidence.position_m = request.position_m
    if one is None:
        incident_id = _id_of(request.edge_id, request.report_id)
        may_be = "what was reported, or a mistake: nobody else has said so"
        whose = {"incident_id": incident_id, "edge_id": request.edge_id, "district_id": district_id}
        return [ev.IncidentSuspected(evidence=evidence, may_be=may_be, **whose)]
    events: list[Message] = [ev.IncidentSupported(evidence=evidence, **_whose(one))]
    return events + _second_source(reduce(evolve, events, board).open[request.edge_id])


def reported(board: Board, request: pb.ReportIncidentRequest) -> tuple[str, State] | None:
    """The incident that a report was taken into, and its state; None: it was not taken in yet."""
    for one in board.open.values():
        if any(e.report_id == request.report_id for e in one.evidence):
            if one.edge_id != request.edge_id:
                what = f"report {request.report_id} is of road {one.edge_id!r}: give another report another id"
                raise AlreadyDifferent(what, "OTHER_REPORT")
            return one.incident_id, one.state
    if request.report_id in board.reports:
        return board.reports[request.report_id], pb.TRAFFIC_INCIDENT_STATE_CLOSED
    return None


def _existing(board: Board, incident_id: str) -> Incident:
    found = next((one for one in board.open.values() if one.incident_id == incident_id), None)
    if found is None:
        raise Refused(f"incident {incident_id} is over: report a new one (ReportIncident)", "INCIDENT_OVER")
    return found


def confirm(board: Board, request: pb.ConfirmIncidentRequest) -> list[Message]:
    """A person says that it is there, and what it blocks; again where that has changed."""
    one = _existing(board, request.incident_id)
    if one.by_person and (one.kind, one.scope) == (request.kind, request.scope):
        return []
    return [_confirmed(one, request.kind, request.scope, by_person=True)]


def reject(board: Board, request: pb.RejectIncidentRequest, now: int) -> list[Message]:
    """A person says that there is none. Not where a person has said that it is there: then it is closed."""
    one = _existing(board, request.incident_id)
    if one.by_person:
        what = f"incident {one.incident_id} was confirmed by a person: close it when it is over (CloseIncident)"
        raise Refused(what, "CONFIRMED_BY_PERSON")
    return [
        ev.IncidentRejected(reason=request.reason, ended_closure_id=one.closure_id, at=timestamp(now), **_whose(one))
    ]  # fmt: skip


def close(board: Board, request: pb.CloseIncidentRequest, now: int) -> list[Message]:
    """A person says that it is over."""
    return [_ended(_existing(board, request.incident_id), pb.INCIDENT_END_BY_PERSON, request.reason, now)]


def forget(board: Board, now: int) -> list[Message]:
    """Ends what is only suspected, and of which nothing more was said for an hour."""
    return [
        _ended(one, pb.INCIDENT_END_NOT_CONFIRMED, "nobody has confirmed it for an hour", now)
        for _, one in sorted(board.open.items())
        if one.state == pb.TRAFFIC_INCIDENT_STATE_SUSPECTED and now - one.newest >= UNCONFIRMED_US
    ]


def missing(incident_id: str) -> NotFound:
    """The error for an id that nobody knows."""
    return NotFound(f"there is no incident {incident_id}: list those that are open (ListIncidents)", "NO_SUCH_INCIDENT")
