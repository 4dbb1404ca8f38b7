"""How a run keeps step with the mesh: as fast as the mesh comes to rest, or at a fixed pace where rest cannot be seen.

A rhythm hands out what the mesh says, round by round. Each round is acted on before the next is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from citybrain.events.v1.event_pb2 import Event
from typing_extensions import override

from citybrain.simulation.gateway_client import Gateway

# At a pace: for how many seconds a mesh with something to say may keep silent.
QUIET_S = 2.0


class Rhythm(Protocol):
    """What happens between two steps of the traffic."""

    @property
    def quiet(self) -> bool:
        """Whether the mesh will say nothing more until somebody calls it or city time moves."""

    def rounds(self, *, over: bool) -> Iterator[list[Event]]:
        """The new events of the mesh. `over`: city time has moved past this second."""


class AtRest(Rhythm):
    """Asks the mesh to say when it is at rest. Two runs of one seed make the same calls."""

    quiet = True

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._settled_at = -1

    @override
    def rounds(self, *, over: bool) -> Iterator[list[Event]]:
        """Ends when the mesh is at rest and was not called since."""
        while self._gateway.calls != self._settled_at:
            # In the order in which the streams were opened, not in that in which their events came.
            new = [event for events in self._gateway.rest().values() for event in events]
            self._settled_at = self._gateway.calls
            yield new

    def settle(self, now: int, act: Callable[[int, Event], None]) -> None:
        """Waits until the city has nothing left to do, and has `act` do what follows outside, until nothing follows."""
        for events in self.rounds(over=False):
            for event in events:
                act(now, event)


class Paced(Rhythm):
    """At most `pace` seconds of city time in a second of this machine. Events are acted on when they come."""

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
        """Ends when the second has lasted as long as the pace says. Lost time is not caught up."""
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
