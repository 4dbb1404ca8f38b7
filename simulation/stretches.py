"""The lanes that lead to the stop line of a lane before a signal, up to 150 m from it.

Where the lane is shorter, they are the lanes before it too, but for those behind another signal. Nobody knows where a vehicle
there will turn: such a vehicle counts in equal shares on all lanes that it may choose.
"""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.simulation.network import Network

VIEW_M = 150.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A lane: how far its end is from the stop line, in metres, and which share of its vehicles counts."""

    lane_id: str
    ahead_m: float
    share: float


def stretches(network: Network) -> dict[str, tuple[Stretch, ...]]:
    """Lane before a signal → the stretches that lead to its stop line, the lane itself first."""
    watched = {lane for lanes in network.signal_lanes.values() for lane in lanes}
    before: dict[str, list[str]] = {}
    for lane, following in sorted(network.lanes_after.items()):
        for one in following:
            before.setdefault(one, []).append(lane)
    found = {}
    for lane in sorted(watched):
        led, known = [Stretch(lane, 0.0, 1.0)], {lane}
        for stretch in led:
            end_m = stretch.ahead_m + network.lane_length_m[stretch.lane_id]
            if end_m >= VIEW_M:
                continue
            for one in before.get(stretch.lane_id, ()):
                if one not in watched and one not in known:
                    known.add(one)
                    led.append(Stretch(one, end_m, stretch.share / len(network.lanes_after[one])))
        found[lane] = tuple(led)
    return found


def lanes_of_signals(network: Network) -> dict[str, tuple[str, ...]]:
    """Signal → the lanes before it, each once."""
    found: dict[str, dict[str, None]] = {}
    for (signal_id, _), lanes in network.signal_lanes.items():
        found.setdefault(signal_id, {}).update(dict.fromkeys(lanes))
    return {signal_id: tuple(lanes) for signal_id, lanes in sorted(found.items())}
