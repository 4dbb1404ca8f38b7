"""A proposal of plans: proposed, verified by a simulation, decided on by a person, taken up by signals, compared with its
forecast."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import plans_pb2 as pb
from citybrain.traffic.v1.road_safety_pb2 import EFFECT_MEASURE_TRAVEL_TIME, Effect
from citybrain.traffic.v1.traffic_service_pb2 import Signal
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.mesh.events import Heard
from citybrain.mesh.kept import Kept
from citybrain.services.traffic.plan_check import problems
from citybrain.services.traffic.timing_methods import Made

LEAST_SEEDS = 3
"""With fewer there is no interval to speak of: refused."""

NO_WORSE = 0.01
"""A proposal is verified when its interval is not above 1 % of today's mean time. A proposal of this project."""

PROPOSAL_EVENTS = (ev.PlanProposed, ev.PlanVerified, ev.PlanApproved, ev.PlanRejected, ev.PlanTakenUp, ev.PlanCompared)
_OPEN = (pb.PROPOSAL_STATE_PROPOSED, pb.PROPOSAL_STATE_VERIFIED, pb.PROPOSAL_STATE_REFUTED)


def evolve(proposal: pb.PlanProposal, event: Message) -> pb.PlanProposal:
    """The proposal after an event."""
    after = pb.PlanProposal()
    after.CopyFrom(proposal)
    match event:
        case ev.PlanProposed():
            after.CopyFrom(event.proposal)
        case ev.PlanVerified():
            after.state = pb.PROPOSAL_STATE_VERIFIED if event.no_worse else pb.PROPOSAL_STATE_REFUTED
            after.forecast.CopyFrom(event.forecast)
            del after.pairs[:]
            after.pairs.extend(event.pairs)
        case ev.PlanApproved():
            after.state, after.decision = pb.PROPOSAL_STATE_APPROVED, event.reason
        case ev.PlanRejected():
            after.state, after.decision = pb.PROPOSAL_STATE_REJECTED, event.reason
        case ev.PlanTakenUp():
            after.in_force.append(event.signal_id)
            if len(after.in_force) == len(after.programs):
                after.state = pb.PROPOSAL_STATE_IN_FORCE
        case ev.PlanCompared():
            after.effect.CopyFrom(event.effect)
    return after


def propose(
    proposal: pb.PlanProposal,
    proposal_id: str,
    method: pb.PlanMethod,
    made: Made,
    reason: str,
    signals: Mapping[str, Signal],
    by: str,
) -> list[Message]:
    """Proposes programs, once. BadRequest where one must not be shown; conflicting greens are named with their pair."""
    for number, program in enumerate(made.programs):
        if program.signal_id not in signals:
            raise Refused(f"signal {program.signal_id!r} is not registered: name one that is, or register it", "UNKNOWN_SIGNAL")
        wrong = problems(program, signals[program.signal_id], f"programs[{number}]")
        if wrong:
            raise BadRequest(wrong)
    if len({program.signal_id for program in made.programs}) < len(made.programs):
        raise BadRequest([("programs", "name a signal twice: give each one program")])
    new = pb.PlanProposal(
        proposal_id=proposal_id, state=pb.PROPOSAL_STATE_PROPOSED, method=method, programs=made.programs, reason=reason,
        basis=made.basis, flows=made.flows, proposed_by=by,
        replaces=[signals[program.signal_id].program_id for program in made.programs],
    )  # fmt: skip
    if proposal.proposal_id:
        same = (proposal.method, list(proposal.programs), proposal.reason) == (new.method, list(new.programs), new.reason)
        if not same:
            raise AlreadyDifferent(f"proposal {proposal_id} has other plans: use a new id", "OTHER_PROPOSAL")
        return []
    return [ev.PlanProposed(proposal=new)]


def verify(proposal: pb.PlanProposal, request: pb.ReportVerificationRequest) -> list[Message]:
    """Takes in what a simulation found. It may be done again until a person has decided."""
    existing(proposal, request.proposal_id)
    if proposal.state not in _OPEN:
        raise Refused(f"proposal {request.proposal_id} was decided on: propose it anew under another id", "DECIDED")
    seeds = {pair.seed for pair in request.pairs}
    if len(seeds) < len(request.pairs):
        raise BadRequest([("pairs", "have a seed twice: each seed counts once")])
    if len(seeds) < LEAST_SEEDS:
        raise BadRequest([("pairs", f"are {len(seeds)}: {LEAST_SEEDS} seeds are the least")])
    forecast = foretold(request.pairs, request.simulated)
    no_worse = forecast.high_s <= NO_WORSE * forecast.today_s
    made = ev.PlanVerified(proposal_id=request.proposal_id, no_worse=no_worse, forecast=forecast, pairs=request.pairs)
    return [] if (proposal.forecast, list(proposal.pairs)) == (forecast, list(request.pairs)) else [made]


