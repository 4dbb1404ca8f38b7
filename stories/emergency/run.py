"""One demo: the city drives the calls, the baselines drive the same in the same traffic, the mesh is killed on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from citybrain.events.v1.event_pb2 import Event

from citybrain.local.city import LocalCity
from citybrain.mesh.settings.values import Settings
from citybrain.observability.trace_store import TraceStore
from citybrain.observability.trace_tree import build
from citybrain.sagas.workflows.emergency_response import EMERGENCY_RESPONSE
from citybrain.stories.emergency.kill import Killed, Killer
from citybrain.stories.emergency.observer import Observer
from citybrain.stories.processes import Crashed, Simulation

BASELINES = ("ordinary", "bluelight")
STEPS = [leaf.name for leaf in EMERGENCY_RESPONSE.leaves()]
_SPANS_SETTLE_S = 1.0
PACE = 10.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to drive. `kill_step` counts the workflow's steps from 1; 0: nothing is killed."""

    city: list[str]
    seed: int
    emergencies: int
    data: Path
    kill_step: int = 0
    # How the mesh runs; `engines`: on a Kafka and a Cassandra of its own.
    settings: Settings = field(default_factory=Settings)
    engines: bool = False
    # Seconds of city time in one of this machine, where nobody sees that all is at rest.
    pace: float = PACE
    baselines: tuple[str, ...] = BASELINES
    # All other signals follow the traffic before them.
    adaptive: bool = False


@dataclass(slots=True)
class Outcome:
    """What came of it. `results` and `tracks` by variant; `incidents`: the events of each, in the order of the calls."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    tracks: dict[str, dict[str, Any]] = field(default_factory=dict)
    incidents: dict[str, list[Event]] = field(default_factory=dict)
    traces: dict[str, list[Any]] = field(default_factory=dict)
    # Drives without the city in which SUMO itself crashed, and what was said of it.
    crashed: dict[str, str] = field(default_factory=dict)
    killed: Killed | None = None
    took_s: float = 0.0


def drive(options: Options, said: Callable[[str, dict[str, Any]], None], tell: Callable[[str], None]) -> Outcome:
    """Runs everything and ends everything it started, also when it is interrupted."""
    began = time.monotonic()
    outcome = Outcome()
    started: list[Simulation] = []
    settings = options.settings.model_copy(update={"data": options.data, "time": "driven"})
    local = LocalCity(settings, engines=options.engines, say=tell)
    observer: Observer | None = None
    try:
        address = local.start()
        tell(f"mesh and gateway answer at {address} after {time.monotonic() - began:.1f} s")
        killer = Killer(local, address, STEPS, options.kill_step) if options.kill_step else None

        def seen(incident: str, event: Event) -> None:
            if killer is not None:
                killer.seen(incident, event)

        observer = Observer(address, local.token, seen)
        if killer is not None:
            killer.watch(observer)
        baselines = {v: _start(options, v, said, started) for v in options.baselines}

        def city_said(line: dict[str, Any]) -> None:
            said("city", line)
            incident = str(line.get("incident_id", ""))
            if incident and observer is not None:
                observer.follow(incident)
            for baseline in baselines.values():
                baseline.tell(line)

        extra = ["--gateway", address, "--record", str(options.data / "record.jsonl")]
        extra += ["--pace", str(options.pace)] if not local.features.rest_is_seen else []
        extra += ["--adaptive"] if options.adaptive else []
        city = Simulation(
            _arguments(options, "city", ["--emergencies", str(options.emergencies), *extra]),
            options.data / "city.log",
            city_said,
            {"CITY_TOKEN": local.token()},
        )
        started.append(city)
        outcome.results["city"] = city.wait()
        for variant, baseline in baselines.items():
            baseline.no_more()
            try:
                outcome.results[variant] = baseline.wait()
            except Crashed as error:
                outcome.crashed[variant] = str(error)
                tell(str(error))
        if killer is not None:
            outcome.killed = killer.wait()
        for call in outcome.results["city"]["calls"]:
            if call["finished"]:
                observer.wait_for_end(call["incident_id"])
        for incident in observer.known():
            outcome.incidents[incident] = observer.events_of(incident)
        time.sleep(_SPANS_SETTLE_S)
        _read(options, outcome, local)
    finally:
        if observer is not None:
            observer.close()
        for simulation in started:
            simulation.stop()
        local.stop()
    outcome.took_s = time.monotonic() - began
    return outcome


def _start(
    options: Options, variant: str, said: Callable[[str, dict[str, Any]], None], started: list[Simulation]
) -> Simulation:
    arguments = _arguments(options, variant, ["--rides", "-"])
    simulation = Simulation(arguments, options.data / f"{variant}.log", lambda line: said(variant, line))
    started.append(simulation)
    return simulation


def _arguments(options: Options, variant: str, extra: list[str]) -> list[str]:
    tracks = str(options.data / f"{variant}.tracks.json")
    return [variant, *options.city, "--seed", str(options.seed), "--tracks", tracks, *extra]


def _read(options: Options, outcome: Outcome, local: LocalCity) -> None:
    for variant in outcome.results:
        path = options.data / f"{variant}.tracks.json"
        outcome.tracks[variant] = json.loads(path.read_text(encoding="utf-8"))
    store = TraceStore(local.traces)
    try:
        for incident in outcome.incidents:
            outcome.traces[incident] = build(store.by_incident(incident))
    finally:
        store.close()
