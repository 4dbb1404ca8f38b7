"""Numbers of things for people."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """`1 process`, `2 processes`, `3 batches`."""
    plural = thing + ("es" if thing.endswith(("s", "ch")) else "s")
    return f"{number} {thing if number == 1 else plural}"
