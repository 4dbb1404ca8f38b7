"""`city demo`: one emergency from the call to the hospital, told for people."""

from __future__ import annotations

import json
import shutil
import statistics as plain
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from citybrain.local.city import ROOT
from citybrain.observability.console import Terminal
from citybrain.observability.trace_tree import render
from citybrain.observability.words import counted
from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.given import read_calls, read_city, read_places
from citybrain.simulation.network import read_network
from citybrain.simulation.places import derive_calls, derive_places
from citybrain.simulation.scenario import open_scenario
from citybrain.stories.emergency import page, timeline
from citybrain.stories.emergency.run import PACE, STEPS, Options, Outcome, drive
from citybrain.stories.emergency.show import NAMES, Show
from citybrain.stories.emergency.statistics import paired
from citybrain.stories.emergency.words import Driven, minutes, sentence
from citybrain.stories.processes import SimulationError

SCENARIOS = ROOT / "build" / "scenarios"
# Seconds: five minutes of traffic before the call, and time for the last ride to end.
_END_AFTER_S = 1500


def demo(
    city: Annotated[str, typer.Option(help="A shipped city (simulation/cities/).")] = "cologne8",
    scenario: Annotated[Path | None, typer.Option(help="Any SUMO configuration with signals and demand, instead.")] = None,
    places: Annotated[Path | None, typer.Option(help="Hospitals, stations and districts, in YAML.")] = None,
    calls: Annotated[Path | None, typer.Option(help="Calls, a line of JSON each.")] = None,
    emergencies: Annotated[int, typer.Option(min=1, help="How many calls, where none are given; 400 s apart.")] = 1,
    seed: Annotated[int, typer.Option(help="Of traffic, places and calls.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Runs with seeds seed, seed+1, …; the figures are of all.")] = 1,
    kill: Annotated[bool, typer.Option(help="Kill the whole mesh half-way (first run).")] = True,
    engines: Annotated[
        bool, typer.Option("--engines", help="On a Kafka and a Cassandra of its own, instead of a file; then at a fixed pace.")
    ] = False,
    pace: Annotated[
        float, typer.Option(min=0.1, help="With --engines: seconds of city time in a second of this machine.")
    ] = PACE,
    data: Annotated[Path, typer.Option(help="Where events, traces and tracks of the runs are kept.")] = Path("data/demo"),
    report: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("report.html"),
    picture: Annotated[Path | None, typer.Option(help="Draw an SVG of the first run too.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write everything measured as JSON.")] = None,
) -> None:
    """One emergency call in the traffic of a real road network: without the city, and with it."""
    console = Terminal(highlight=False)
    where = ["--scenario", str(scenario)] if scenario is not None else ["--city", city, "--scenarios", str(SCENARIOS)]
    for name, value in (("--places", places), ("--calls", calls)):
        where += [name, str(value)] if value is not None else []
    until = _END_AFTER_S + 400 * (emergencies - 1)
    where += ["--until", str(until)]
    _look_at(city, scenario, places, calls, [seed + number for number in range(runs)], emergencies, until)
    outcomes = []
    for number in range(runs):
        folder = data / f"seed-{seed + number}"
        # Half-way: the ambulance is with the patient, and still has to drive to the hospital.
        step = STEPS.index("at_hospital") + 1 if kill and number == 0 else 0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        options = Options(
            city=where, seed=seed + number, emergencies=emergencies, data=folder, kill_step=step, engines=engines, pace=pace
        )
        console.print(f"[bold]seed {seed + number}[/]: the same calls, the same traffic, without the city and with it")
        with Show(console) as show:
            outcomes.append(drive(options, show.said, show.tell))
    if engines:
        on = f"on real Kafka and Cassandra, at {pace:g} seconds of city time in a second: two runs of one seed may differ"
        console.print(on, markup=False)
    first = outcomes[0]
    if not first.incidents:
        raise SimulationError("no call was answered in this run: give more time between calls, or another seed")
    incident = next(iter(first.incidents))
    _tell_timeline(console, first, incident)
    console.print(render(first.traces[incident], f"trace of {incident}"))
    _tell_times(console, outcomes)
    if runs > 1:
        _tell_differences(console, outcomes, seed)
    if first.killed is not None:
        console.print(f"\n{first.killed.english()}\n{first.killed.chinese()}", markup=False)
    english, chinese = _sentence(first)
    console.print(f"\n[bold]{english}[/]\n[bold]{chinese}[/]\n")
    made = page.compose(first, incident, seed, city if scenario is None else scenario.stem, english, chinese)
    size = page.report.write(made, report)
    console.print(f"{report} ({size / 1e6:.1f} MB) shows both rides, the signals and the departments; open it in a browser.")
    console.print(f"city trace {incident} --data {data / f'seed-{seed}'} shows the trace again.", markup=False)
    if picture is not None:
        page.picture.draw(made, picture)
    if as_json is not None:
        as_json.write_text(json.dumps([_measured(o) for o in outcomes], ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if unsafe := faults(outcomes):
        console.print(f"[bold red]{unsafe}[/]")
        raise typer.Exit(1)


def faults(outcomes: list[Outcome]) -> str:
    """The warning about unsafe signals under the city's control; empty where there were none."""
    counted = Counter[str]()
    for outcome in outcomes:
        counted.update(outcome.results["city"]["safety"])
    told = [f"{number} × {fault.replace('_', ' ')}" for fault, number in counted.items() if number]
    return f"Signals showed what no signal may, with the city: {', '.join(told)}. The times have no worth." if told else ""


def _look_at(
    city: str, scenario: Path | None, places: Path | None, calls: Path | None, seeds: list[int], emergencies: int, until: int
) -> None:
    """SimulationError where an option cannot be used. Called before anything is started or removed."""
    try:
        path = scenario if scenario is not None else SCENARIOS / read_city(city).scenario
        network = read_network(open_scenario(path).net_file)
        file = places if places is not None or scenario is not None else read_city(city).places
        if calls is not None:
            read_calls(calls, network, until)
        for seed in seeds:
            found = read_places(file, network) if file is not None else derive_places(network, seed)
            if calls is None:
                derive_calls(network, found, seed, emergencies)
    except ScenarioError as error:
        raise SimulationError(" ".join(str(error).split())) from None


def _tell_timeline(console: Console, outcome: Outcome, incident: str) -> None:
    lines = timeline.tell(outcome.incidents[incident])
    table = Table(title=f"who did what: {incident}", title_justify="left", box=None, padding=(0, 2))
    for title in ("after the call", "department", "what"):
        table.add_column(title)
    start = lines[0].at
    for line in timeline.without_signal_detail(lines):
        seconds = line.at - start
        department = " ".join(timeline.DEPARTMENTS.get(line.department, (line.department, "")))
        table.add_row(f"{int(seconds) // 60}:{int(seconds) % 60:02d}", department, line.english)
    console.print(table)


def _tell_times(console: Console, outcomes: list[Outcome]) -> None:
    table = Table(title="times", title_justify="left", box=None, padding=(0, 2))
    table.add_column("")
    for variant in NAMES:
        table.add_column(NAMES[variant], justify="right")
    for label, values in page.times(outcomes):
        table.add_row(label, *(_cell(values.get(variant)) for variant in NAMES))
    console.print(table)


def _cell(value: float | str | None) -> str:
    return value if isinstance(value, str) else "–" if value is None else minutes(value)


def _tell_differences(console: Console, outcomes: list[Outcome], seed: int) -> None:
    """Paired differences over all runs: median, and its 95 % interval by bootstrap over the seeds."""
    for peer in ("ordinary", "bluelight"):
        pairs = {
            seed + number: list(zip(_rides(o, "city"), _rides(o, peer), strict=True))
            for number, o in enumerate(outcomes)
            if peer in o.results
        }
        there = {number: [a - b for a, b in rides if a is not None and b is not None] for number, rides in pairs.items()}
        differences = {number: found for number, found in there.items() if found}
        missing = sum(map(len, pairs.values())) - sum(map(len, there.values()))
        if differences:
            found = paired(differences)
            told = f"driving, with the city against {NAMES[peer]}: {found.median:+.0f} s [{found.low:+.0f}, {found.high:+.0f}]"
            left_out = f"; {missing} left out that did not arrive" if missing else ""
            console.print(f"{told}, {counted(found.pairs, 'ride')}{left_out}", markup=False)


def _rides(outcome: Outcome, variant: str) -> list[float | None]:
    """The driving time of each call in seconds, None where the ambulance did not arrive."""
    calls = sorted(outcome.results[variant]["calls"], key=lambda call: str(call["incident_id"]))
    return [float(call["ride_s"]) if call["finished"] else None for call in calls]


def _sentence(outcome: Outcome) -> tuple[str, str]:
    def driven(variant: str) -> Driven:
        call = outcome.results[variant]["calls"][0]
        return Driven(page.since_call(call, "at_hospital_s"), call.get("reds_run", 0))

    lights, siren = (driven(variant) if variant in outcome.results else None for variant in ("ordinary", "bluelight"))
    return sentence(lights, siren, driven("city"))


def _measured(outcome: Outcome) -> dict[str, Any]:
    return {
        "results": outcome.results,
        "took_s": round(outcome.took_s, 1),
        "killed": None if outcome.killed is None else outcome.killed.english(),
        "median_ride_s": {
            variant: plain.median(rides) if (rides := [c["ride_s"] for c in result["calls"] if c["finished"]]) else None
            for variant, result in outcome.results.items()
        },
    }
