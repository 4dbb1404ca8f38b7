"""The only module that uses libsumo, with types. libsumo has one simulation per process, so there is one Sumo at a time.

Second s of a run is the step that SUMO executes at time s; what signals show and where vehicles are after that step is what
the street looked like in second s. (After the step SUMO's own clock already stands at s + 1.)
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libsumo

from citybrain.simulation.errors import ScenarioError

_TELEPORT_AFTER_S = 300


def letters(state: str) -> str:
    """A state as the other modules write it: yellow is always `y`. (SUMO writes `Y` after a green with right of way.)"""
    return state.replace("Y", "y")


@contextmanager
def _said() -> Iterator[Callable[[], list[str]]]:
    """Catches what any code writes to stderr. The lines can be read, and are written to stderr afterwards."""
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)

        def read() -> list[str]:
            file.seek(0)
            return file.read().decode("utf-8", "replace").splitlines()

        try:
            yield read
        finally:
            os.dup2(real, 2)
            os.close(real)
            for line in read():
                sys.stderr.write(f"{line}\n")


class SumoRefused(Exception):
    """SUMO did not carry out a command."""


class Sumo:
    """A running scenario. Use as a context manager; leaving it ends the run and completes SUMO's output files."""

    def __init__(
        self,
        config: Path,
        seed: int,
        trip_file: Path | None = None,
        options: Sequence[str] = (),
        teleport_after_s: int = _TELEPORT_AFTER_S,
    ) -> None:
        command = ["sumo", "-c", str(config), "--seed", str(seed), "--step-length", "1", "--no-warnings", "--no-step-log"]
        command += ["--time-to-teleport", str(teleport_after_s)]
        if trip_file is not None:
            command += ["--tripinfo-output", str(trip_file)]
            command += ["--tripinfo-output.write-unfinished", "--tripinfo-output.write-undeparted"]
        with _said() as said:
            try:
                libsumo.start([*command, *options])
            except Exception as error:
                # SUMO's exception is often empty; the reason stands on stderr.
                lines = [line.removeprefix("Error: ").strip() for line in said() if not line.startswith("Quitting")]
                reason = " ".join(filter(None, lines)) or str(error)
                advice = "mend in the file what is named here, or take it out"
                raise ScenarioError(f"{config}: SUMO cannot load it: {reason.rstrip('.')}: {advice}") from None
        self._open = True
        self._config = config
        self.lights: Any = libsumo.trafficlight
        self.vehicles: Any = libsumo.vehicle
        self.edges: Any = libsumo.edge
        self.lanes: Any = libsumo.lane
        self.types: Any = libsumo.vehicletype
        self.loops: Any = libsumo.inductionloop
        self.routes: Any = libsumo.route
        self._simulation: Any = libsumo.simulation

    def __enter__(self) -> Sumo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the run."""
        if self._open:
            self._open = False
            libsumo.close()

    @property
    def next_second(self) -> int:
        """The second that the next step will execute."""
        return int(self._simulation.getTime())

    def step(self) -> int:
        """Executes one second, and returns which."""
        second = self.next_second
        try:
            libsumo.simulationStep()
        except (libsumo.TraCIException, libsumo.FatalTraCIError) as error:
            # SUMO reads demand while it runs: an error in it shows only when its time has come.
            raise ScenarioError(f"{self._config}: SUMO stopped in second {second}: {error}") from None
        return second

    # -- signals ------------------------------------------------------------------------------------------------------

    def signal_ids(self) -> list[str]:
        """Every traffic light, in a fixed order."""
        return sorted(self.lights.getIDList())

    def shown(self, signal_id: str) -> str:
        """What a signal shows, one letter a link."""
        return letters(self.lights.getRedYellowGreenState(signal_id))

    def program(self, signal_id: str) -> str:
        """The program of a signal; `online` while its state is set from outside."""
        return str(self.lights.getProgram(signal_id))

    def programs(self, signal_id: str) -> dict[str, list[str]]:
        """The programs that the network has for a signal, each with the states of its phases."""
        logics = self.lights.getAllProgramLogics(signal_id)
        return {str(one.programID): [letters(phase.state) for phase in one.phases] for one in logics}

    def choose(self, signal_id: str, program: str) -> None:
        """Lets a signal run another of its programs from the next second on, in step with the clock."""
        self.lights.setProgram(signal_id, program)

    def install(self, signal_id: str, program: str, phases: Sequence[tuple[str, float]]) -> None:
        """Gives a signal another fixed-time program, which it does not run yet."""
        running = self.lights.getProgram(signal_id)
        made = [libsumo.trafficlight.Phase(seconds, state) for state, seconds in phases]
        self.lights.setProgramLogic(signal_id, libsumo.trafficlight.Logic(program, 0, 0, made))
        # Installing a program makes SUMO run it.
        if running != program:
            self.lights.setProgram(signal_id, running)

    def show(self, signal_id: str, state: str) -> None:
        """Shows a state from the next second on, until told otherwise."""
        self.lights.setRedYellowGreenState(signal_id, state)

    def hand_back(self, signal_id: str, program: str, phase: int, left_s: float) -> None:
        """Gives a signal back to its plan, in a phase that lasts `left_s` seconds from the next second on."""
        # The order matters: choosing the program resets the phase, and choosing the phase resets its duration.
        self.lights.setProgram(signal_id, program)
        self.lights.setPhase(signal_id, phase)
        self.lights.setPhaseDuration(signal_id, left_s)

    # -- what happened in the last second -----------------------------------------------------------------------------

    def departed(self) -> set[str]:
        """Vehicles that came onto the road."""
        return set(self._simulation.getDepartedIDList())

    def arrived(self) -> set[str]:
        """Vehicles that left the road at the end of their route."""
        return set(self._simulation.getArrivedIDList())

    def teleported(self) -> list[str]:
        """Vehicles that SUMO took off the road because they were stuck."""
        return list(self._simulation.getStartingTeleportIDList())

    def collisions(self) -> int:
        """Collisions reported."""
        return len(self._simulation.getCollisions())

    def running(self) -> int:
        """Vehicles on the road."""
        return int(self.vehicles.getIDCount())

    # -- loops in the road ---------------------------------------------------------------------------------------------

    def counted(self, loop: str, second: int, *, left: bool) -> int:
        """Vehicles that came onto a loop in a second, or left it."""
        return sum(
            second <= (leaves if left else enters) < second + 1 for _, _, enters, leaves, _ in self.loops.getVehicleData(loop)
        )

    def covered(self, loop: str) -> float:
        """For which part of the last second a loop was covered, from 0 to 1."""
        return min(1.0, max(0.0, float(self.loops.getLastStepOccupancy(loop)) / 100))

    # -- vehicles that this program drives -----------------------------------------------------------------------------

    def add_vehicle(self, vehicle_id: str, type_id: str, edges: Sequence[str], position_m: float) -> None:
        """Puts a vehicle into the next second, standing at a position of its first edge, as soon as there is room."""
        route = f"route.{vehicle_id}"
        try:
            self.routes.add(route, list(edges))
            self.vehicles.add(
                vehicle_id, route, typeID=type_id, depart="now", departLane="best", departPos=f"{position_m:.2f}",
                departSpeed="0",
            )  # fmt: skip
        except libsumo.TraCIException as error:
            raise SumoRefused(str(error)) from None

    def reroute(self, vehicle_id: str, edges: Sequence[str]) -> None:
        """Gives a vehicle another way, beginning with the edge it is on."""
        try:
            self.vehicles.setRoute(vehicle_id, list(edges))
        except libsumo.TraCIException as error:
            raise SumoRefused(str(error)) from None

    def stop_at(self, vehicle_id: str, edge_id: str, position_m: float, lane: int, from_m: float | None = None) -> None:
        """Lets a vehicle stop at a place on its way, or from `from_m` on if it has to stand there, until it is let go."""
        start = libsumo.INVALID_DOUBLE_VALUE if from_m is None else from_m
        try:
            self.vehicles.setStop(vehicle_id, edge_id, pos=position_m, laneIndex=lane, duration=1e6, startPos=start)
        except libsumo.TraCIException as error:
            raise SumoRefused(str(error)) from None

    def no_stop(self, vehicle_id: str) -> None:
        """Takes a vehicle's next stop back."""
        self.vehicles.replaceStop(vehicle_id, 0, "")

    def resume(self, vehicle_id: str) -> None:
        """Lets a stopped vehicle go on."""
        self.vehicles.resume(vehicle_id)

    def remove(self, vehicle_id: str) -> None:
        """Takes a vehicle off the road."""
        self.vehicles.remove(vehicle_id)
