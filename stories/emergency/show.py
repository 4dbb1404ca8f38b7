"""What a person sees while the demo runs: a line for each drive, and the last event of the city."""

from __future__ import annotations

import threading
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

NAMES = {
    "ordinary": "without the city 没有城市大脑",
    "bluelight": "siren alone 仅鸣笛闪灯",
    "city": "with the city 有城市大脑",
}
_STAGES = ("", "under way", "with the patient", "to the hospital", "at the hospital door")


class Show:
    """The lines on the screen. May be used from the threads that read the simulations."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = {variant: {} for variant in NAMES}
        self._last = ""
        self._live = Live(self._picture(), console=console, refresh_per_second=6, transient=not console.is_terminal)
        self._quiet = not console.is_terminal

    def __enter__(self) -> Show:
        if not self._quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._quiet:
            self._live.stop()

    def said(self, variant: str, line: dict[str, Any]) -> None:
        """Takes in a line of a simulation."""
        with self._lock:
            row = self._rows[variant]
            if "second" in line:
                row["second"] = line["second"]
            if line["kind"] == "progress":
                row["vehicles"] = line.get("vehicles")
            elif line["kind"] == "stage":
                row["stage"] = int(line["stage"])
            elif line["kind"] == "result":
                row["over"] = True
        self._refresh()

    def tell(self, text: str) -> None:
        """Something happened in the city."""
        with self._lock:
            self._last = text
        if self._quiet:
            self._console.print(text, markup=False)
        self._refresh()

    def _refresh(self) -> None:
        if not self._quiet:
            self._live.update(self._picture())

    def _picture(self) -> Group:
        table = Table(box=None, padding=(0, 2))
        for title in ("the same call", "time of day", "vehicles", "the ambulance"):
            table.add_column(title, style="dim" if title == "vehicles" else "")
        for variant, row in self._rows.items():
            second = int(row.get("second", 0))
            clock = f"{second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}" if second else ""
            stage = int(row.get("stage", 0))
            bar = "━" * stage * 4 + "╌" * (4 - stage) * 4
            table.add_row(NAMES[variant], clock, str(row.get("vehicles", "")), f"{bar} {_STAGES[stage]}")
        return Group(table, Text(self._last, style="italic"))
