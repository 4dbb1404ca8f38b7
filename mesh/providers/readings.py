"""Readings of sensors come in batches. They are kept for hours, and their sector folds them in windows of city time.

They are not events. If something *happens* in a window, the service decides on an event.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from citybrain.mesh.events import type_name
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import refuse_in_exercise
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.runtime.process import Process


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
