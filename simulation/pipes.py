"""A network of water pipes with a leak that nobody has told the city of: EPANET's Net3, as WNTR ships it.

Pressures are metres of water, flows litres a second, a second is one of the run, which begins at midnight. Each sensor shows
its pressure every quarter of an hour, and is wrong by some centimetres. Needs the extra `networks`.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

STEP_S = 900
"""How often the sensors show their pressure."""
NOISE_M = 0.1
"""Standard deviation of what a sensor shows, in metres."""
# What flows out of a hole goes with the root of the pressure. At this many metres it is the flow that was asked for.
_AT_M = 40.0


@dataclass(frozen=True, slots=True)
class Leak:
    """A hole half-way along a pipe, from a second of the run on, of about so many litres a second."""

    pipe: str
    begin_s: int
    flow_l_s: float


@dataclass(slots=True)
class Pipes:
    """The pressures of a run. `leak`: None where nothing is wrong."""

    sensors: list[str]
    hours: int
    seed: int
    leak: Leak | None = None
    _pressures: Any = field(default=None, init=False)

    def steps(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The pressure at each sensor after each quarter of an hour, with the second at which it was read."""
        by = random.Random(f"pipes-{self.seed}")
        for second, true in self.true():
            yield second, {name: round(value + by.gauss(0, NOISE_M), 3) for name, value in true.items()}

    def true(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The same without what a sensor adds."""
        if self._pressures is None:
            self._pressures = self._run()
        for second in range(STEP_S, self.hours * 3600 + 1, STEP_S):
            row = self._pressures.loc[second]
            yield second, {name: float(row[name]) for name in self.sensors}

    def _run(self) -> Any:
        wntr = import_module("wntr")
        network = wntr.network.WaterNetworkModel(str(net3()))
        time = network.options.time
        time.duration, time.hydraulic_timestep, time.report_timestep = self.hours * 3600, STEP_S, STEP_S
        if self.leak is not None:
            network = _holed(wntr, network, self.leak)
        with tempfile.TemporaryDirectory() as folder:
            return wntr.sim.EpanetSimulator(network).run_sim(file_prefix=f"{folder}/run").node["pressure"]


def net3() -> Path:
    """The file of the network, as everybody has it: without the leak."""
    found = import_module("wntr").__file__
    assert found is not None
    return Path(found).parent / "library" / "networks" / "Net3.inp"


def _holed(wntr: Any, network: Any, leak: Leak) -> Any:
    """The network with a hole in one pipe. Before its time the hole is behind a pipe that is shut."""
    network = wntr.morph.split_pipe(network, leak.pipe, f"{leak.pipe}-rest", "leak-at")
    at = network.get_node("leak-at")
    network.add_junction("hole", elevation=at.elevation, coordinates=at.coordinates)
    network.get_node("hole").emitter_coefficient = leak.flow_l_s / 1000 / _AT_M**0.5
    network.add_pipe("hole-pipe", "leak-at", "hole", length=1, diameter=0.5, roughness=130, initial_status="CLOSED")
    action = wntr.network.ControlAction(network.get_link("hole-pipe"), "status", wntr.network.LinkStatus.Open)
    condition = wntr.network.SimTimeCondition(network, "=", leak.begin_s)
    network.add_control("the hole opens", wntr.network.Control(condition, action))
    return network
