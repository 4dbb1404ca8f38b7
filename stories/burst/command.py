"""`city demo burst`: a pipe that bursts, from the pressures to the customers, told for people."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from citybrain.observability.console import Terminal
from citybrain.stories.burst import report as page
from citybrain.stories.burst.check import Run, checks
from citybrain.stories.burst.plan import made
from citybrain.stories.burst.run import play
from citybrain.stories.telling import tell


def demo(
    seed: Annotated[int, typer.Option(help="Another seed is another pipe, and other errors of the sensors.")] = 2,
    runs: Annotated[int, typer.Option(min=1, help="Runs with seeds seed, seed+1, …, each with a burst.")] = 1,
    quiet: Annotated[int, typer.Option("--quiet", min=0, help="Instead, so many hours with nothing wrong.")] = 0,
    data: Annotated[Path, typer.Option(help="Where events and traces are kept.")] = Path("data/burst"),
    report: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("report.html"),
    as_json: Annotated[Path | None, typer.Option("--json", help="Write everything measured as JSON.")] = None,
) -> None:
    """A pipe that bursts in EPANET's Net3, which the city knows as it was: found, cut off, repaired, customers told.

    The city gets the pressures of some sensors through the gateway, and nothing else. What is checked is computed from the
    network, by code that no service uses.
    """
    console = Terminal(highlight=False)
    found: list[Run] = []
    for number in range(seed, seed + runs):
        plan = made(number, quiet_hours=quiet)
        console.print(f"[bold]seed {number}[/]: {f'{quiet} hours, nothing is wrong' if quiet else 'a pipe bursts'}")
        found.append(play(plan, data / f"seed-{number}", lambda text: console.print(text, markup=False)))
    first = found[0]
    happened = [(page.clock(second), text) for second, text in page.way(first)]
    tell(
        console,
        "from the pressures to the customers",
        happened,
        checks(first),
        [rates(found)] if runs > 1 else [],
        page.sentence(first),
    )
    page.write(first, report)
    console.print(f"{report} shows the network, the pressures and the valves; open it in a browser.")
    if as_json is not None:
        as_json.write_text(json.dumps([measured(run) for run in found], ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if not all(check.holds for check in checks(first)):
        raise typer.Exit(1)


def rates(found: list[Run]) -> str:
    """How many bursts were found and how soon, and how many things were raised for nothing."""
    burst = [run for run in found if run.plan.leak is not None]
    if not burst:
        return f"raised for nothing: {sum(len(run.noticed_s) for run in found)} in {len(found)} runs"
    steps = [run.steps_to_find for run in burst if run.steps_to_find is not None]
    named = sum(run.place is not None for run in burst)
    soon = f"median {median(steps):g}, at most {max(steps)}" if steps else "none"
    return f"found: {len(steps)} of {len(burst)} bursts; reporting steps: {soon}; the pipe is named in {named}"


def measured(run: Run) -> dict[str, Any]:
    """A run in numbers."""
    return {
        "seed": run.plan.seed,
        "burst": None if run.plan.leak is None else run.plan.leak.pipe,
        "steps": run.steps_to_find,
        "place": run.place,
        "raised": len(run.noticed_s),
        "checks": {check.what.english: check.holds for check in checks(run)},
    }
