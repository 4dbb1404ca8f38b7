"""A water network against its model: what pressures are expected, whether water is lost, and in which pipe.

The model is EPANET 2.2 (L. A. Rossman and others, U.S. EPA 2020), run by WNTR (K. A. Klise and others, *A Software Framework
for Assessing the Resilience of Drinking Water Systems to Disasters*, EPA 2020) with its `EpanetSimulator`: the hydraulics are
those of EPANET itself. Pressures are in metres of water, flows in litres a second.

- *Expected*: the model runs from its beginning in steps of the sensors' reports.
- *Detected*: residuals r (measured − expected) of n sensors with σ each, as means m over the newest s steps. Σ m²·s/σ² is
  χ²-distributed with n degrees of freedom where nothing is wrong (H. Hotelling's chart, 1947, with the covariance known, on
  moving means). Above the quantile of 1 − `RISK` is an alarm; a value on the limit is none.
- *Not one sensor alone*: the alarm must stand without the sensor that shows most, else that sensor is wrong, and not the
  network. At a dead end a leak shows at one sensor alone, too: where the best hole explains what all show about as well as a
  wrong sensor does (`PLAUSIBLE`), nobody can tell the two apart from afar.
- *Located*: EPANET computes the same moment (levels of tanks, pumps) with a hole in the middle of each pipe in turn. The
  misfit of
  a pipe is what its best hole leaves, Σ ((m − fit)·√s/σ)²; the less, the better. The share of a pipe is exp(−misfit/2), over
  all.

WNTR is imported where it is used: that takes a second and 150 MB.

It is long because model, chart and location share the same arrays.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "urban-water-2"
"""Of the numbers below; stands on each event that was decided by them."""

RISK = 1e-7
"""So often a step of a network without a leak is an alarm, in each span: once in 70 years of quarters of an hour, in all
four."""
RISK_WITHOUT = 1e-6
"""So rare the rest must be, when the sensor that shows most is left out."""
SPANS = (1, 2, 4, 8)
"""The chart looks at the mean of so many of the newest steps: one finds a burst at once, eight a leak that is small."""
TRIALS_LPS = (20.0, 60.0, 180.0)
"""So much water is lost at 40 m in the first simulations of each pipe. The others follow from what fits."""
EXPLAINED = 0.9
"""A pipe whose best hole leaves more of the squares than this does not explain them."""
NARROWED = 20
"""So many pipes are looked at more closely."""
PLAUSIBLE = 6.0
"""A leak is as good an explanation as a wrong sensor when its misfit is greater by no more: the odds are 20 to 1 then."""
ENOUGH = 0.95
"""Candidates are named until their shares are so much together."""
MOST_CANDIDATES = 10
LITRES = 1000.0
# Codes of values in EPANET's programming interface.
_EMITTER, _DEMAND, _PRESSURE = 3, 9, 11

Floats = NDArray[np.float64]


class Unreadable(ValueError):
    """EPANET cannot read the network, or not run it; the message has its words."""


@dataclass(frozen=True, slots=True)
class Pipe:
    """A link between two nodes. `closable`: a pipe, and no pump or valve of the model."""

    name: str
    start: str
    end: str
    closable: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """What is connected to what. `demand_lps`: of each junction on average; `sources`: reservoirs and tanks."""

    links: tuple[Pipe, ...]
    demand_lps: Mapping[str, float]
    sources: frozenset[str]

    @property
    def nodes(self) -> frozenset[str]:
        """All nodes."""
        return self.sources | frozenset(self.demand_lps)


@contextmanager
def _refused() -> Iterator[None]:
    """Turns what WNTR raises into Unreadable. It raises errors of many kinds, and also those of Python."""
    try:
        yield
    except Unreadable:
        raise
    except Exception as problem:
        words = " ".join(str(problem).split()) or type(problem).__name__
        raise Unreadable(words[:500]) from None


def _model(inp: str, folder: str) -> Any:
    import wntr

    path = Path(folder) / "network.inp"
    path.write_text(inp, encoding="utf-8")
    return wntr.network.WaterNetworkModel(str(path))


def _run(model: Any, folder: str) -> Any:
    import wntr

    return wntr.sim.EpanetSimulator(model).run_sim(file_prefix=f"{folder}/run")


def layout(inp: str) -> Layout:
    """Reads a network, and lets EPANET run it once. Unreadable: it cannot."""
    with tempfile.TemporaryDirectory() as folder, _refused():
        model = _model(inp, folder)
        if not model.num_junctions or not model.num_reservoirs + model.num_tanks:
            raise Unreadable("it has no junction, or nothing that water comes from")
        links = tuple(
            Pipe(name, link.start_node_name, link.end_node_name, link.link_type == "Pipe") for name, link in model.links()
        )
        demand: dict[str, float] = {}
        for name, junction in model.junctions():
            each = junction.demand_timeseries_list
            demand[name] = LITRES * sum(
                one.base_value * (1.0 if one.pattern is None else float(np.mean(one.pattern.multipliers))) for one in each
            )
        sources = frozenset([*model.reservoir_name_list, *model.tank_name_list])
        model.options.time.duration = 0
        _run(model, folder)
        return Layout(links, demand, sources)


@dataclass(frozen=True, slots=True)
class Course:
    """A run of the model: pressures by step and node, and what is needed to begin again at a step."""

    nodes: tuple[str, ...]
    pressure: Floats
    tank_levels: Mapping[str, Floats]
    link_status: Mapping[str, NDArray[np.int64]]
    step_s: int

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.pressure)


def course(inp: str, step_s: int, hours: int) -> Course:
    """Runs the model for so many hours in steps of so many seconds."""
    with tempfile.TemporaryDirectory() as folder, _refused():
        model = _model(inp, folder)
        time = model.options.time
        time.duration = hours * 3600
        time.hydraulic_timestep = time.report_timestep = step_s
        time.pattern_timestep = max(time.pattern_timestep, step_s)
        found = _run(model, folder)
        pressure, head = found.node["pressure"], found.node["head"]
        return Course(
            nodes=tuple(pressure.columns),
            pressure=pressure.to_numpy(dtype=np.float64),
            tank_levels={
                name: head[name].to_numpy(dtype=np.float64) - model.get_node(name).elevation for name in model.tank_name_list
            },
            link_status={name: found.link["status"][name].to_numpy(dtype=np.int64) for name in model.link_name_list},
            step_s=step_s,
        )


class Trials:
    """The network at one step of a course, in which any pipe can be let leak at its middle. Close it, or use it with `with`."""

    def __init__(self, inp: str, known: Course, step: int) -> None:
        """Unreadable: EPANET cannot run it."""
        self._nodes = known.nodes
        self._folder = tempfile.TemporaryDirectory()
        try:
            with _refused():
                self._open(inp, known, step)
        except Unreadable:
            self._folder.cleanup()
            raise

    def _open(self, inp: str, known: Course, step: int) -> None:
        import wntr
        from wntr.epanet.toolkit import ENepanet

        model = _model(inp, self._folder.name)
        for name in list(model.control_name_list):
            model.remove_control(name)
        time = model.options.time
        # The moment's place in the patterns: the one step begins there.
        time.pattern_start = (time.pattern_start + step * known.step_s) % (365 * 86_400)
        time.duration = 0
        for name, levels in known.tank_levels.items():
            tank = model.get_node(name)
            tank.init_level = min(max(float(levels[step]), tank.min_level), tank.max_level)
        for name, status in known.link_status.items():
            link = model.get_link(name)
            if link.link_type != "Valve":
                link.initial_status = wntr.network.LinkStatus.Closed if status[step] == 0 else wntr.network.LinkStatus.Open
        middles = {name: _split(model, name, number) for number, name in enumerate(list(model.pipe_name_list))}
        path = f"{self._folder.name}/moment.inp"
        wntr.network.write_inpfile(model, path, units="LPS", version=2.2)
        self._epanet = ENepanet(version=2.2)
        self._epanet.ENopen(path, f"{self._folder.name}/moment.rpt", f"{self._folder.name}/moment.bin")
        self._epanet.ENopenH()
        self._middle = {name: self._epanet.ENgetnodeindex(middle) for name, middle in middles.items()}
        self._shown = [self._epanet.ENgetnodeindex(name) for name in self._nodes]
        self.clean = self._pressures()

    def __enter__(self) -> Trials:
        """The trials themselves."""
        return self

    def __exit__(self, *_how: object) -> None:
        self._epanet.ENcloseH()
        self._epanet.ENclose()
        self._folder.cleanup()

    def _pressures(self) -> Floats:
        self._epanet.ENinitH(0)
        self._epanet.ENrunH()
        return np.array([self._epanet.ENgetnodevalue(index, _PRESSURE) for index in self._shown])

    def falls(self, pipe: str, litres_at_40_m: float) -> tuple[Floats, float]:
        """By how much pressures fall at the nodes when a pipe has a hole that loses so much at 40 m; and what it loses then.

        What a hole loses goes with the root of the pressure, as EPANET's emitters do.
        """
        index = self._middle[pipe]
        self._epanet.ENsetnodevalue(index, _EMITTER, litres_at_40_m / math.sqrt(40))
        there = self._pressures()
        lost: float = self._epanet.ENgetnodevalue(index, _DEMAND)
        self._epanet.ENsetnodevalue(index, _EMITTER, 0.0)
        return self.clean - there, lost


def _split(model: Any, name: str, number: int) -> str:
    """Puts a node into the middle of a pipe."""
    pipe = model.get_link(name)
    ends = pipe.start_node, pipe.end_node
    heights = [node.elevation for node in ends if hasattr(node, "elevation")] or [0.0]
    middle = f"_m{number}"
    model.add_junction(middle, base_demand=0.0, elevation=sum(heights) / len(heights))
    pipe.length /= 2
    status = pipe.initial_status
    end = pipe.end_node_name
    pipe.end_node = model.get_node(middle)
    model.add_pipe(f"_p{number}", middle, end, pipe.length, pipe.diameter, pipe.roughness, 0.0, initial_status=status)
    return middle


Residuals = Mapping[str, float]
"""By sensor, or by node: measured minus expected, in metres."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the newest steps show: their mean over so many of them, the sum of its squares, and from where on that is an alarm.

    `alone`: no alarm, because without this sensor there would be none: it is wrong, and not the network.
    """

    alarm: bool
    statistic: float
    limit: float
    span: int
    mean: Residuals
    alone: str = ""


def judge(steps: Sequence[Residuals], sigma: float) -> Verdict:
    """Whether the newest of some steps, the last of them now, show that water is lost. The span that shows most counts.

    Over more than one step those sensors count that have reported in each.
    """
    found = []
    for span in SPANS:
        if span > len(steps):
            break
        newest = steps[-span:]
        mean = {name: sum(step[name] for step in newest) / span for name in newest[-1] if all(name in step for step in newest)}
        squares = {name: metres**2 * span / sigma**2 for name, metres in mean.items()}
        statistic, limit = sum(squares.values()), quantile(len(squares), RISK)
        alone = ""
        if statistic > limit:
            most = max(squares, key=lambda name: squares[name])
            if statistic - squares[most] <= quantile(len(squares) - 1, RISK_WITHOUT):
                alone = most
        found.append(Verdict(statistic > limit and not alone, statistic, limit, span, mean, alone))
    return max(found, key=lambda one: (one.alarm, one.statistic / one.limit))


def rest(verdict: Verdict, sigma: float) -> float:
    """What is left unexplained if the sensor that is alone is wrong: the sum of the squares of the others."""
    return verdict.statistic - verdict.mean[verdict.alone] ** 2 * verdict.span / sigma**2


def quantile(sensors: int, risk: float) -> float:
    """The value that the sum of so many squares passes with this probability."""
    # Its import takes most of a second: a process that never asks starts without it.
    from scipy.stats import chi2

    return float(chi2.isf(risk, sensors)) if sensors else math.inf


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pipe that may leak. `share`: how much of the belief it has; all pipes have 1 together."""

    pipe: str
    misfit: float
    litres_per_second: float
    share: float


