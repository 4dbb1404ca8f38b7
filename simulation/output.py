"""What a run tells on stdout: one JSON object a line, flushed, so that another program can follow it live."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol


class Tell(Protocol):
    """Takes one line to tell."""

    def __call__(self, kind: str, **values: Any) -> None:
        """Tells it."""


def tell_stdout(kind: str, **values: Any) -> None:
    """Writes a line to stdout."""
    sys.stdout.write(line(kind, values) + "\n")
    sys.stdout.flush()


def line(kind: str, values: Mapping[str, Any]) -> str:
    """The text of a line."""
    return json.dumps({"kind": kind, **values}, ensure_ascii=False, separators=(",", ":"))
