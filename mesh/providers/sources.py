"""Times that come from outside: how far the clock of a source may differ from ours before its message is refused.

One wrong clock must not spoil the reports of all others: a time from the future would count as the newest one until that moment
has come, whatever others report meanwhile.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import microseconds
from citybrain.mesh.manifest import ManifestError
from citybrain.mesh.runtime.clock import MICROSECONDS
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import refuse_in_exercise
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.settings.values import SourceClock


class Source(DependencyProvider):  # type: ignore[misc]
    """A kind of source: `street = Source(ahead_s=5, behind_s=60)`, then `self.street.moment(time, "observed_at")`.

    `ahead_s`, `behind_s`: how far its clock may be ahead of and behind city time, in seconds. A city changes them for
    `<service>.<name>` under `sources` in its configuration. `measured`: what it sends was measured: an exercise has none of it.
    """

    container: Container

    def __init__(self, *, ahead_s: float, behind_s: float, measured: bool = False) -> None:
        self._measured = measured
        self._clock = SourceClock(ahead_s=ahead_s, behind_s=behind_s)

    def setup(self) -> None:
        """Reads the city's settings. ManifestError: they name a kind of source that this service does not have."""
        service = self.container.manifest.name
        self._name = f"{service}.{self.attr_name}"
        given = self.container.process.settings.sources
        mine = {f"{service}.{one.attr_name}" for one in self.container.dependencies if isinstance(one, Source)}
        for name in given:
            if name.partition(".")[0] == service and name not in mine:
                raise ManifestError(
                    f"sources names {name}, and {service} has no such source: there are {', '.join(sorted(mine))}"
                )
        self._clock = given.get(self._name, self._clock)

    def get_dependency(self, worker_ctx: Any) -> Source:
        """The provider itself: it holds nothing of a call."""
        return self

    def moment(self, at: Timestamp, field: str) -> int:
        """The moment in microseconds since 1970. BadRequest, with both times: the source's clock is too far from ours.

        Refused: the call is of an exercise, and what the source sends is measured.
        """
        if self._measured:
            refuse_in_exercise("what is measured comes from the city alone")
        clock = self.container.process.clock
        moment = microseconds(at)
        if not clock.known():
            return moment
        away = (moment - clock.now()) / MICROSECONDS
        allowed, which = (self._clock.ahead_s, "ahead_s") if away > 0 else (self._clock.behind_s, "behind_s")
        if abs(away) > allowed:
            times = f"is {_shown(moment)}, and here it is {_shown(clock.now())}"
            way = f"may be {allowed:g} s {'ahead' if away > 0 else 'behind'} (sources.{self._name}.{which})"
            raise BadRequest([(field, f"{times}: nothing was taken in; set the clock of the source, which {way}")])
        return moment


def _shown(moment: int) -> str:
    made = Timestamp()
    made.FromMicroseconds(moment)
    return made.ToJsonString()
