"""How far a subscription is, kept outside of the process: after a crash it goes on there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a subscription: the last resume token, and the ids of events after it that are dealt with."""

    token: str = ""
    done: tuple[str, ...] = field(default=())


class Checkpoint(Protocol):
    """Where a place is kept. Keep it in your own database, in the transaction of your own rows, and no event counts twice."""

    def load(self) -> Place:
        """The place that was saved last; an empty one, if there is none."""
        ...

    def save(self, place: Place) -> None:
        """Keeps a place in place of the one before."""
        ...


class FileCheckpoint(Checkpoint):
    """A place in a file. It is whole at every moment, also when the process is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @override
    def load(self) -> Place:
        """ValueError: the file holds something else."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return Place(str(kept["token"]), tuple(map(str, kept["done"])))
        except FileNotFoundError:
            return Place()
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{self._path} holds no place of a subscription: name another file, or remove it to begin anew"
            ) from error

    @override
    def save(self, place: Place) -> None:
        """OSError: it cannot be written."""
        draft = self._path.with_name(self._path.name + ".draft")
        draft.write_text(json.dumps({"token": place.token, "done": place.done}), encoding="utf-8")
        draft.replace(self._path)
