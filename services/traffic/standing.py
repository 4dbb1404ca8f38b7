"""What was told of places and things window by window, and still holds. Late readings may take it back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message

from citybrain.mesh.events import microseconds

M = TypeVar("M", bound=Message)
Standing = Mapping[str, tuple[M, ...]]
"""By key: what was told, in the order of its windows. At most one of a window."""


def begins(told: Message) -> int:
    """The beginning of the window that something was told of, in microseconds since 1970."""
    whose: Any = told
    return microseconds(getattr(whose, "from"))


def before(standing: Standing[M], key: str, start: int) -> M | None:
    """What was told last of a window before."""
    return next((one for one in reversed(standing.get(key, ())) if begins(one) < start), None)


def at(standing: Standing[M], key: str, start: int) -> M | None:
    """What was told of a window."""
    return next((one for one in standing.get(key, ()) if begins(one) == start), None)


def told(standing: Standing[M], key: str, one: M) -> Standing[M]:
    """With something that is told."""
    return {**standing, key: tuple(sorted((*standing.get(key, ()), one), key=begins))}


def retracted(standing: Standing[M], key: str, start: int) -> Standing[M]:
    """Without what was told of a window."""
    left = tuple(one for one in standing.get(key, ()) if begins(one) != start)
    others = {name: each for name, each in standing.items() if name != key}
    return {**others, key: left} if left else others


def newest(standing: Standing[M], since: int) -> Standing[M]:
    """What was told of windows since a moment, and for each key what held then."""
    kept = {}
    for key, each in standing.items():
        old = [one for one in each if begins(one) < since]
        kept[key] = (*old[-1:], *each[len(old) :])
    return kept
