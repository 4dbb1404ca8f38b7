"""incident-detection: incidents in SUMO and quiet hours, judged by the code of traffic itself, window by window.

**What is played.** The hour from seven to eight of RESCO's cologne8 as it is in its file, with two loops in each lane of each
road before a signal that has 80 m of room, reporting every 30 s. *An incident* is a vehicle that stands on a lane for 10 to 20
minutes, at a place between the two loops, from a second between the 20th and the 40th minute on. Road, lane, place and time are
drawn by the seed. It counts where it matters: where without it, in the same traffic, at least 150 vehicles an hour pass the
last loop of the lane while it would stand. What is drawn elsewhere is drawn again; some of those are played, too, and told.

**What is right.** *Detected*: the incident is suspected on its road, and told (15 s after a minute, or a minute after the end
of five) before the vehicle is gone. *A false alarm*: an incident is suspected on a road in an hour without one. A road is
watched when 11 blocks were measured: only that time counts as quiet time, and only junctions with a watched road count.

Thresholds are learnt from other seeds than those that are judged. Rules and values were chosen on seeds that are none of these.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from statistics import mean

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import incidents_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street
from google.protobuf.message import Message

from benchmarks.rows import Aim, Row
from citybrain.mesh.events import Heard, microseconds
from citybrain.services.traffic import incident_pairs, incident_thresholds, incidents, street_network, streets
from citybrain.services.traffic.detectors import LATE_S, MICROSECONDS, WINDOW_US
from citybrain.services.traffic.free_speeds import HOUR_US
from citybrain.services.traffic.incident_thresholds import Named
from citybrain.services.traffic.recent_readings import LATE_S as MINUTE_LATE_S
from citybrain.services.traffic.recent_readings import MINUTE_S, Recent
from citybrain.services.traffic.street_network import Known, Road
from citybrain.services.traffic.verdicts import interval
from citybrain.simulation import detecting
from citybrain.simulation.detecting import Count, Loop, Trouble
from citybrain.simulation.network import Network, read_network
from citybrain.simulation.scenario import Scenario, open_scenario

ROOT = Path(__file__).parents[1]
CITY = "cologne8"
PART = "part"
HOUR_S, WINDOW_S = 3600, WINDOW_US // MICROSECONDS
WARM_S = 990
"""Seconds until 11 blocks of 90 s are measured."""
BEGIN = 490_000 * HOUR_US
LEAST_PER_HOUR = 150.0
LEARNT, QUIET, PLAYED, EMPTY = 50_000, 60_000, 70_000, 80_000
"""After these begin the seeds of hours that are learnt from, of quiet hours, of incidents where they matter, and elsewhere."""
SOURCES = (("california-7", pb.INCIDENT_SOURCE_CALIFORNIA_7), ("deviate", pb.INCIDENT_SOURCE_NORMAL_DEVIATE))


def measure(full: bool) -> list[Row]:
    """With FULL 60 hours are learnt from, and 56 quiet hours (40 watched ones) and 40 incidents are judged."""
    with tempfile.TemporaryDirectory() as folder:
        city = City(CITY, Path(folder))
        city.learn(range(LEARNT + 1, LEARNT + (61 if full else 34)))
        return _rows(city, 56 if full else 6, 40 if full else 6, 20 if full else 0)


@dataclass
class Found:
    """Incidents that were played, and when each algorithm told of its road, in seconds since it stood; None: not in time."""

    told: list[Mapping[str, int]] = field(default_factory=list)

    def rate(self, *names: str) -> float:
        """The share that one of some algorithms has detected."""
        return sum(any(name in one for name in names) for one in self.told) / max(1, len(self.told))

    def both(self, *names: str) -> float:
        """The share that all of some algorithms have detected."""
        return sum(all(name in one for name in names) for one in self.told) / max(1, len(self.told))

    def seconds(self, *names: str) -> float:
        """The mean time to detect, of those that were."""
        return mean([min(one[name] for name in names if name in one) for one in self.told if set(names) & set(one)] or [0])


class City:
    """A scenario with loops, and what is learnt of it."""

    def __init__(self, name: str, folder: Path) -> None:
        config = ROOT / "build" / "scenarios" / "sumo_rl" / "nets" / "RESCO" / name / f"{name}.sumocfg"
        self.folder = folder
        self.scenario: Scenario = open_scenario(config)
        self.network: Network = read_network(self.scenario.net_file)
        self.loops: list[Loop] = detecting.loops(self.network)
        edges = sorted({one.edge_id for one in self.loops})
        roads = {
            edge_id: Road(PART, self.network.edges[edge_id].length_m, self.network.edges[edge_id].speed_mps, "d", ())
            for edge_id in edges
        }
        some = [
            street.Detector(
                detector_id=one.name, edge_id=one.edge_id, lanes=[one.lane], position_m=one.position_m,
                kind=street.DETECTOR_KIND_LOOP, interval_s=detecting.INTERVAL_S,
            )
            for one in self.loops
        ]  # fmt: skip
        self.known: Known = street_network.known(roads, some, detecting.cycles(self.scenario, self.network))
        self.junctions = len({self.network.signal_at_end[edge_id] for edge_id in edges})
        self.limits: dict[Named, pb.PairThresholds] = {}

    def count(self, seed: int, trouble: Trouble | None = None) -> detecting.Counted:
        """An hour of the scenario."""
        return detecting.count(self.scenario, self.network, self.loops, seed, HOUR_S, self.folder, trouble)

    def figures(self, counts: Sequence[Count], hour: int) -> list[ev.PairsMeasured]:
        """What pairs show in each window of an hour."""
        part, told = streets.Part(), []
        for window in range(HOUR_S // WINDOW_S):
            said: dict[str, dict[int, street.MeasuredInterval]] = {}
            for one in counts:
                if one.second // WINDOW_S == window:
                    said.setdefault(one.name, {})[one.second % WINDOW_S] = _kept(one)
            start = BEGIN + hour * HOUR_US + window * WINDOW_US
            events = streets.measure(part, PART, self.known, start, said, {})
            part = reduce(streets.evolve, events, part)
            told += [event for event in events if isinstance(event, ev.PairsMeasured)]
        return told

    def learn(self, seeds: Iterable[int]) -> None:
        """Learns the thresholds from quiet hours, each an hour of the days before."""
        usual: dict[Named, incident_thresholds.Usual] = {}
        for hour, seed in enumerate(seeds):
            row = None
            for told in self.figures(self.count(seed).counts, hour):
                row = incident_thresholds.hour(row, Heard(told, None))  # type: ignore[arg-type]
            assert row is not None
            incident_thresholds.collect(usual, [row], BEGIN + (hour + 1) * HOUR_US, {})
        learnt = incident_thresholds.learn(PART, usual, BEGIN)
        assert not learnt.too_little, "too few hours to learn from"
        self.limits = {incident_thresholds.named(one): one for one in learnt.pairs}

    def suspected(self, counts: Sequence[Count]) -> dict[tuple[str, str], int]:
        """(Road, algorithm) → when it was first told, in seconds of the hour: minute by minute, and window by window."""
        board, recent = incidents.Board(), Recent()
        found: dict[tuple[str, str], int] = {}
        districts = dict.fromkeys(self.known.roads, "d")
        pairs, begin = incident_pairs.of_part(self.known, PART), BEGIN // MICROSECONDS
        windows = {microseconds(one.to) // MICROSECONDS - begin: one for one in self.figures(counts, 0)}
        for end in range(MINUTE_S, HOUR_S + 1, MINUTE_S):
            for one in counts:
                if end - MINUTE_S <= one.second < end:
                    recent.take(one.name, begin + one.second, interval(_kept(one)))
            shown = recent.figures(pairs, self.known, set(), begin + end - MINUTE_S)
            told: list[tuple[int, list[Message]]] = []
            moment = (begin + end) * MICROSECONDS
            told.append((end + MINUTE_LATE_S, incidents.notice(board, shown, self.limits, districts, moment)))
            board = reduce(incidents.evolve, told[-1][1], board)
            if end in windows:
                now = moment + LATE_S * MICROSECONDS
                told.append((end + LATE_S, incidents.watch(board, windows[end], self.limits, districts, now)))
                board = reduce(incidents.evolve, told[-1][1], board)
            for second, events in told:
                for event in events:
                    if isinstance(event, ev.IncidentSuspected | ev.IncidentSupported):
                        name = next(name for name, source in SOURCES if source == event.evidence.source)
                        found.setdefault((event.edge_id, name), second)
        return found

    def drawn(self, seed: int, *, busy: bool) -> Trouble:
        """An incident where at least 150 vehicles an hour pass while it would stand, or fewer but some."""
        by, quiet = random.Random(seed), self.count(seed).counts
        while True:
            loop = by.choice([one for one in self.loops if one.name.endswith(".out")])
            first = next(one for one in self.loops if (one.edge_id, one.lane) == (loop.edge_id, loop.lane))
            place = by.uniform(first.position_m + 10, loop.position_m - 5)
            trouble = Trouble(loop.edge_id, loop.lane, place, by.randrange(1200, 2400), by.randrange(600, 1201))
            ends = trouble.second + trouble.lasts_s
            passed = sum(one.vehicles for one in quiet if one.name == loop.name and trouble.second <= one.second < ends)
            flow = passed * 3600 / trouble.lasts_s
            if flow >= LEAST_PER_HOUR if busy else 0 < flow < LEAST_PER_HOUR:
                return trouble

    def play(self, number: int, begin: int, *, busy: bool) -> Found:
        """So many incidents."""
        found, seed = Found(), begin
        while len(found.told) < number:
            seed += 1
            trouble = self.drawn(seed, busy=busy)
            run = self.count(seed, trouble)
            if run.stood is None:
                continue
            told = self.suspected(run.counts)
            after = {name: told[trouble.edge_id, name] - run.stood for name, _ in SOURCES if (trouble.edge_id, name) in told}
            found.told.append({name: seconds for name, seconds in after.items() if 0 < seconds <= trouble.lasts_s})
        return found


def _kept(one: Count) -> street.MeasuredInterval:
    kept = street.MeasuredInterval(second=one.second % WINDOW_S, vehicles=one.vehicles, occupancy=one.occupancy)
    if one.speed_mps is not None:
        kept.speed_mps = one.speed_mps
    return kept


def _rows(city: City, quiet: int, played: int, empty: int) -> list[Row]:
    names = [name for name, _ in SOURCES]
    alarms = dict.fromkeys(("either", "both", *names), 0)
    for seed in range(QUIET + 1, QUIET + quiet + 1):
        told = city.suspected(city.count(seed).counts)
        roads = {edge_id for edge_id, _ in told}
        alarms["either"] += len(roads)
        alarms["both"] += sum(all((edge_id, name) in told for name in names) for edge_id in roads)
        for name in names:
            alarms[name] += sum(one == name for _, one in told)
    watched = quiet * (1 - WARM_S / HOUR_S)
    days = watched * city.junctions / 24
    found = city.play(played, PLAYED, busy=True)
    title, of = f"incident-detection {CITY}, {played} incidents", f"of {played} incidents"
    rows = [
        Row(f"{title}: detected", found.rate(*names), of, "California #7 alone", found.rate(names[0]), Aim(0.8, "value")),
        Row(f"{title}: mean time to detect", found.seconds(*names), "s", "", 0),
        Row(
            f"{title}: false alarms", alarms["either"] / days, "a day and junction", "by both", alarms["both"] / days,
            Aim(1, "value", least=False),
            {"hours that were watched": watched, "junctions": city.junctions, **{f"by {k}": n for k, n in alarms.items()}},
        ),
        Row(f"{title}: detected by the deviate", found.rate(names[1]), of, "by both", found.both(*names)),
    ]  # fmt: skip
    if empty:
        few = city.play(empty, EMPTY, busy=False)
        rows.append(Row(f"{title}: detected with less traffic", few.rate(*names), f"of {empty} incidents", "", 0))
    return rows
