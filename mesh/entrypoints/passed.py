"""What another process of the service was told, and this one has to do: see `Owner`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.event_store.readings import ReadingsBatch
from citybrain.event_store.subscription import describe
from citybrain.mesh.entrypoints.base import CityEntrypoint
from citybrain.mesh.providers.owners import Owner
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.clock import MICROSECONDS
from citybrain.observability.tracing import WorkSpan

F = TypeVar("F", bound=Callable[..., Any])
_READ = 200
_AGAIN_S = 1.0
# In city time. What is older was passed on to a process that is gone: newer things have been told since.
_FRESH_US = 5 * MICROSECONDS


class Passed(CityEntrypoint):
    """See `passed`."""

    def __init__(self, owner: Owner[Any], **options: Any) -> None:
        # Not the Owner itself: nameko takes whatever provider it finds here for a part of the entrypoint.
        self.topic = owner.topic
        super().__init__(**options)

    def setup(self) -> None:
        """Finds the Owner of its own service, and where messages are passed on."""
        alike = (one for one in self.container.dependencies if isinstance(one, Owner) and one.topic == self.topic)
        self._owner = next(alike)
        self._log = self.container.process.engine.readings
        self._position = -1

    def start(self) -> None:
        """Begins with what is passed on from now on."""
        self._unwatch = self.container.process.activity.watch(self._at_rest)
        self._task = self.container.process.loop.create_task(self._follow())

    def stop(self) -> None:
        """Reads no more."""
        self._task.cancel()
        self._unwatch()

    kill = stop

    def _at_rest(self) -> bool:
        return self._position >= self._log.head(self.topic)

    async def _follow(self) -> None:
        topic = self.topic
        while True:
            try:
                if self._position < 0:
                    await self._log.up_to_now(topic)
                    self._position = self._log.head(topic)
                while batches := await self._log.read(topic, self._position, _READ):
                    for batch in batches:
                        await self._take(batch)
                        self._position = batch.position
                self.trouble = ""
                self.container.process.activity.changed()
                await self._log.grown(topic, self._position)
            except Exception as error:
                self.trouble = f"what is passed on cannot be read: {describe(error)}"
                self.log.error("what is passed on is read again", method=self.method_name, exc_info=error)
                await asyncio.sleep(_AGAIN_S)

    async def _take(self, batch: ReadingsBatch) -> None:
        if batch.received_at < self.container.process.clock.now() - _FRESH_US:
            return
        try:
            message = self._owner.passed.FromString(batch.data)
            if self._owner.here(self._owner.key(message)):
                await self.run(message, str(batch.position))
        except Exception as error:
            # It is not tried again: the next one tells more than this one.
            self.log.error("what was passed on failed", method=self.method_name, exc_info=error)

    async def run(self, message: Message, number: str) -> None:
        """Hands a message to the method, in a worker; raises what the method raised."""
        with WorkSpan(self.tracer, f"passed {self.label}", trace.SpanKind.CONSUMER):
            ctx.enter(ctx.Call(self.subject, self.label, number))
            await self.container.run_worker(self, message, patient=True)


def passed(owner: Owner[Any]) -> Callable[[F], F]:
    """Makes a method get what `owner.give` passes on to this process; `give` gets the same method: `give(one, self.take)`."""
    decorator: Callable[[F], F] = Passed.decorator(owner)
    return decorator
