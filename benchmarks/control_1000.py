"""control-1000: one decision for 1,000 signals from fresh reports, on one core.

The signals are those of an 8-phase crossing with twelve lanes, each at another second of its cycle, with as many vehicles as a
busy morning has, drawn by a seed. What is measured is all that one report costs in traffic: the message is read from its bytes,
health of lanes, the model of each junction, the decision, and the command where one is needed. Nothing is written to the log.
"""

from __future__ import annotations

import random
import time

from citybrain.traffic.v1 import area_control_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2 import Signal, SignalConflict, SignalLink, SignalPhase
from google.protobuf.timestamp_pb2 import Timestamp

from benchmarks.rows import Aim, Row, quantile
from citybrain.mesh.runtime.garbage import collect_rarely
from citybrain.services.traffic import conflicts, domain
from citybrain.services.traffic import plan as plans
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.stages import stage
from citybrain.services.traffic.watch import Watch

SIGNALS = 1000
BEGIN = 1_767_542_400
AIM_MS = 200.0
# Four approaches, each with left, through and right; left turns of opposite approaches together, then through and right.
_TURNS = 3
_PHASES = (((0, 2), (0,)), ((0, 2), (1, 2)), ((1, 3), (0,)), ((1, 3), (1, 2)))


def crossing(signal_id: str, begins: int) -> Signal:
    """A crossing with twelve lanes and four green phases."""
    size = 4 * _TURNS
    phases = []
    for approaches, turns in _PHASES:
        green = {a * _TURNS + t for a in approaches for t in turns}
        phases += [
            SignalPhase(state="".join("G" if i in green else "r" for i in range(size)), duration_s=20 if 1 in turns else 10),
            SignalPhase(state="".join("y" if i in green else "r" for i in range(size)), duration_s=3),
        ]
    together = [{a * _TURNS + t for a in approaches for t in turns} for approaches, turns in _PHASES]
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size) if not any({i, j} <= one for one in together)]
    return Signal(
        signal_id=signal_id,
        links=[
            SignalLink(index=i, from_edge_id=f"{signal_id}-in{i // _TURNS}", to_edge_id=f"{signal_id}-out{i}",
            junction_id=signal_id, lane_ids=[f"{signal_id}-in{i // _TURNS}_{i % _TURNS}"]) for i in range(size) ],
            conflicts=[SignalConflict(index=i, other_index=j) for i, j in pairs], program_id="day", phases=phases,
            cycle_start=Timestamp(seconds=begins), )  # fmt: skip


def measure(seconds: int) -> list[Row]:
    """The 99th percentile over some seconds; beside it, reading the message alone. The first report after a start, with which a
    signal's watch begins, is told apart.
    """
    draw = random.Random(1000)
    signals = [crossing(f"x{number}", BEGIN - draw.randrange(86)) for number in range(SIGNALS)]
    watches = {signal.signal_id: Watch.of(stage(conflicts.prepare(signal), {}), "area") for signal in signals}
    states = {signal.signal_id: SignalState(signal=signal) for signal in signals}
    # As a process of the mesh does.
    collect_rarely()
    took_ms, read_ms, commands = [], [], 0
    for second in range(seconds):
        at = float(BEGIN + second)
        asked = b"".join(
            pb.ReportSignalTrafficRequest(signals=[_seen(draw, watch, at)]).SerializeToString() for watch in watches.values()
        )
        began = time.perf_counter()
        request = pb.ReportSignalTrafficRequest.FromString(asked)
        read_ms.append((time.perf_counter() - began) * 1000)
        for seen in request.signals:
            command, _ = watches[seen.signal_id].look(at, states[seen.signal_id], seen)
            if command is not None:
                commands += 1
                domain.evolve(states[seen.signal_id], command)
        took_ms.append((time.perf_counter() - began) * 1000)
    first, took_ms = took_ms[0], took_ms[1:]
    median, read = quantile(took_ms, 0.5), quantile(read_ms, 0.5)
    each = {"median, ms": median, "commands a second": commands / seconds, "first report after a start, ms": first}
    return [
        Row(
            "control-1000", quantile(took_ms, 0.99), "ms", "reading the message", read, Aim(AIM_MS, "value", least=False), each
        ),
    ]


def _seen(draw: random.Random, watch: Watch, at: float) -> pb.SignalTraffic:
    lights = watch.staged.lights
    phase = plans.at(lights.plan, at).phase
    lanes = [
        pb.LaneTraffic(
            lane_id=lane, waiting=draw.randrange(8), coming=[draw.randrange(2) for _ in range(6)], passed=draw.randrange(2)
        )
        for lane in lights.lanes
    ]
    return pb.SignalTraffic(
        signal_id=lights.signal_id, state=lights.plan.states[phase], since_s=plans.stood(lights.plan, at), lanes=lanes
    )
