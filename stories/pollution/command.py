"""`city demo pollution`: a hidden source of pollution, from the first reading to the verdict, told for people."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from citybrain.observability.console import Terminal
from citybrain.stories.pollution import report as page
from citybrain.stories.pollution.check import Day, checks
from citybrain.stories.pollution.plan import made
from citybrain.stories.pollution.run import play
from citybrain.stories.telling import tell


def demo(
    seed: Annotated[int, typer.Option(help="Another seed is another day, another firm, another place.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Days with seeds seed, seed+1, …, each with the source and without it.")] = 1,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="The same day with nothing wrong: then nothing may be raised.")
    ] = False,
    data: Annotated[Path, typer.Option(help="Where events and traces are kept.")] = Path("data/pollution"),
    report: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("report.html"),
    as_json: Annotated[Path | None, typer.Option("--json", help="Write everything measured as JSON.")] = None,
) -> None:
    """A source of pollution that a firm has hidden: noticed, traced, and followed to its sanction.

    Hours that real stations measured are played through the gateway, with sensors around an industrial park. What is checked is
    computed from what was played, by code that no service uses.
    """
    console = Terminal(highlight=False)
    days: list[Day] = []
    for number in range(seed, seed + runs):
        for without in (quiet,) if runs == 1 else (False, True):
            plan = made(number, quiet=without)
            console.print(f"[bold]seed {number}[/]: {plan.park.day}, {'nothing is wrong' if without else 'a source is hidden'}")
            folder = data / f"seed-{number}{'-quiet' if without else ''}"
            days.append(play(plan, folder, lambda text: console.print(text, markup=False)))
    first = days[0]
    happened = [(page.clock(second), text) for second, text in page.way(first)]
    tell(
        console,
        "from the first reading to the verdict",
        happened,
        checks(first),
        rates(days) if runs > 1 else [],
        page.sentence(first),
    )
    page.write(first, report)
    if first.verdict is not None:
        kept = data / f"seed-{seed}" / "evidence.jsonl"
        kept.write_bytes(b"\n".join(first.verdict.lines) + b"\n")
        console.print(f"Anybody can verify the evidence: city evidence verify {kept} --head {first.verdict.head}", markup=False)
    console.print(f"{report} shows the park, the plume and the readings; open it in a browser.")
    if as_json is not None:
        as_json.write_text(json.dumps([measured(day) for day in days], ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if not all(check.holds for check in checks(first)):
        raise typer.Exit(1)


def rates(days: list[Day]) -> list[str]:
    """How many of the sources were found, how far away, and how many days raised something for nothing."""
    hidden = [day for day in days if day.plan.park.release is not None]
    calm = [day for day in days if day.plan.park.release is None]
    found = sum(day.found for day in hidden)
    false = sum(bool(day.suspected) for day in calm)
    apart = [day.apart_m for day in hidden if day.apart_m is not None]
    lines = [f"found: {found} of {len(hidden)} sources; raised for nothing: on {false} of {len(calm)} days"]
    if apart:
        lines.append(
            f"traced place, from the true one: median {median(apart):.0f} m, at most {max(apart):.0f} m, of {len(apart)}"
        )
    return lines


def measured(day: Day) -> dict[str, Any]:
    """A day in numbers."""
    return {
        "seed": day.plan.seed,
        "day": day.plan.park.day,
        "hidden": day.plan.park.release is not None,
        "found": day.found,
        "suspected": len(day.suspected),
        "verified": len(day.verified),
        "apart_m": None if day.apart_m is None else round(day.apart_m, 1),
        "firm": day.firm,
        "checks": {check.what.english: check.holds for check in checks(day)},
    }
