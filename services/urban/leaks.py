"""A water network and its leaks: found, located, isolated, restored, or retracted. Pure.

It is long because all that is decided about a leak is decided on one state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import water_pb2 as pb
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds
from citybrain.services.urban import isolation, water_network
from citybrain.services.urban.readings import MICROSECONDS, WINDOW_S

STEP_S = 900
SIGMA_M = 0.1
NEAR_S = 120
"""A reading counts for the step of the model that is at most so far away."""
MOST_HOURS = 31 * 24
"""A model runs so long from its beginning; then its levels are too far from what they are, and it is registered anew."""
CLOSE_M = 1e-3
"""A reading that is named for a correction may differ so much from what counts, in metres."""
STEPS = 8
"""So many steps are looked at."""
LOCATED_AFTER = 4
"""After so many steps with the leak it is located anew, once."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network as it is registered."""

    registered: ev.WaterNetworkRegistered | None = None


def evolve_network(state: Network, event: Message) -> Network:
    """The network after an event."""
    return Network(event) if isinstance(event, ev.WaterNetworkRegistered) else state


def network_district(state: Network) -> str:
    """Its district."""
    return state.registered.district_id if state.registered is not None else ""


def existing_network(state: Network, network_id: str) -> ev.WaterNetworkRegistered:
    """The network, or NotFound."""
    if state.registered is None:
        raise NotFound(f"there is no water network {network_id}: register it first", "NO_SUCH_NETWORK")
    return state.registered


def register(state: Network, request: pb.RegisterWaterNetworkRequest, layout: water_network.Layout) -> list[Message]:
    """Makes it known, or changed. BadRequest where it names what the model does not have."""
    pipes = {link.name: link for link in layout.links if link.closable}
    for index, valve in enumerate(request.valves):
        pipe = pipes.get(valve.pipe_id)
        if pipe is None or valve.node_id not in (pipe.start, pipe.end):
            raise BadRequest([(f"valves[{index}]", f"the model has no pipe {valve.pipe_id} that ends at {valve.node_id}")])
    for index, part in enumerate(request.districts):
        for node in part.node_ids:
            if node not in layout.demand_lps:
                raise BadRequest([(f"districts[{index}].node_ids", f"the model has no junction {node}")])
    made = ev.WaterNetworkRegistered(
        network_id=request.network_id, inp=request.inp, starts_at=request.starts_at, step_s=request.step_s or STEP_S,
        sensor_sigma_m=request.sensor_sigma_m or SIGMA_M, valves=request.valves, district_id=request.district_id,
        districts=request.districts,
    )  # fmt: skip
    return [] if made == state.registered else [made]


def step_of(network: ev.WaterNetworkRegistered, start: int) -> int | None:
    """The step of the model that a minute belongs to (microseconds); None: it is between two steps, or before the first."""
    away_s = (start - microseconds(network.starts_at)) / MICROSECONDS
    step = round(away_s / network.step_s)
    return step if step >= 0 and abs(away_s - step * network.step_s) <= NEAR_S else None


def planned(
    network: ev.WaterNetworkRegistered,
    layout: water_network.Layout,
    pipes: Sequence[str],
    stuck: frozenset[isolation.Valve] = frozenset(),
) -> pb.Isolation:
    """How pipes are cut off. BadRequest: a pipe is not there. Refused: by these valves it cannot be."""
    known = {link.name for link in layout.links if link.closable}
    for index, name in enumerate(pipes):
        if name not in known:
            raise BadRequest([(f"pipe_ids[{index}]", f"the model of {network.network_id} has no pipe {name}")])
    assumed = not network.valves
    valves = isolation.everywhere(layout) if assumed else frozenset((one.pipe_id, one.node_id) for one in network.valves)
    try:
        made = isolation.plan(layout, valves - stuck, pipes)
    except isolation.NotIsolable as problem:
        raise Refused(f"{', '.join(pipes)} cannot be isolated: {problem}; close the source", "NOT_ISOLABLE") from None
    elsewhere = {node: part.district_id for part in network.districts for node in part.node_ids}
    return pb.Isolation(
        pipe_ids=made.pipes, valves=[pb.PipeValve(pipe_id=pipe, node_id=node) for pipe, node in made.valves],
        customer_node_ids=made.customers, demand_lps=made.demand_lps, valves_assumed=assumed,
        district_ids=sorted({elsewhere.get(node, network.district_id) for node in made.customers}),
    )  # fmt: skip


