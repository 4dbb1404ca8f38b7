"""How a run keeps step with the mesh: as fast as that comes to rest, or at a fixed pace where nobody can see that it has.

A rhythm hands out what the mesh says, round by round. Each round is acted on before the next is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from citybrain.events.v1.event_pb2 import Event
from typing_extensions import override

from citybrain.simulation.gateway_client import Gateway

# At a pace: how long a mesh that has something to say may keep silent.
QUIET_S = 2.0


class Rhythm(Protocol):
    """Between two steps of the traffic."""

    @property
    def quiet(self) -> bool:
        """Nothing more is to be expected of the mesh unless somebody speaks to it, or time goes on."""

    def rounds(self, *, over: bool) -> Iterator[list[Event]]:
        """What the mesh has to say now. `over`: city time has moved on, and the second with it."""


class AtRest(Rhythm):
    """Asks the mesh to say when it is at rest. Two runs of one seed make the same calls."""

    quiet = True

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._settled_at = -1

    @override
    def rounds(self, *, over: bool) -> Iterator[list[Event]]:
        """Until the mesh is at rest and nobody has told it anything since."""
        while self._gateway.calls != self._settled_at:
            # In the order in which the streams were opened, whatever order their events came in.
            new = [event for events in self._gateway.rest().values() for event in events]
            self._settled_at = self._gateway.calls
            yield new


class Paced(Rhythm):
    """So many seconds of city time in a second of this machine, never more. What comes is acted on when it comes."""

    def __init__(self, gateway: Gateway, pace: float) -> None:
        self._gateway = gateway
        self._second_s = 1 / pace
        self._due = self._spoke_at = time.monotonic()

    @property
    @override
    def quiet(self) -> bool:
        return time.monotonic() - self._spoke_at > QUIET_S

    @override
    def rounds(self, *, over: bool) -> Iterator[list[Event]]:
        """Until the second has lasted as long as the pace says. Time that the mesh cost is not made up for."""
        now = time.monotonic()
        until = max(now, self._due + self._second_s) if over else now
        while True:
            new = [event for events in self._gateway.come(until).values() for event in events]
            if new:
                self._spoke_at = time.monotonic()
                yield new
            elif time.monotonic() >= until:
                break
        if over:
            self._due = until
