"""One step of control: from what is known at a moment it makes at most one command for each signal.

Pure and in a fixed order: the same facts give the same commands. Times are city time in seconds since the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from citybrain.traffic.v1.events_pb2 import PriorityGranted, SignalCommanded, VehicleLost, VehicleMissing
from citybrain.traffic.v1.traffic_service_pb2 import VehiclePosition

from citybrain.services.traffic import domain, plan, signal_timing
from citybrain.services.traffic.conflicts import Lights, target
from citybrain.services.traffic.domain import Play, SignalState
from citybrain.services.traffic.grants import Grant
from citybrain.services.traffic.network import Network
from citybrain.services.traffic.priority import Need, ahead
from citybrain.services.traffic.signal_timing import Shown, SignalTiming
from citybrain.services.traffic.street import FRESH_S, Street, Tracked

SILENT_S = 5.0
"""A vehicle that is silent for longer loses its signals, in seconds."""

PAUSE_S = 20.0
"""Seconds after a hold in which a signal stays in its plan (measured in simulation)."""

IN_VAIN_S = 45.0
"""A vehicle gives a signal back that it held for this many seconds without getting on by 5 m: cross traffic waited enough."""

AGAIN_AFTER_S = 90.0
"""Seconds until it may have that signal again; it may at once when it has got on."""

MISSING_S = 60.0
"""A vehicle that is silent for this many seconds is reported missing: no tunnel takes so long."""

_STEP_S = 1.0
_IN_VAIN = "no progress"
# What must be left of a hold for another state to be worth it: minimum green, yellow and all red, and a green of 5 s.
_SHORTEST_S = 15.0


@dataclass(frozen=True, slots=True)
class Step:
    """Commands, reports of vehicles that are lost or missing, and the street to be kept for the next step."""

    commands: list[SignalCommanded]
    told: list[VehicleLost | VehicleMissing]
    street: Street


@dataclass(frozen=True, slots=True)
class _Vehicle:
    """A vehicle with priority: its grant, and the signals it has not passed (none while it is lost)."""

    granted: PriorityGranted
    lost: bool
    needs: Mapping[str, Need]
    got_on_at: float


def control(now: float, network: Network, signals: Mapping[str, SignalState], grants: Iterable[Grant], street: Street) -> Step:
    """Decides one second.

    `now` is the first moment at which a command made here can be shown: the end of the second that was observed last, in
    seconds since the epoch. `signals` holds at least the signals on the ways of the grants and those under control; `grants`
    holds all grants that stand. A command that was refused, or had no answer for 5 s, is made again if it is still needed.
    """
    vehicles, told, street = _vehicles(now, network, grants, street)
    in_vain = {key: at for key, at in street.in_vain.items() if now - at < AGAIN_AFTER_S}
    wants: dict[str, list[tuple[Need, _Vehicle]]] = {}
    for vehicle in vehicles.values():
        for need in vehicle.needs.values():
            if need.due and vehicle.got_on_at > in_vain.get((need.signal_id, vehicle.granted.vehicle_id), -math.inf):
                wants.setdefault(need.signal_id, []).append((need, vehicle))
    commands = []
    for signal_id in sorted(wants.keys() | {name for name, state in signals.items() if state.running is not None}):
        state, lights = signals.get(signal_id), network.lights.get(signal_id)
        if state is None or lights is None or domain.unanswered(state, now):
            continue
        shown = _shown(now, state, lights, street)
        if not signal_timing.can_begin(lights, shown):
            continue
        signal = _Signal(now, lights, state, shown, street.queues)
        held = domain.holder(state, now)
        made = signal.take(wants.get(signal_id, [])) if held is None else signal.keep(held, vehicles)
        if made is not None:
            commands.append(made)
            if made.reason == _IN_VAIN and held is not None:
                in_vain[signal_id, held.command.vehicle_id] = now
    return Step(commands, told, replace(street, in_vain=in_vain))


@dataclass(frozen=True, slots=True)
class _Signal:
    """One signal at one moment."""

    now: float
    lights: Lights
    state: SignalState
    shown: Shown
    queues: Mapping[str, int]

    def take(self, wants: list[tuple[Need, _Vehicle]]) -> SignalCommanded | None:
        """Nobody holds the signal: the vehicle that will arrive first gets it, unless the signal pauses."""
        ended = domain.last_hold_ended(self.state, self.now)
        if ended is not None and self.now - ended < PAUSE_S:
            return None
        for need, vehicle in sorted(wants, key=lambda w: (w[0].eta_s, w[1].granted.incident_id, w[1].granted.vehicle_id)):
            made = self._priority(need, vehicle.granted, math.inf)
            if made is not None:
                return made
        return None

    def keep(self, held: Play, vehicles: Mapping[tuple[str, str], _Vehicle]) -> SignalCommanded | None:
        """A vehicle holds the signal: nobody else gets it until that hold ends."""
        assert held.hold is not None
        command = held.command
        vehicle = vehicles.get((command.incident_id, command.vehicle_id))
        if vehicle is None:
            return self._give_back("released")
        if vehicle.lost:
            return self._give_back("lost")
        need = vehicle.needs.get(self.lights.signal_id)
        if need is None:
            return self._give_back("passed")
        if self.now - max(held.hold[0], vehicle.got_on_at) >= IN_VAIN_S:
            return self._give_back(_IN_VAIN)
        if held.hold[1] - self.now <= _STEP_S:
            # The timing would end by itself a second later. A new one serves the vehicles that wait now.
            return self._give_back("longest hold")
        if self._serves(held.held_state, need):
            return None
        # The vehicle passes the same signal once more, by another approach.
        began = self.now if self.state.hold_began is None else min(self.now, self.state.hold_began)
        until = began + signal_timing.LONGEST_HOLD_S
        worth = need.due and until - self.now >= _SHORTEST_S
        made = self._priority(need, vehicle.granted, until) if worth else None
        return made or self._give_back("passed")

    def _serves(self, state: str, need: Need) -> bool:
        way = need.way
        letters = self.lights.approaches.get(need.approach) if way is None else self.lights.ways.get(way)
        return all(state[i] in plan.GREEN for i in letters or ())

    def _priority(self, need: Need, granted: PriorityGranted, until: float) -> SignalCommanded | None:
        aim = target(self.lights, need.approach, need.way, self.shown.state)
        if aim is None:
            return None
        made = signal_timing.priority(self.lights, self.shown, self.now, aim, until, self.queues, need.approach)
        return self._command(made, granted.incident_id, granted.vehicle_id, "priority")

    def _give_back(self, reason: str) -> SignalCommanded:
        return self._command(signal_timing.give_back(self.lights, self.shown, self.now, self.queues), "", "", reason)

    def _command(self, made: SignalTiming, incident_id: str, vehicle_id: str, reason: str) -> SignalCommanded:
        return SignalCommanded(
            signal_id=self.lights.signal_id, command_id=domain.command_id(self.lights.signal_id, self.now),
            incident_id=incident_id, vehicle_id=vehicle_id, from_state=made.from_state, intervals=made.intervals,
            program_id=self.lights.plan.program_id, plan_phase=made.plan_phase, plan_phase_left_s=made.plan_phase_left_s,
            reason=reason,
        )  # fmt: skip


def _vehicles(
    now: float, network: Network, grants: Iterable[Grant], street: Street
) -> tuple[dict[tuple[str, str], _Vehicle], list[VehicleLost | VehicleMissing], Street]:
    """Vehicles with priority, by incident and vehicle. Of several grants for one vehicle the newest counts."""
    newest = {(g.granted.incident_id, g.granted.vehicle_id): g for g in grants}
    found: dict[tuple[str, str], _Vehicle] = {}
    told: list[VehicleLost | VehicleMissing] = []
    heard: dict[str, Tracked] = {}
    for key, grant in sorted(newest.items(), key=lambda item: item[0]):
        granted = grant.granted
        # A vehicle that has not reported since the restart is as lost as it was before.
        last = street.vehicles.get(granted.vehicle_id) or Tracked(now, lost=grant.lost, missing=grant.missing)
        silent = now - last.at
        is_lost, is_missing = last.lost or silent > SILENT_S, last.missing or silent > MISSING_S
        whose = {"incident_id": granted.incident_id, "grant_id": granted.grant_id, "vehicle_id": granted.vehicle_id}
        if is_lost and not last.lost:
            told.append(VehicleLost(**whose, silent_s=silent))
        if is_missing and not last.missing:
            place = last.position or VehiclePosition()
            told.append(VehicleMissing(**whose, silent_s=silent, edge_id=place.edge_id, position_m=place.position_m))
        heard[granted.vehicle_id] = replace(last, lost=is_lost, missing=is_missing)
        needs = {} if is_lost or last.position is None else ahead(network, granted, last.position, street.queues)
        found[key] = _Vehicle(granted, is_lost, needs, last.got_on_at)
    return found, told, replace(street, vehicles=heard)


def _shown(now: float, state: SignalState, lights: Lights, street: Street) -> Shown:
    """What a signal shows: as observed just now, else as its timing or its plan says.

    If that is wrong, the controller refuses the command: it does not begin from what the signal shows.
    """
    seen = street.signals.get(lights.signal_id)
    if seen is not None and now - seen.at <= FRESH_S:
        return seen.shown
    play = state.running
    if play is not None:
        by_timing = signal_timing.along(play.command.from_state, play.command.intervals, now - play.begins)
        if by_timing is not None:
            return by_timing
    return Shown(lights.plan.states[plan.at(lights.plan, now).phase], plan.stood(lights.plan, now))