# -- leaks ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeakState:
    """A leak as its events tell it. `located`: it was located anew. `told_off`: customers were told that they have no water."""

    leak: pb.Leak | None = None
    located: bool = False
    stuck: frozenset[isolation.Valve] = frozenset()
    told_off: bool = False


def evolve(state: LeakState, event: Message) -> LeakState:
    """The leak after an event."""
    if isinstance(event, ev.LeakSuspected | ev.LeakFound):
        return LeakState(event.leak)
    if state.leak is None:
        return state
    leak = pb.Leak()
    leak.CopyFrom(state.leak)
    change(leak, event)
    match event:
        case ev.LeakLocated():
            return replace(state, leak=leak, located=True)
        case ev.IsolationPlanned():
            stuck = frozenset((one.pipe_id, one.node_id) for one in event.stuck)
            return replace(state, leak=leak, stuck=stuck)
        case ev.CustomersTold():
            return replace(state, told_off=event.water_off)
    return replace(state, leak=leak)


def change(leak: pb.Leak, event: Message) -> None:
    """What a later event changes of it."""
    match event:
        case ev.LeakLocated():
            del leak.candidates[:]
            leak.candidates.extend(event.candidates)
        case ev.IsolationPlanned():
            leak.isolation.CopyFrom(event.isolation)
        case ev.LeakUpheld():
            del leak.steps[:]
            leak.steps.extend(event.steps)
        case ev.LeakIsolated():
            leak.state = pb.LEAK_STATE_ISOLATED
        case ev.LeakRestored():
            leak.state = pb.LEAK_STATE_RESTORED
        case ev.LeakRetracted():
            leak.state = pb.LEAK_STATE_RETRACTED


def district_of(state: LeakState) -> str:
    """The district of its network."""
    return state.leak.district_id if state.leak is not None else ""


def existing(state: LeakState, leak_id: str) -> pb.Leak:
    """The leak, or NotFound."""
    if state.leak is None:
        raise NotFound(f"there is no leak {leak_id}: ListLeaks has their ids", "NO_SUCH_LEAK")
    return state.leak


def is_open(leak: pb.Leak) -> bool:
    """Whether it is not over."""
    return leak.state in (pb.LEAK_STATE_SUSPECTED, pb.LEAK_STATE_FOUND, pb.LEAK_STATE_ISOLATED)


def leak_id(network_id: str, start: int) -> str:
    """The id of a leak that is found in a minute: the same whenever it is found."""
    return f"leak-{hashlib.sha256(f'{network_id} {start}'.encode()).hexdigest()[:12]}"


def order_id(leak_id: str, state: str) -> str:
    """The id of the work order of a leak in a state: to look at it, or to shut it off."""
    return f"wo-{hashlib.sha256(f'{leak_id} {state}'.encode()).hexdigest()[:12]}"


def suspect(state: LeakState, leak: pb.Leak) -> list[Message]:
    """One sensor alone shows it, once."""
    if state.leak is not None:
        return []
    suspected = ev.LeakSuspected(leak=leak, leak_id=leak.leak_id, network_id=leak.network_id, district_id=leak.district_id)
    return [suspected]


def find(state: LeakState, leak: pb.Leak, plan: pb.Isolation | None, now: Timestamp) -> list[Message]:
    """It is found, once; with how it is cut off, and what customers are told. `plan`: None where it cannot be cut off."""
    if state.leak is not None and state.leak.state != pb.LEAK_STATE_SUSPECTED:
        return []
    common = {"leak_id": leak.leak_id, "network_id": leak.network_id, "district_id": leak.district_id}
    return [ev.LeakFound(leak=leak, **common), *_planned(LeakState(leak), plan, now, frozenset())]


def seen(leak: pb.Leak, layout: water_network.Layout, request: pb.ReportLookedAtRequest) -> pb.Leak:
    """The suspected leak as a crew has found it; with the pipe that it names, if any. BadRequest: there is none such."""
    if request.pipe_id and not any(link.name == request.pipe_id and link.closable for link in layout.links):
        raise BadRequest([("pipe_id", f"the model of {leak.network_id} has no pipe {request.pipe_id}")])
    found = pb.Leak()
    found.CopyFrom(leak)
    found.state = pb.LEAK_STATE_FOUND
    if request.pipe_id:
        known = [one for one in leak.candidates if one.pipe_id == request.pipe_id]
        del found.candidates[:]
        found.candidates.extend(known or [pb.LeakCandidate(pipe_id=request.pipe_id)])
        found.candidates[0].share = 1.0
    return found


