"""Appends that wait for their turn at one stream: which of them go together, and the outcome of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from citybrain.event_store.limits import MAX_APPEND_BYTES, MAX_APPEND_EVENTS
from citybrain.event_store.store import ANY, Committed, Conflict, NewEvent, StoredEvent


@dataclass(slots=True)
class Waiting:
    """An append that waits for its outcome."""

    events: Sequence[NewEvent]
    expected: int
    outcome: Committed | Conflict | None = None


def together(waiting: Iterable[Waiting], version: int) -> list[Waiting]:
    """The first waiting appends that can all be written one after the other from `version` on, within the limits of one."""
    group: list[Waiting] = []
    ids: set[str] = set()
    count = size = 0
    for one in waiting:
        count += len(one.events)
        size += sum(len(event.data) + len(event.sealed) for event in one.events)
        ids.update(event.id for event in one.events)
        if len(ids) < count or one.expected not in (ANY, version):
            break
        if group and (count > MAX_APPEND_EVENTS or size > MAX_APPEND_BYTES):
            break
        group.append(one)
        version += len(one.events)
    return group


def stored(group: Sequence[Waiting], stream: str, version: int, now: int) -> tuple[StoredEvent, ...]:
    """The events of some appends as they would stand in the stream, after `version`."""
    events = [event for one in group for event in one.events]
    return tuple(
        StoredEvent(
            e.id, e.type, e.data, e.occurred_at, e.traceparent, e.correlation_id, e.causation_id, e.actor, e.district,
            e.classification, stream, version + n, now, 0, e.sealed,
        )
        for n, e in enumerate(events, 1)
    )  # fmt: skip


def decide(waiting: deque[Waiting], outcome: Committed | Conflict) -> None:
    """Gives the first waiting append its outcome."""
    waiting.popleft().outcome = outcome


def ids_of(group: Sequence[Waiting]) -> list[str]:
    """The event ids of some appends, in order."""
    return [event.id for one in group for event in one.events]


def as_written(ids: Sequence[str], written: dict[str, int], version: int) -> Committed | Conflict:
    """The outcome of an append whose ids are written already: the first result, or a conflict if not all are there in order."""
    if len(written) == len(set(ids)) == len(ids):
        versions = [written[one] for one in ids]
        if versions == list(range(versions[0], versions[0] + len(ids))):
            return Committed(versions[0], versions[-1], 0, again=True)
    return Conflict(version)