def locate(
    trials: Trials, links: Sequence[Pipe], nodes: Sequence[str], residuals: Mapping[str, float], sigma: float
) -> list[Candidate]:
    """The pipes whose leak would show these residuals (by node), the best first; none where pressures did not fall.

    Every pipe is tried with a small, a larger and a large hole, the best of them then with the hole that fits. A fit of less
    than half or more than twice what was tried is not believed: the network does not answer in proportion.
    """
    places = [nodes.index(name) for name in residuals]
    fallen = -np.array(list(residuals.values())) / sigma

    def tried(pipe: str, size: float) -> tuple[float, float, float]:
        """The misfit of the best hole near this one, its size, and what it loses."""
        falls, lost = trials.falls(pipe, size)
        shown = falls[places] / sigma
        square = float(shown @ shown)
        times = min(max(float(shown @ fallen) / square, 0.5), 2.0) if square > 0 else 0.0
        rest = fallen - times * shown
        return float(rest @ rest), size * times, lost * times

    nothing = float(fallen @ fallen)
    first = sorted(min((*tried(link.name, size), link.name) for size in TRIALS_LPS) for link in links if link.closable)
    found = []
    for misfit, size, lost, name in first[:NARROWED]:
        best = misfit, size, lost
        for _ in range(2):
            best = min(best, tried(name, best[1])) if best[1] > 0 else best
        if best[0] <= EXPLAINED * nothing:
            found.append((best[0], name, best[2]))
    found.sort()
    if not found:
        return []
    least = found[0][0]
    whole = sum(math.exp(-(misfit - least) / 2) for misfit, _, _ in found)
    candidates: list[Candidate] = []
    told = 0.0
    for misfit, name, amount in found[:MOST_CANDIDATES]:
        if told >= ENOUGH:
            break
        share = math.exp(-(misfit - least) / 2) / whole
        candidates.append(Candidate(name, misfit, amount, share))
        told += share
    return candidates