def looked_at(
    state: LeakState, request: pb.ReportLookedAtRequest, found: pb.Leak, plan: pb.Isolation | None, now: Timestamp
) -> list[Message]:
    """A crew has looked at a suspected leak: it is found, or was none. Refused: it is not suspected any more."""
    leak = _still_open(state, request.leak_id)
    if leak.state != pb.LEAK_STATE_SUSPECTED:
        if request.water_is_lost:
            return []
        raise Refused(f"{leak.leak_id} is found: other sensors show it, too. ReportRestored ends it", "LEAK_FOUND")
    if request.water_is_lost:
        return find(state, found, plan, now)
    return retract(state, f"somebody has looked, and the sensor is wrong: {request.finding}", now)


def locate(
    state: LeakState, candidates: Sequence[pb.LeakCandidate], steps: int, plan: pb.Isolation | None, now: Timestamp
) -> list[Message]:
    """It is located anew, once, while nothing is closed yet."""
    leak = state.leak
    if leak is None or leak.state != pb.LEAK_STATE_FOUND or state.located or not candidates:
        return []
    located = ev.LeakLocated(
        leak_id=leak.leak_id, network_id=leak.network_id, district_id=leak.district_id, candidates=candidates, steps=steps
    )
    return [located, *_planned(state, plan, now, state.stuck)]


def _planned(state: LeakState, plan: pb.Isolation | None, now: Timestamp, stuck: frozenset[isolation.Valve]) -> list[Message]:
    leak = state.leak
    assert leak is not None
    if plan is None or (leak.HasField("isolation") and plan == leak.isolation):
        return []
    made = ev.IsolationPlanned(
        leak_id=leak.leak_id, network_id=leak.network_id, district_id=leak.district_id, isolation=plan,
        stuck=[pb.PipeValve(pipe_id=pipe, node_id=node) for pipe, node in sorted(stuck)],
    )  # fmt: skip
    before, cut = set(leak.isolation.customer_node_ids), set(plan.customer_node_ids)
    spared = pb.Isolation(customer_node_ids=sorted(before - cut), district_ids=leak.isolation.district_ids)
    news: list[Message] = [made]
    # Who was told before and keeps the water is told so too. Where it is nobody, nobody is told.
    if spared.customer_node_ids:
        news.append(_told(leak, spared, now, off=False))
    if cut and cut != before:
        news.append(_told(leak, plan, now, off=True))
    return news


def _told(leak: pb.Leak, plan: pb.Isolation, now: Timestamp, *, off: bool) -> ev.CustomersTold:
    places, where = len(plan.customer_node_ids), "、".join(plan.district_ids)
    text = (
        f"因管道抢修停水：{places} 处用户，{where}。Water is turned off for repairs. Places: {places}."
        if off
        else f"供水正常：{places} 处用户，{where}。Water is on. Places: {places}."
    )
    return ev.CustomersTold(
        leak_id=leak.leak_id, network_id=leak.network_id, district_ids=plan.district_ids, customers=places, water_off=off,
        told_at=now, text=text,
    )  # fmt: skip


def isolate(state: LeakState, request: pb.ReportIsolatedRequest, replan: pb.Isolation | None, now: Timestamp) -> list[Message]:
    """The valves are closed; or some are stuck, and `replan` is how it is cut off without them."""
    leak = _confirmed(state, request.leak_id)
    if leak.state == pb.LEAK_STATE_ISOLATED:
        return []
    if request.stuck:
        return _planned(state, replan, now, stuck_of(state, request))
    closed = {(one.pipe_id, one.node_id) for one in request.closed}
    missing = [one for one in leak.isolation.valves if (one.pipe_id, one.node_id) not in closed]
    if missing:
        names = ", ".join(f"{one.pipe_id} at {one.node_id}" for one in missing[:10])
        raise BadRequest([("closed", f"lacks {names}: close them, or name them as stuck")])
    return [ev.LeakIsolated(leak_id=leak.leak_id, network_id=leak.network_id, district_id=leak.district_id, isolated_at=now)]


def stuck_of(state: LeakState, request: pb.ReportIsolatedRequest) -> frozenset[isolation.Valve]:
    """All valves that are known to be stuck."""
    return state.stuck | {(one.pipe_id, one.node_id) for one in request.stuck}


