"""How full a drainage network will be: SWMM 5.2 (L. A. Rossman and M. A. Simon, U.S. EPA 2022), run by PySWMM (B. E.
McDonnell and others, Journal of Open Source Software 5, 2020).

The network begins dry, gets the rain of the past minutes (millimetres an hour) at all its gauges, and then a rain that goes
on. A node's share is its depth of water over its full depth. Where pipes surcharge into the street it is 1, and what floods
is said.

SWMM computes one network at a time in a process, and writes files: each run has a folder of its own, which is removed. PySWMM
is imported where it is used.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

VERSION = "urban-drainage-1"
"""Of the numbers below and of those in `outlook.py`; stands on each event that was decided by them."""
AHEAD_MIN = 60
RECENT_MIN = 10
"""The rain goes on like the mean of the last so many minutes, where nobody says how."""
MOST_NODES = 500
STEP_S = 60
_BEGIN = datetime(2000, 6, 1)  # noqa: DTZ001 SWMM knows no time zones, and only the span counts.
_MM_IN_INCH = 25.4
_LITRES = {"CFS": 28.3168, "GPM": 0.0630902, "MGD": 43.8126, "CMS": 1000.0, "LPS": 1.0, "MLD": 11.5741}
"""What a unit of flow is in litres a second."""
_ONE_AT_A_TIME = threading.Lock()


class Unreadable(ValueError):
    """SWMM cannot read the network, or not run it; the message has its words."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A node after the run. `full`, `most_full`: shares of its depth; `flooding_lps`: at most."""

    node: str
    full: float
    most_full: float
    flooding_lps: float


@dataclass(frozen=True, slots=True)
class Size:
    """How many nodes, links and gauges a network has."""

    nodes: int
    links: int
    gauges: int


def size(inp: str) -> Size:
    """Reads a network, and lets SWMM run it for some minutes. Unreadable: it cannot, or it has no rain gauge."""
    found, _ = _run(inp, [0.0] * 5)
    if not found.gauges:
        raise Unreadable("it has no rain gauge, so no rain can reach it")
    return found


def forecast(inp: str, rain_mm_h: Sequence[float], ahead_mm_h: float, ahead_min: int = AHEAD_MIN) -> list[Filled]:
    """How full each node is after the rain of some minutes and so many minutes of another, the fullest first. Outfalls are
    left out."""
    _, filled = _run(inp, [*rain_mm_h, *[ahead_mm_h] * ahead_min])
    return sorted(filled, key=lambda one: (-one.most_full, -one.flooding_lps, one.node))[:MOST_NODES]


def recent(rain_mm_h: Sequence[float]) -> float:
    """How a rain goes on, where nobody says it."""
    newest = rain_mm_h[-RECENT_MIN:]
    return sum(newest) / len(newest)


def _run(inp: str, rain_mm_h: Sequence[float]) -> tuple[Size, list[Filled]]:
    from pyswmm import Links, Nodes, RainGages, Simulation

    with _ONE_AT_A_TIME, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.inp"
        path.write_text(inp, encoding="utf-8")
        try:
            with Simulation(str(path), f"{folder}/network.rpt", f"{folder}/network.out") as simulation:
                simulation.start_time = simulation.report_start = _BEGIN
                # One minute more: the last step ends before the end.
                simulation.end_time = _BEGIN + timedelta(minutes=len(rain_mm_h) + 1)
                simulation.step_advance(STEP_S)
                # In the model's own units.
                scale = 1.0 if simulation.system_units == "SI" else 1 / _MM_IN_INCH
                litres = _LITRES[simulation.flow_units]
                gauges = list(RainGages(simulation))
                nodes = [node for node in Nodes(simulation) if not node.is_outfall()]
                most, flooding = dict.fromkeys(range(len(nodes)), 0.0), dict.fromkeys(range(len(nodes)), 0.0)
                for minute, _ in enumerate(simulation):
                    for number, node in enumerate(nodes):
                        most[number] = max(most[number], _share(node))
                        flooding[number] = max(flooding[number], node.flooding * litres)
                    # Of the minute that comes: what is set before the first step is lost.
                    for gauge in gauges:
                        gauge.total_precip = rain_mm_h[min(minute, len(rain_mm_h) - 1)] * scale
                found = Size(len(nodes), len(Links(simulation)), len(gauges))
                return found, [
                    Filled(node.nodeid, _share(node), most[number], flooding[number]) for number, node in enumerate(nodes)
                ]
        except Exception as problem:
            words = " ".join(str(problem).split()) or type(problem).__name__
            raise Unreadable(words[:500]) from None


def _share(node: object) -> float:
    depth, full = node.depth, node.full_depth  # type: ignore[attr-defined]
    return min(depth / full, 1.0) if full > 0 else 0.0
