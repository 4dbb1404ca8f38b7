"""Where the loops lie in the lanes before signals: one before the stop line, one further up.

Where a lane is shorter than the way to its entry loop, that lies on the lanes that lead to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from citybrain.simulation.network import Network
from citybrain.simulation.stretches import stretches

LINE_M = 3.0
"""The line loop begins so far before the stop line: whoever stands first stands on it."""

ENTRY_M = 75.0
"""The entry loop lies so far before the line; where no lane is as long, at its beginning."""

LEAST_M = 10.0
"""It lies at least so far before the line; where there is no room for that, a lane has no loops."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop: the lane that it lies in, how far from the beginning of it in metres, and which share of its vehicles counts."""

    name: str
    lane_id: str
    position_m: float
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """The loops of a lane before a signal. `entry_m`: from the entry loops to the stop line."""

    line: Loop
    entries: tuple[Loop, ...]
    entry_m: float


def pairs(network: Network) -> dict[str, Pair]:
    """Lane → its loops. Lanes that are too short for two, and that nothing leads to, have none."""
    found = {}
    for lane, led in stretches(network).items():
        lengths = [stretch.ahead_m + network.lane_length_m[stretch.lane_id] for stretch in led]
        entry_m = min(ENTRY_M, max(lengths) - 1.0)
        if entry_m < LEAST_M:
            continue
        entries = [
            Loop(f"{lane}.entry.{number}", one.lane_id, length - entry_m, one.share)
            for number, (one, length) in enumerate(zip(led, lengths, strict=True))
            if one.ahead_m < entry_m <= length
        ]
        line = Loop(f"{lane}.line", lane, max(0.1, network.lane_length_m[lane] - LINE_M))
        found[lane] = Pair(line, tuple(entries), entry_m)
    return found


def write(some: Iterable[tuple[str, str, float]], file: Path, counts: str = "NUL", every_s: int = 86_400) -> None:
    """Writes loops for SUMO: name, lane, metres from its beginning. `counts`: where SUMO writes its sums, each `every_s`."""
    lines = [
        f"<inductionLoop id={quoteattr(name)} lane={quoteattr(lane_id)} pos={quoteattr(f'{position_m:.2f}')}"
        f' period="{every_s}" file={quoteattr(counts)}/>'
        for name, lane_id, position_m in some
    ]
    file.write_text("\n".join(["<additional>", *lines, "</additional>"]), encoding="utf-8")


def placed(some: Iterable[Pair]) -> list[tuple[str, str, float]]:
    """All loops of some pairs, as `write` takes them."""
    return [(one.name, one.lane_id, one.position_m) for pair in some for one in (pair.line, *pair.entries)]