def _still_open(state: LeakState, leak_id: str) -> pb.Leak:
    leak = existing(state, leak_id)
    if not is_open(leak):
        raise Refused(f"{leak_id} is over: {pb.LeakState.Name(leak.state).removeprefix('LEAK_STATE_').lower()}", "LEAK_OVER")
    return leak


def _confirmed(state: LeakState, leak_id: str) -> pb.Leak:
    leak = _still_open(state, leak_id)
    if leak.state == pb.LEAK_STATE_SUSPECTED:
        raise Refused(f"{leak_id} is only suspected: say by ReportLookedAt what was found there", "LEAK_SUSPECTED")
    return leak


def restore(state: LeakState, request: pb.ReportRestoredRequest, now: Timestamp) -> list[Message]:
    """The pipe is mended."""
    leak = _confirmed(state, request.leak_id)
    restored = ev.LeakRestored(
        leak_id=leak.leak_id, network_id=leak.network_id, district_id=leak.district_id, restored_at=now,
        outcome=request.outcome,
    )  # fmt: skip
    return [restored, *_told_on(state, now)]


def retract(state: LeakState, reason: str, now: Timestamp) -> list[Message]:
    """It never was. Nothing happens where it is over, or its valves are closed: then a person says so."""
    leak = state.leak
    if leak is None or leak.state not in (pb.LEAK_STATE_SUSPECTED, pb.LEAK_STATE_FOUND):
        return []
    retracted = ev.LeakRetracted(
        leak_id=leak.leak_id, network_id=leak.network_id, district_id=leak.district_id, retracted_at=now, reason=reason
    )
    return [retracted, *_told_on(state, now)]


def _told_on(state: LeakState, now: Timestamp) -> list[Message]:
    assert state.leak is not None
    return [_told(state.leak, state.leak.isolation, now, off=False)] if state.told_off else []


def correct(state: LeakState, sigma: float, request: dev.CorrectReadingsRequest, now: Timestamp) -> list[Message]:
    """Computes it anew with corrected readings of one sensor: it is upheld or retracted. Nothing where its steps do not hold
    them."""
    leak = state.leak
    if leak is None or leak.state not in (pb.LEAK_STATE_SUSPECTED, pb.LEAK_STATE_FOUND):
        return []
    touched, steps = False, list[pb.ResidualStep]()
    for step in leak.steps:
        start = microseconds(step.start)
        mine = [
            (index, each)
            for index, each in enumerate(request.corrections)
            if start <= microseconds(each.observed_at) < start + WINDOW_S * MICROSECONDS
        ]
        made = pb.ResidualStep(start=step.start)
        for one in step.residuals:
            after = _corrected(one, mine) if one.device_id == request.device_id else one
            touched = touched or after is not one
            if after.readings > 0:
                made.residuals.append(after)
        steps.append(made)
    if not touched:
        return []
    shown = [{one.device_id: one.metres for one in step.residuals} for step in steps]
    if shown[-1] and _shows(leak, water_network.judge(shown, sigma)):
        return [
            ev.LeakUpheld(
                leak_id=leak.leak_id, network_id=leak.network_id, district_id=leak.district_id, steps=steps,
                reason=request.reason,
            )
        ]  # fmt: skip
    return retract(state, request.reason, now)


def _shows(leak: pb.Leak, verdict: water_network.Verdict) -> bool:
    """Whether a verdict supports the leak. For one that is suspected its sensor alone is enough."""
    return verdict.alarm or (leak.state == pb.LEAK_STATE_SUSPECTED and verdict.alone == leak.suspect_device_id)


def _corrected(one: pb.Residual, corrections: Sequence[tuple[int, dev.Correction]]) -> pb.Residual:
    """What a sensor showed in a minute with corrected readings. BadRequest: what was reported is not what it is said to be."""
    if not corrections:
        return one
    total, readings = one.measured * one.readings, one.readings
    for index, each in corrections:
        if each.HasField("reported") and one.readings == 1 and abs(each.reported - one.measured) > CLOSE_M:
            problem = f"is not what counts for that minute, which is {one.measured:g}: it may have been corrected before"
            raise BadRequest([(f"corrections[{index}].reported", problem)])
        total += each.corrected - each.reported
        readings += each.HasField("corrected") - each.HasField("reported")
    if readings <= 0:
        return pb.Residual(device_id=one.device_id, node_id=one.node_id)
    measured, expected = total / readings, one.measured - one.metres
    return pb.Residual(
        device_id=one.device_id, node_id=one.node_id, metres=measured - expected, measured=measured, readings=readings
    )
