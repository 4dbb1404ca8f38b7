"""Plans that the area controller proposes by itself, from flows that it has counted. A simulation verifies them and a person
decides on them, as on all others. Pure. Vehicles an hour, seconds.

That a gain is worth a proposal, that flows are about the same, and how many may wait, are values of this project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from citybrain.traffic.v1 import plans_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2 import Signal
from google.protobuf.message import Message

from citybrain.mesh.errors import Refused
from citybrain.services.traffic import plan_proposals, timing_methods
from citybrain.services.traffic.flows_seen import FlowsSeen
from citybrain.services.traffic.free_speeds import HANGZHOU
from citybrain.services.traffic.plan_check import problems
from citybrain.services.traffic.stages import Staged
from citybrain.services.traffic.timing_methods import Made

BY = "service:traffic"
"""Who proposes: this service. No token of a person has this name, so any person with the scope may decide."""

GAIN_SHARE = 0.1
"""A plan is proposed when it takes a tenth or more of today's delay away,"""

GAIN_VEHICLE_S = 1800.0
"""and half an hour of waiting or more in each hour, over all vehicles."""

ALIKE_SHARE, ALIKE_PER_HOUR = 0.2, 60.0
"""Two flows of a lane are about the same when they are apart by a fifth of the greater one or by 60 an hour, or less."""

MOST_WAITING = 20
"""So many proposals of the controller wait for a simulation or a person at most: people must be able to look at all."""

AT_A_TIME = 10
"""Of so many signals the flows are judged after one report: the next report must not wait for it. The others follow."""

METHODS = (pb.PLAN_METHOD_SPLITS, pb.PLAN_METHOD_WEBSTER)
"""Of equal ones the first: it keeps the cycle that the signal may share with its neighbours."""

_WAITING = (pb.PROPOSAL_STATE_PROPOSED, pb.PROPOSAL_STATE_VERIFIED, pb.PROPOSAL_STATE_APPROVED)
_REFUSED = (pb.PROPOSAL_STATE_REFUTED, pb.PROPOSAL_STATE_REJECTED)


@dataclass(frozen=True, slots=True)
class Better:
    """A plan that is worth a proposal, and why."""

    proposal_id: str
    method: pb.PlanMethod
    made: Made
    reason: str


def better(staged: Staged, signal: Signal, seen: FlowsSeen) -> Better | None:
    """The plan with the least delay for the flows that were counted; None where too little was seen, or too little is won."""
    flows = seen.per_hour(staged.lights.lanes)
    if flows is None:
        return None
    today_s, _ = timing_methods.delay(staged, flows, timing_methods.today(staged))
    found: tuple[float, pb.PlanMethod, Made] | None = None
    for method in METHODS:
        try:
            made = timing_methods.by_flows(method, [staged], flows)
        except Refused:
            # Nobody came, or more than any plan serves.
            continue
        (program,) = made.programs
        then_s, _ = timing_methods.delay(staged, flows, program)
        if (found is None or then_s < found[0]) and not problems(program, signal, "programs[0]"):
            found = then_s, method, made
    if found is None:
        return None
    then_s, method, made = found
    saved_s, vehicles = today_s - then_s, sum(flows.values())
    if saved_s < GAIN_SHARE * today_s or saved_s * vehicles < GAIN_VEHICLE_S:
        return None
    assert seen.began is not None
    least_s, whole_s = min(seen.seen_s[lane] for lane in flows), seen.until - seen.began
    when = f"{_local(seen.began):%Y-%m-%d %H:%M} to {_local(seen.until):%H:%M}"
    counted = f"counted {when}: {vehicles:.0f} vehicles an hour; each lane seen for {least_s:.0f} s of {whole_s:.0f} s at least"
    reason = (
        f"{signal.signal_id}: with the flows of {when} vehicles wait {then_s:.1f} s instead of {today_s:.1f} s by the control "
        f"delay of the Highway Capacity Manual, {saved_s * vehicles / 60:.0f} vehicle minutes less in an hour"
    )
    told = Made(made.programs, (counted, *made.basis), made.flows)
    return Better(_id_of(signal.signal_id, seen.until), method, told, reason)


def may_propose(one: Better, signal: Signal, every: Iterable[pb.PlanProposal]) -> bool:
    """Whether people are to be asked. Not while a proposal of the controller for this signal waits, or too many for others do;
    nor when one was refuted or rejected with the same plan of today and with flows that were about the same."""
    own = [proposal for proposal in every if proposal.proposed_by == BY]
    if sum(proposal.state in _WAITING for proposal in own) >= MOST_WAITING:
        return False
    for proposal in own:
        if proposal.proposal_id == one.proposal_id:
            return False
        if [program.signal_id for program in proposal.programs] != [signal.signal_id]:
            continue
        refused = proposal.state in _REFUSED and list(proposal.replaces) == [signal.program_id]
        if proposal.state in _WAITING or (refused and alike(_flows(proposal.flows), _flows(one.made.flows))):
            return False
    return True


def propose(proposal: pb.PlanProposal, one: Better, signal: Signal) -> list[Message]:
    """Proposes it, once."""
    if proposal.proposal_id:
        return []
    signals = {signal.signal_id: signal}
    return plan_proposals.propose(proposal, one.proposal_id, one.method, one.made, one.reason, signals, BY)


def alike(some: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """Whether flows by lane are about the same."""
    for lane in some.keys() | others.keys():
        a, b = some.get(lane, 0.0), others.get(lane, 0.0)
        if abs(a - b) > max(ALIKE_SHARE * max(a, b), ALIKE_PER_HOUR):
            return False
    return True


def _flows(told: Iterable[pb.LaneFlow]) -> dict[str, float]:
    return {flow.lane_id: flow.vehicles_per_hour for flow in told}


def _id_of(signal_id: str, at: float) -> str:
    """One a day for a signal: the id is made of both. What signals are called does not fit into an id of a proposal."""
    name = hashlib.sha256(signal_id.encode()).hexdigest()[:16]
    return f"own-{name}-{_local(at):%Y%m%d}"


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone(HANGZHOU)
