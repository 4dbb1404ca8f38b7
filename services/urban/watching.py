"""The water networks that are watched, in memory: their models as they were computed, and the newest residuals of their
sensors.

After a restart the models are computed anew when the first pressures come, and the chart begins anew: leaks that go on are
events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import water_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.service import Provider
from citybrain.services.urban import leaks, water_network
from citybrain.services.urban.devices import anomaly_id
from citybrain.services.urban.readings import MICROSECONDS, WINDOW_S, Folded
from citybrain.services.urban.views import DeviceRow

SUSPECT = 2
"""Where one sensor alone shows in so many steps in a row that pressures have fallen, and a leak may show at it alone, somebody
looks."""
ALONE = 3
"""A sensor that contradicts the model alone in so many steps in a row is wrong."""
WRONG_SIGMAS, RIGHT_SIGMAS = 6.0, 3.0
"""It is so many standard deviations away at least, and right again when it is no more than so many away."""
RIGHT = 5
"""In so many steps in a row."""
FIRST_HOURS = 8 * 24


@dataclass(slots=True)
class Watched:
    """One network. `steps`: the newest residuals by device, with their minute."""

    registered: ev.WaterNetworkRegistered
    layout: water_network.Layout
    course: water_network.Course
    steps: list[tuple[int, Mapping[str, pb.Residual]]] = field(default_factory=list)
    alone: dict[str, list[dev.WindowMean]] = field(default_factory=dict)
    right: dict[str, int] = field(default_factory=dict)
    # Steps since a leak was found that goes on.
    since_leak: int = 0
    # The sensor that alone shows that pressures have fallen, and in how many steps in a row.
    showing: tuple[str, int] = ("", 0)
    # The sensor that alone shows the leak that is suspected now; those where people have looked, until they are right again.
    suspect: str = ""
    looked_at: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Seen:
    """What a minute brings for one network."""

    leak: pb.Leak | None = None
    suspected: pb.Leak | None = None
    relocated: tuple[int, list[pb.LeakCandidate]] | None = None
    gone: bool = False
    outdated: bool = False
    wrong: list[dev.Anomaly] = field(default_factory=list)
    right: list[str] = field(default_factory=list)


class Networks:
    """The networks of which pressures came since the start."""

    def __init__(self) -> None:
        self._known: dict[str, Watched] = {}
        self._last: dict[str, tuple[int, Seen]] = {}

    def get(self, registered: ev.WaterNetworkRegistered) -> Watched:
        """A network with its model. Unreadable: EPANET cannot run it."""
        known = self._known.get(registered.network_id)
        if known is None or known.registered != registered:
            layout = water_network.layout(registered.inp)
            course = water_network.course(registered.inp, registered.step_s, FIRST_HOURS)
            known = self._known[registered.network_id] = Watched(registered, layout, course)
        return known

    def see(
        self,
        registered: ev.WaterNetworkRegistered,
        start: int,
        states: Mapping[str, Folded],
        sensors: Mapping[str, DeviceRow],
        leak: pb.Leak | None,
        wrong: frozenset[str],
    ) -> Seen:
        """Takes a minute in. `leak`: the one that goes on; `wrong`: sensors whose anomaly goes on. The same minute brings the
        same."""
        last = self._last.get(registered.network_id)
        if last is not None and last[0] == start:
            return last[1]
        seen = self._see(self.get(registered), start, states, sensors, leak, wrong)
        self._last[registered.network_id] = start, seen
        return seen

    def _see(
        self,
        one: Watched,
        start: int,
        states: Mapping[str, Folded],
        sensors: Mapping[str, DeviceRow],
        leak: pb.Leak | None,
        wrong: frozenset[str],
    ) -> Seen:
        seen = Seen()
        step = leaks.step_of(one.registered, start)
        if step is None:
            return seen
        if step * one.registered.step_s > leaks.MOST_HOURS * 3600:
            seen.outdated = True
            return seen
        while step >= one.course.steps:
            hours = min(2 * one.course.steps * one.registered.step_s // 3600, leaks.MOST_HOURS)
            one.course = water_network.course(one.registered.inp, one.registered.step_s, hours + 1)
        residuals = _residuals(one, step, states, sensors)
        _remember_suspects(one, residuals, leak)
        self._look_at_each(one, start, residuals, sensors, wrong, leak, seen)
        counted = {name: found for name, found in residuals.items() if name not in wrong}
        if not counted:
            return seen
        if leak is not None and leak.state == pb.LEAK_STATE_ISOLATED:
            # What is closed now is not in the model: nothing can be said until it is open again.
            one.steps.clear()
            one.since_leak = 0
            return seen
        one.steps = [*one.steps[1 - leaks.STEPS :], (start, counted)]
        verdict = water_network.judge([_metres(found) for _, found in one.steps], one.registered.sensor_sigma_m)
        if leak is None:
            one.since_leak = 0
            if verdict.alarm:
                seen.leak = self._leak(one, start, step, verdict, sensors)
            else:
                seen.suspected = self._suspected(one, start, step, verdict, counted, sensors)
        elif leak.state == pb.LEAK_STATE_SUSPECTED:
            one.since_leak = 0
            if verdict.alarm:
                seen.leak = self._leak(one, start, step, verdict, sensors)
                seen.leak.leak_id, seen.leak.suspect_device_id = leak.leak_id, leak.suspect_device_id
            else:
                seen.gone = _is_right(counted.get(leak.suspect_device_id), one.registered.sensor_sigma_m)
        else:
            one.since_leak += 1
            if one.since_leak == leaks.LOCATED_AFTER - 1:
                newest = one.steps[-leaks.LOCATED_AFTER :]
                found = water_network.judge([_metres(each) for _, each in newest], one.registered.sensor_sigma_m)
                seen.relocated = found.span, self._candidates(one, step, found, sensors)
            # All steps that are looked at came after it was found, and nothing is lost in them.
            seen.gone = one.since_leak >= leaks.STEPS and verdict.statistic <= verdict.limit / 2
        return seen

    def _look_at_each(
        self,
        one: Watched,
        start: int,
        residuals: Mapping[str, pb.Residual],
        sensors: Mapping[str, DeviceRow],
        wrong: frozenset[str],
        leak: pb.Leak | None,
        seen: Seen,
    ) -> None:
        """Finds sensors that are wrong by themselves, and those that are right again."""
        sigma = one.registered.sensor_sigma_m
        well = {name: found for name, found in residuals.items() if name not in wrong}
        # While water is lost, sensors near the leak are far away from what is expected, and right.
        now = water_network.judge([_metres(well)], sigma) if well and leak is None else None
        for name, found in residuals.items():
            if name in wrong:
                one.right[name] = one.right.get(name, 0) + 1 if abs(found.metres) <= RIGHT_SIGMAS * sigma else 0
                if one.right[name] >= RIGHT:
                    seen.right.append(name)
                    del one.right[name]
            elif now is not None and now.alone == name and abs(found.metres) > WRONG_SIGMAS * sigma:
                window = dev.WindowMean(
                    start=timestamp(start), mean=found.measured, readings=found.readings,
                    expected=found.measured - found.metres,
                )  # fmt: skip
                one.alone[name] = [*one.alone.get(name, []), window]
                if len(one.alone[name]) >= ALONE:
                    seen.wrong.append(_anomaly(sensors[name], one, start, one.alone.pop(name)))
            else:
                one.alone.pop(name, None)

    def _leak(
        self, one: Watched, start: int, step: int, verdict: water_network.Verdict, sensors: Mapping[str, DeviceRow]
    ) -> pb.Leak:
        registered = one.registered
        made = pb.Leak(
            leak_id=leaks.leak_id(registered.network_id, start), network_id=registered.network_id,
            district_id=registered.district_id, state=pb.LEAK_STATE_FOUND,
            found_at=timestamp(start + WINDOW_S * MICROSECONDS), statistic=verdict.statistic, limit=verdict.limit,
            missing_sensors=len(sensors) - len(verdict.mean), candidates=self._candidates(one, step, verdict, sensors),
            version=water_network.VERSION,
        )  # fmt: skip
        for begin, found in one.steps[-verdict.span :]:
            made.steps.add(start=timestamp(begin), residuals=found.values())
        return made

    def _suspected(
        self,
        one: Watched,
        start: int,
        step: int,
        verdict: water_network.Verdict,
        counted: Mapping[str, pb.Residual],
        sensors: Mapping[str, DeviceRow],
    ) -> pb.Leak | None:
        """A leak that one sensor alone shows, where that may be: at a dead end."""
        name, sigma = verdict.alone, one.registered.sensor_sigma_m
        has_fallen = bool(name) and counted[name].metres < -RIGHT_SIGMAS * sigma
        before, steps = one.showing
        one.showing = (name, steps + 1 if name == before else 1) if has_fallen else ("", 0)
        if name in one.looked_at or one.showing[1] < SUSPECT:
            return None
        made = self._leak(one, start, step, verdict, sensors)
        unexplained = water_network.rest(verdict, sigma)
        if not made.candidates or made.candidates[0].misfit > unexplained + water_network.PLAUSIBLE:
            return None
        made.state, made.suspect_device_id = pb.LEAK_STATE_SUSPECTED, name
        return made

    def _candidates(
        self, one: Watched, step: int, verdict: water_network.Verdict, sensors: Mapping[str, DeviceRow]
    ) -> list[pb.LeakCandidate]:
        at = {sensors[name].node_id: metres for name, metres in verdict.mean.items()}
        sigma = one.registered.sensor_sigma_m / math.sqrt(verdict.span)
        with water_network.Trials(one.registered.inp, one.course, step) as trials:
            found = water_network.locate(trials, one.layout.links, one.course.nodes, at, sigma)
        return [
            pb.LeakCandidate(pipe_id=each.pipe, misfit=each.misfit, litres_per_second=each.litres_per_second, share=each.share)
            for each in found
        ]


def _remember_suspects(one: Watched, residuals: Mapping[str, pb.Residual], leak: pb.Leak | None) -> None:
    """Where people have looked, and found a sensor that is wrong, nobody is sent again until it is right."""
    if leak is None and one.suspect:
        one.looked_at.add(one.suspect)
    one.suspect = leak.suspect_device_id if leak is not None and leak.state == pb.LEAK_STATE_SUSPECTED else ""
    sigma = one.registered.sensor_sigma_m
    one.looked_at = {name for name in one.looked_at if not _is_right(residuals.get(name), sigma)}


def _is_right(residual: pb.Residual | None, sigma: float) -> bool:
    """Whether a sensor has reported, and shows what the model expects."""
    return residual is not None and abs(residual.metres) <= RIGHT_SIGMAS * sigma


def _metres(residuals: Mapping[str, pb.Residual]) -> dict[str, float]:
    return {name: found.metres for name, found in residuals.items()}


def _residuals(
    one: Watched, step: int, states: Mapping[str, Folded], sensors: Mapping[str, DeviceRow]
) -> dict[str, pb.Residual]:
    """What the sensors of the network show against the model. Those at nodes that it does not have are left out."""
    place = {node: number for number, node in enumerate(one.course.nodes)}
    found = {}
    for name, row in sensors.items():
        state, node = states.get(name), place.get(row.node_id)
        if state is not None and node is not None:
            readings = state[0].bit_count()
            measured, expected = state[1] / readings, float(one.course.pressure[step, node])
            found[name] = pb.Residual(
                device_id=name, node_id=row.node_id, metres=measured - expected, measured=measured, readings=readings
            )
    return found


def _anomaly(row: DeviceRow, one: Watched, start: int, evidence: list[dev.WindowMean]) -> dev.Anomaly:
    """A sensor that is wrong by itself."""
    made = dev.Anomaly(
        anomaly_id=anomaly_id(row.id, start), device_id=row.id, kind=row.kind, district_id=row.district_id,
        found_at=timestamp(start + WINDOW_S * MICROSECONDS), evidence=evidence,
    )  # fmt: skip
    made.position.latitude, made.position.longitude = row.latitude, row.longitude
    made.chart.rule, made.chart.version = "MODEL", water_network.VERSION
    made.chart.limit = WRONG_SIGMAS * one.registered.sensor_sigma_m
    return made


class Watching(Provider):
    """One `Networks` for all calls of the process."""

    def setup(self) -> None:
        """Starts empty."""
        self._networks = Networks()

    def get_dependency(self, worker_ctx: Any) -> Networks:
        """The networks."""
        return self._networks
