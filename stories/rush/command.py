"""`city demo rush`: the same morning with the fixed plan and with the city, told for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from citybrain.observability.console import Terminal
from citybrain.stories.emergency.statistics import paired
from citybrain.stories.rush import report as page
from citybrain.stories.rush.check import checks
from citybrain.stories.rush.run import CITY, PLAN, Morning, Run, play
from citybrain.stories.telling import tell


def demo(
    city: Annotated[str, typer.Option(help="The shipped city whose morning it is: cologne8, ingolstadt21.")] = "cologne8",
    seed: Annotated[int, typer.Option(help="Another seed is another traffic.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Runs with seeds seed, seed+1, …")] = 1,
    minutes: Annotated[int, typer.Option(min=5, max=120, help="How long the morning is.")] = 25,
    data: Annotated[Path, typer.Option(help="Where events and traces are kept.")] = Path("data/rush"),
    report: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("report.html"),
    as_json: Annotated[Path | None, typer.Option("--json", help="Write everything measured as JSON.")] = None,
) -> None:
    """The same morning twice in SUMO: every signal runs its plan; and the city lets signals follow the traffic before them.

    The city gets what cameras before the signals see, through the gateway, and nothing else. What is checked is measured by the
    simulation, which knows no code of the city.
    """
    console = Terminal(highlight=False)
    found: list[Run] = []
    for number in range(seed, seed + runs):
        console.print(f"[bold]seed {number}[/]: {city}, {minutes} minutes, once with the plan and once with the city")
        found.append(
            play(Morning(city, number, minutes), data / f"seed-{number}", lambda text: console.print(text, markup=False))
        )
    first = found[0]
    rates = [difference(found)] if runs > 1 else []
    tell(console, "with the plan; with the city", page.happened(first), checks(first), rates, page.sentence(first))
    page.write(first, report)
    console.print(f"{report} shows both mornings side by side; open it in a browser.")
    if as_json is not None:
        as_json.write_text(json.dumps([measured(run) for run in found], ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if not all(check.holds for run in found for check in checks(run)):
        raise typer.Exit(1)


def difference(found: list[Run]) -> str:
    """The paired difference over all seeds."""
    by_seed = {run.morning.seed: [run.mean_s(CITY) - run.mean_s(PLAN)] for run in found}
    apart = paired(by_seed)
    return f"city − plan over {len(found)} seeds: median {apart.median:.1f} s a trip [{apart.low:.1f}, {apart.high:.1f}]"


def measured(run: Run) -> dict[str, Any]:
    """A run in numbers."""
    return {
        "city": run.morning.city,
        "seed": run.morning.seed,
        "minutes": run.morning.minutes,
        "results": {
            which: {key: value for key, value in run.results[which].items() if key != "calls"} for which in (PLAN, CITY)
        },
        "checks": {check.what.english: check.holds for check in checks(run)},
    }
