"""Counts as they come: what a window of a minute makes of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from citybrain.tourism.v1 import tourism_service_pb2 as pb

from citybrain.mesh.events import microseconds
from citybrain.mesh.service import Reading

MINUTE = 60_000_000
"""In microseconds."""

LATE_S = 15
"""A minute is computed so many seconds after its end. What comes later has it computed anew."""

_CLOSING = 5_000_000

Values = dict[str, tuple[int, int]]
"""Counter → moment (microseconds since 1970) and people of its last count in a minute."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One count of a counter, at a moment in microseconds since 1970."""

    counter_id: str
    at: int
    people: int


def readings(batch: pb.ReportCountsRequest) -> Iterable[Reading]:
    """The counts of a batch, by place."""
    for one in batch.counts:
        at = microseconds(one.counted_at)
        yield Reading(one.place_id, at, Counted(one.counter_id, at, one.people))


def fold(values: Values | None, one: Counted) -> Values:
    """The counts of a place in a minute with one more. The later one counts, of one moment the one that came last."""
    values = {} if values is None else values
    if one.at >= values.get(one.counter_id, (0, 0))[0]:
        values[one.counter_id] = (one.at, one.people)
    return values


def is_late(at: int, now: int) -> bool:
    """Whether the minute of a moment is computed already, or is just now: such a count is put into it at once."""
    return at - at % MINUTE + MINUTE + LATE_S * 1_000_000 - _CLOSING <= now
