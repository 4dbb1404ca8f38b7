"""Where Prometheus finds the processes on a data folder: each one puts a file there, in the form of `file_sd_configs`.

A process that was killed leaves its file, and so is told as down, until another process begins here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from citybrain.mesh.operations.presence import present

FOLDER = "prometheus"


def announce(data: Path, kind: str, address: str, path: str = "/metrics") -> None:
    """Puts this process's file there, and takes away those of processes that have ended. `kind`: as in its presence."""
    folder = data / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    mine = _file(data, kind)
    run = {one.name for one in present(data) if one.runs}
    for other in folder.glob("*.json"):
        if other.stem not in run and other != mine:
            other.unlink(missing_ok=True)
    target = {"targets": [address], "labels": {"job": f"city-{kind}", "__metrics_path__": path}}
    draft = mine.with_suffix(".draft")
    draft.write_text(json.dumps([target]), encoding="utf-8")
    draft.replace(mine)


def withdraw(data: Path, kind: str) -> None:
    """Takes this process's file away."""
    _file(data, kind).unlink(missing_ok=True)


def _file(data: Path, kind: str) -> Path:
    return data / FOLDER / f"{kind}-{os.getpid()}.json"
