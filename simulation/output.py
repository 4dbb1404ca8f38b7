"""The output of a run on stdout: one JSON object a line, flushed, so that another program can follow it live."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

_out: TextIO | None = None


class Tell(Protocol):
    """A function that takes one line."""

    def __call__(self, kind: str, **values: Any) -> None:
        """Prints a line."""


def keep_stdout() -> None:
    """From now on stdout has only our lines. What SUMO writes there goes to stderr."""
    global _out
    if _out is None:
        sys.stdout.flush()
        _out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)


def tell_stdout(kind: str, **values: Any) -> None:
    """Writes a line to stdout."""
    out = _out or sys.stdout
    out.write(line(kind, values) + "\n")
    out.flush()


def line(kind: str, values: Mapping[str, Any]) -> str:
    """The text of a line."""
    return json.dumps({"kind": kind, **values}, ensure_ascii=False, separators=(",", ":"))
