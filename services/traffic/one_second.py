"""One second of control: from all facts at hand, at most one command for each signal. Pure; ties are broken by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from citybrain.traffic.v1.events_pb2 import PriorityGranted, SignalCommanded
from citybrain.traffic.v1.traffic_service_pb2 import SignalShown

from citybrain.services.traffic import signal_change
from citybrain.services.traffic.green_wave import SILENT_S, Network, Observed, wishes
from citybrain.services.traffic.remembered import PRIORITY, SignalState
from citybrain.services.traffic.signal_change import Wish
from citybrain.services.traffic.signal_plan import Plan

PAUSE_S = 20.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What control looks at. `plans` by signal; `grants` in the order in which they were given; `states` by signal."""

    now: float
    network: Network
    plans: Mapping[str, Plan]
    states: Mapping[str, SignalState]
    grants: Mapping[str, PriorityGranted]
    observed: Observed
    shown: Mapping[str, SignalShown]
    # When a signal was last given back, by signal.
    freed_at: Mapping[str, float]


def control(facts: Facts) -> list[SignalCommanded]:
    """The commands of this second."""
    wanted = _wanted(facts)
    commands = []
    for signal_id in sorted(facts.plans):
        state, shown = facts.states.get(signal_id, SignalState()), facts.shown.get(signal_id)
        if shown is None:
            continue
        held = state.held_for
        claims = wanted.get(signal_id, {})
        if held:
            if held not in claims:
                commands += _give_back(facts, signal_id, state, shown)
        elif claims and state.command is None and facts.now - facts.freed_at.get(signal_id, 0.0) >= PAUSE_S:
            vehicle, (grant, wish) = next(iter(claims.items()))
            commands += _hold(facts, signal_id, state, shown, vehicle, grant, wish)
    return commands


def lost(facts: Facts) -> list[tuple[PriorityGranted, float]]:
    """Grants whose vehicle has been silent for too long, with the seconds."""
    found = []
    for grant in facts.grants.values():
        moving = facts.observed.moving.get(grant.vehicle_id)
        if moving is not None and facts.now - moving.heard_at > SILENT_S:
            found.append((grant, facts.now - moving.heard_at))
    return found


Claims = dict[str, tuple[PriorityGranted, Wish]]


def _wanted(facts: Facts) -> dict[str, Claims]:
    """Signal → vehicle → what it needs; vehicles in the order of their grants: first come, first served."""
    found: dict[str, Claims] = {}
    for grant in facts.grants.values():
        moving = facts.observed.moving.get(grant.vehicle_id)
        if moving is None or facts.now - moving.heard_at > SILENT_S:
            continue
        for signal_id, wish in wishes(grant, moving.position, facts.network, facts.observed.queues):
            plan = facts.plans.get(signal_id)
            if plan is not None and plan.controllable:
                found.setdefault(signal_id, {}).setdefault(grant.vehicle_id, (grant, wish))
    return found


def _hold(
    facts: Facts, signal_id: str, state: SignalState, shown: SignalShown, vehicle: str, grant: PriorityGranted, wish: Wish
) -> list[SignalCommanded]:
    command = signal_change.hold(facts.plans[signal_id], wish, shown, facts.observed.queues, facts.now)
    if command is None:
        return []
    command.command_id = f"{signal_id}/{state.commands + 1}"
    command.vehicle_id, command.incident_id, command.reason = vehicle, grant.incident_id, PRIORITY
    return [command]


def _give_back(facts: Facts, signal_id: str, state: SignalState, shown: SignalShown) -> list[SignalCommanded]:
    held = state.command
    if held is None:
        return []
    came_by = _came_by(facts, held)
    command = signal_change.give_back(facts.plans[signal_id], came_by, shown, facts.observed.queues, facts.now)
    if command is None:
        return []
    command.command_id = f"{signal_id}/{state.commands + 1}"
    command.vehicle_id, command.incident_id = held.vehicle_id, held.incident_id
    command.reason = "released" if _grant_of(facts, held) is None else "passed"
    return [command]


def _grant_of(facts: Facts, command: SignalCommanded) -> PriorityGranted | None:
    return next((g for g in facts.grants.values() if g.vehicle_id == command.vehicle_id), None)


def _came_by(facts: Facts, command: SignalCommanded) -> str:
    """The road the vehicle came by: that of its way which leads to the signal."""
    grant = _grant_of(facts, command)
    for edge in grant.edge_ids if grant is not None else ():
        if facts.network.ends_at.get(edge) == command.signal_id:
            return edge
    return ""
