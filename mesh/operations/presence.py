"""Who runs on a data folder: each process puts a file there and holds a lock on it as long as it lives.

The kernel lets go of the lock when a process ends, however it ended, so a file whose lock is free belongs to nobody any more.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_FOLDER = "processes"


@dataclass(frozen=True, slots=True)
class Present:
    """What a process said of itself, and whether it still runs."""

    name: str
    runs: bool
    said: dict[str, Any]


class Presence:
    """This process as others find it on its data folder, until `leave()` or its end.

    It comes in the place of those that said the same of themselves, but for their id and address, and ended without a word.
    """

    def __init__(self, data: Path, kind: str, address: str, **said: object) -> None:
        folder = data / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for one in present(data):
            if not one.runs and {**one.said, "pid": 0, "address": ""} == {"kind": kind, "pid": 0, "address": "", **said}:
                forget(data, one)
        self._path = folder / f"{kind}-{os.getpid()}.json"
        self._said = {"kind": kind, "pid": os.getpid(), "address": address, **said}
        self._file = self._write()

    def say(self, **said: object) -> None:
        """Says something else of itself from now on."""
        self._said |= said
        before, self._file = self._file, self._write()
        before.close()

    def _write(self) -> IO[str]:
        draft = self._path.with_suffix(".draft")
        file = draft.open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(self._said))
        file.flush()
        # Only now, so that nobody finds it without its lock, or half of it.
        draft.rename(self._path)
        return file

    def leave(self) -> None:
        """It runs here no more."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def present(data: Path) -> list[Present]:
    """Everybody who runs here, and those who ended without a word."""
    found = []
    for path in sorted((data / _FOLDER).glob("*.json")):
        try:
            with path.open(encoding="utf-8") as file:
                runs = not _is_free(file)
                found.append(Present(path.stem, runs, json.load(file)))
        except (OSError, ValueError):
            # It left just now.
            continue
    return found


def forget(data: Path, one: Present) -> None:
    """Takes the file away of one who ended without a word."""
    (data / _FOLDER / f"{one.name}.json").unlink(missing_ok=True)


def _is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