def foretold(pairs: Sequence[pb.SimulatedPair], simulated: str) -> pb.PlanForecast:
    """The mean of the paired differences with its interval of 95 %, by Student's t over the seeds."""
    # Its import takes most of a second: a process that never asks starts without it.
    from scipy.stats import t as student

    apart = [pair.proposed_s - pair.today_s for pair in pairs]
    mean = fmean(apart)
    half = float(student.ppf(0.975, len(apart) - 1)) * stdev(apart) / math.sqrt(len(apart))
    return pb.PlanForecast(
        difference_s=round(mean, 3), low_s=round(mean - half, 3), high_s=round(mean + half, 3),
        today_s=round(fmean(pair.today_s for pair in pairs), 3), seeds=len(pairs), simulated=simulated,
    )  # fmt: skip


def decide(proposal: pb.PlanProposal, request: pb.DecidePlanRequest, own: bool) -> list[Message]:
    """Approves or rejects. `own`: it is asked by the one who proposed it."""
    existing(proposal, request.proposal_id)
    states = {True: pb.PROPOSAL_STATE_APPROVED, False: pb.PROPOSAL_STATE_REJECTED}
    if proposal.state in (states[request.approved], pb.PROPOSAL_STATE_IN_FORCE) and proposal.decision == request.reason:
        return []
    if own:
        raise Refused("who proposed a plan does not decide on it: another person has to", "OWN_PROPOSAL")
    if proposal.state not in _OPEN:
        raise Refused(f"proposal {request.proposal_id} was decided on: propose it anew under another id", "DECIDED")
    if not request.approved:
        return [ev.PlanRejected(proposal_id=request.proposal_id, reason=request.reason)]
    if proposal.state != pb.PROPOSAL_STATE_VERIFIED:
        why = "no simulation has compared it with today's plans" if not proposal.pairs else "in the simulation it may be worse"
        raise Refused(f"proposal {request.proposal_id} cannot be approved: {why}", "NOT_VERIFIED")
    return [ev.PlanApproved(proposal_id=request.proposal_id, reason=request.reason, programs=proposal.programs)]


def take_up(proposal: pb.PlanProposal, signal: Signal) -> list[Message]:
    """A signal is registered with a program of this proposal: it runs it. Others change nothing."""
    if proposal.state != pb.PROPOSAL_STATE_APPROVED or signal.signal_id in proposal.in_force:
        return []
    program = next((one for one in proposal.programs if one.signal_id == signal.signal_id), None)
    if program is None or [(p.state, p.duration_s) for p in program.phases] != [(p.state, p.duration_s) for p in signal.phases]:
        return []
    return [ev.PlanTakenUp(proposal_id=proposal.proposal_id, signal_id=signal.signal_id)]


def compare(proposal: pb.PlanProposal, evaluation_id: str, effect: Effect | None) -> list[Message]:
    """Puts an effect that was measured beside the forecast."""
    if proposal.state != pb.PROPOSAL_STATE_IN_FORCE:
        raise Refused(f"proposal {proposal.proposal_id} is not in force: there is nothing to compare", "NOT_IN_FORCE")
    if effect is None:
        raise NotFound(f"there is no evaluation {evaluation_id}: make one (EvaluateEffect)", "NO_SUCH_EVALUATION")
    if effect.measure != EFFECT_MEASURE_TRAVEL_TIME:
        raise BadRequest([("evaluation_id", "is of accidents: name one of travel times")])
    forecast = proposal.forecast
    same_way = effect.effect * forecast.difference_s > 0
    found = pb.PlanEffect(
        evaluation_id=evaluation_id, effect_s=effect.effect, low_s=effect.low, high_s=effect.high,
        as_foretold=same_way or effect.may_be_nothing or forecast.low_s <= 0 <= forecast.high_s,
    )  # fmt: skip
    return [] if proposal.effect == found else [ev.PlanCompared(proposal_id=proposal.proposal_id, effect=found)]


def existing(proposal: pb.PlanProposal, proposal_id: str) -> pb.PlanProposal:
    """The proposal, or NotFound."""
    if not proposal.proposal_id:
        raise NotFound(f"there is no proposal {proposal_id}: propose plans (ProposePlan)", "NO_SUCH_PROPOSAL")
    return proposal


def key(event: Heard) -> str:
    """The proposal."""
    data = event.data
    if isinstance(data, ev.PlanProposed):
        return data.proposal.proposal_id
    return str(data.proposal_id)  # type: ignore[attr-defined]


def row(kept: Kept | None, event: Heard) -> Kept | None:
    """A proposal as it stands."""
    before = kept.read(pb.PlanProposal) if kept is not None else pb.PlanProposal()
    return Kept.of(evolve(before, event.data))


def place_in_list(proposal: pb.PlanProposal) -> tuple[int | str, ...]:
    """What proposals are ordered by."""
    return (proposal.proposal_id,)


def listed(rows: Iterable[Kept]) -> list[pb.PlanProposal]:
    """All of them."""
    return [one.read(pb.PlanProposal) for one in rows]
