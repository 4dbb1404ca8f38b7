"""The processes on a data folder: each one puts a file there, and holds a lock on the file as long as it lives.

The kernel frees the lock when the process ends, however it ends. So a file with a free lock is left over from an ended process.
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
    """What a process has written about itself, and whether it still runs."""

    name: str
    runs: bool
    said: dict[str, Any]


class Presence:
    """This process's file in the data folder, by which others find it until `leave()` or its end.

    `said`: what the file tells besides kind, id and address. Files of ended processes with the same kind and the same `said`
    are removed first: this process takes their place.
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
        """Changes what the file tells."""
        self._said |= said
        before, self._file = self._file, self._write()
        before.close()

    def _write(self) -> IO[str]:
        draft = self._path.with_suffix(".draft")
        file = draft.open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(json.dumps(self._said))
        file.flush()
        # Renamed last, so that nobody finds the file without its lock, or half written.
        draft.rename(self._path)
        return file

    def leave(self) -> None:
        """Removes the file: the process runs here no more."""
        self._path.unlink(missing_ok=True)
        self._file.close()


def present(data: Path) -> list[Present]:
    """The processes that run here, and those that ended without `leave()`."""
    found = []
    for path in sorted((data / _FOLDER).glob("*.json")):
        try:
            with path.open(encoding="utf-8") as file:
                runs = not _is_free(file)
                found.append(Present(path.stem, runs, json.load(file)))
        except (OSError, ValueError):
            # The process left just now.
            continue
    return found


def forget(data: Path, one: Present) -> None:
    """Removes the file of a process that ended without `leave()`."""
    (data / _FOLDER / f"{one.name}.json").unlink(missing_ok=True)


def _is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
