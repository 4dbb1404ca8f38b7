"""The last observations, in memory only. After a restart there are none until the next reports come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from citybrain.mesh.service import Provider
from citybrain.services.traffic.queues import Queues
from citybrain.services.traffic.speeds import Speeds
from citybrain.services.traffic.street import Street
from citybrain.services.traffic.watch import Watch


@dataclass(slots=True)
class Observations:
    """The street and the speeds as they are known now. `blind_since`: when it was first seen that nobody observes it.
    `watches`: by signal that follows the traffic.
    """

    street: Street = field(default_factory=Street)
    blind_since: float | None = None
    speeds: Speeds = field(default_factory=Speeds)
    watches: dict[str, Watch] = field(default_factory=dict)
    queues: Queues = field(default_factory=Queues)


class Observed(Provider):
    """One `Observations` for all calls of the process."""

    def setup(self) -> None:
        """Starts empty."""
        self._now = Observations()

    def get_dependency(self, worker_ctx: Any) -> Observations:
        """What is known now."""
        return self._now
