"""What a person reads in the terminal when a story is over: what happened, whether it was right, and one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from citybrain.observability.console import Terminal
from citybrain.stories.sheet import Check, Text


def tell(
    console: Terminal,
    title: str,
    happened: Iterable[tuple[str, Text]],
    checks: Iterable[Check],
    rates: Sequence[str],
    said: Text,
) -> None:
    """`happened`: when, and what; `rates`: lines about many runs; `said`: what came of it."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2))
    table.add_column("time")
    table.add_column("what")
    for at, text in happened:
        table.add_row(at, text.english)
    console.print(table)
    for check in checks:
        console.print(f"{'✓' if check.holds else '✗'} {check.what.english}: {check.found}", markup=False)
    for line in rates:
        console.print(line, markup=False)
    console.print(f"\n[bold]{said.english}[/]\n[bold]{said.chinese}[/]\n")
