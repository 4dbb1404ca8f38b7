"""Reactions: a method hears events of the log; each event has its effects once.

An event is heard at least once, in the order of its stream. What the method writes or calls for an event has ids made from the
event's id, so a second time has no new effect. One worker handles several events, one after the other: it gets the providers
once for all of them, and a context and a span for each event.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.event_store.store import StoredEvent
from citybrain.event_store.subscription import Batch
from citybrain.mesh.access.principal import behalf_of
from citybrain.mesh.entrypoints.base import CityEntrypoint
from citybrain.mesh.events import hear, type_name
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.exercises import exercise_of
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.subscriptions.groups import PARK_AFTER, GroupMember, Part, Since
from citybrain.observability import names
from citybrain.observability.tracing import WorkSpan, context_from

F = TypeVar("F", bound=Callable[..., Any])
_BATCH = 50


class Subscribe(CityEntrypoint):
    """See `subscribe`."""

    def __init__(
        self,
        *types: type[Message],
        where: Callable[[Any], bool] | None = None,
        since: Since = "beginning",
        concurrency: int = 1,
        park_after: int | None = PARK_AFTER,
        exercises: bool = False,
        **options: Any,
    ) -> None:
        self.types = [type_name(message) for message in types]
        self.where = where
        self._since = since
        self._concurrency = concurrency
        self._park_after = park_after
        self._exercises = exercises
        super().__init__(**options)

    def setup(self) -> None:
        """Opens the service's file."""
        self._numbers = self.metrics
        self.member = GroupMember(
            self.container.process, self.service, self.label, self.types, self._since, exercises=self._exercises
        )

    def start(self) -> None:
        """Joins the consumer group `service.method` and goes on where it stopped."""
        self.member.follow(self._batch, batch=_BATCH * self._concurrency, park_after=self._park_after)

    def stop(self) -> None:
        """Leaves the group. A worker finishes the event it has begun; the others are heard again later."""
        self.member.leave()

    kill = stop

    async def _batch(self, part: Part, batch: Batch) -> None:
        if self.container.process.faults.any:
            await self.container.process.faults.stalled(self.service, self.label)
        lanes = _lanes(batch.events, self._concurrency)
        if len(lanes) == 1:
            await self._lane(part, lanes[0], in_order=True)
        elif lanes:
            loop = self.container.process.loop
            lane_tasks = [loop.create_task(self._lane(part, lane, in_order=False)) for lane in lanes]
            failures = []
            for task in lane_tasks:
                try:
                    await task
                except Exception as error:
                    failures.append(error)
            if failures:
                raise failures[0]
        await part.save(batch)
        self.container.process.activity.changed()

    async def _lane(self, part: Part, events: Sequence[StoredEvent], in_order: bool) -> None:
        """Handles events one after the other, in one worker."""
        subscription = part.subscription
        assert subscription is not None

        def run(method: Callable[..., Any]) -> None:
            for event in events:
                contextvars.copy_context().run(self._one, method, event)
                subscription.done(event)
                if in_order and event.position > subscription.position:
                    # Work that this event has begun must not wait for the next event.
                    subscription.position = event.position

        await self.container.run_worker(self, patient=True, run=run)

    async def hear(self, event: StoredEvent) -> None:
        """Handles one event in a worker of its own, without regard to the checkpoint; raises what the method raised."""

        def run(method: Callable[..., Any]) -> None:
            contextvars.copy_context().run(self._one, method, event)

        await self.container.run_worker(self, patient=True, run=run)

    def _one(self, method: Callable[..., Any], event: StoredEvent) -> None:
        heard = wait(self.container.process.vault.hear([event]))[0] if event.sealed else hear(event)
        if self.where is not None and not self.where(heard.data):
            return
        parent = context_from(event.traceparent, {names.INCIDENT_ID: event.correlation_id} if event.correlation_id else {})
        attributes = {names.EVENT_ID: event.id, names.EVENT_TYPE: event.type, names.CONSUMER_GROUP: self.label}
        with WorkSpan(self.tracer, f"handle {event.type}", trace.SpanKind.CONSUMER, attributes, context=parent):
            work = ctx.Call(
                self.subject,
                self.label,
                event.id,
                correlation_id=event.correlation_id,
                causation_id=event.id,
                behalf=behalf_of(event.actor),
                exercise=exercise_of(event.stream),
            )
            ctx.enter(work)
            begun, failed = time.perf_counter(), ""
            try:
                if self.container.process.faults.any:
                    self.container.process.faults.in_event(self.service, self.label)
                method(heard)
            except BaseException as error:
                failed = type(error).__name__
                raise
            finally:
                self._numbers.handled(self.label, time.perf_counter() - begun, failed)


def _lanes(events: Sequence[StoredEvent], most: int) -> list[list[StoredEvent]]:
    """Splits events into at most `most` lanes. All events of a stream are in the same lane, in order."""
    if most == 1:
        return [list(events)] if events else []
    lanes: list[list[StoredEvent]] = [[] for _ in range(most)]
    lane_of: dict[str, int] = {}
    for event in events:
        number = lane_of.setdefault(event.stream, len(lane_of) % most)
        lanes[number].append(event)
    return [lane for lane in lanes if lane]


def subscribe(
    *types: type[Message],
    where: Callable[[Any], bool] | None = None,
    since: Since = "beginning",
    concurrency: int = 1,
    park_after: int | None = PARK_AFTER,
    exercises: bool = False,
) -> Callable[[F], F]:
    """Makes a method hear every event of some types; each event has its effects once.

    `where`: a pure function; only events whose message it accepts are heard. `since`: where a new group begins. `concurrency`:
    how many streams are worked on at once; events of one stream keep their order. `park_after`: how often an event is tried
    that fails by its own fault. It stands aside at once with the later ones of its stream, and other streams go on. When its
    tries are used up, it is parked: it waits for a person. None: it is tried for ever, and everything waits. An event that
    fails because a neighbour is away is always tried again. `exercises`: events of exercises are heard too; what follows from
    one stays in its exercise.
    """
    decorator: Callable[[F], F] = Subscribe.decorator(
        *types, where=where, since=since, concurrency=concurrency, park_after=park_after, exercises=exercises
    )
    return decorator
