"""Readings of sensors come in batches. They are kept for hours, and their sector folds them in windows of city time.

They are not events. If something *happens* in a window, the service decides on an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message

from citybrain.event_store.readings import ReadingsBatch
from citybrain.mesh.events import type_name
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import refuse_in_exercise
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.runtime.process import Process

M = TypeVar("M", bound=Message)
_READ = 200


class Readings(DependencyProvider):  # type: ignore[misc]
    """Takes batches in: `batches = Readings()`, then `self.batches.put(request)`; returns when the batch is kept."""

    container: Container

    def setup(self) -> None:
        """Finds where batches are kept."""
        self._process: Process = self.container.process
        self._log = self._process.engine.readings

    def get_dependency(self, worker_ctx: Any) -> Readings:
        """The provider itself: it holds nothing of a call."""
        return self

    def put(self, batch: Message) -> None:
        """Keeps a batch as it is. LimitExceeded: it is over 1 MiB. Refused: it is of an exercise, which has no readings."""
        refuse_in_exercise("what is measured comes from the city alone")
        wait(self._log.put(type_name(batch), self._process.clock.now(), batch.SerializeToString()))

    def kept(self, batch: type[M], since: int) -> Iterator[list[tuple[int, M]]]:
        """The batches that came from a moment on (microseconds), each with when it came, in their order and some at a time.

        So a service that has been started again learns what it had in memory. What is older than some hours is not kept.
        """
        topic, position = type_name(batch), 0
        while page := wait(self._log.read(topic, position, _READ)):
            position = page[-1].position
            yield off_loop(_newer, page, since, batch)


def _newer(page: Sequence[ReadingsBatch], since: int, batch: type[M]) -> list[tuple[int, M]]:
    return [(one.received_at, batch.FromString(one.data)) for one in page if one.received_at >= since]
