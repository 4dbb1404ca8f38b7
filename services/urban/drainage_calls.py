"""Methods of drainage networks, and what the rain of a minute brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from citybrain.urban.v1 import drainage_pb2 as pb
from typing_extensions import override

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.service import Provider, Streams, Window, off_loop, rpc
from citybrain.services.urban import drainage, outlook, views
from citybrain.services.urban.outlook_calls import OutlookCalls
from citybrain.services.urban.readings import MICROSECONDS, WINDOW_S, Folded


@dataclass(slots=True)
class Rain:
    """The rain of the newest minutes by network: minute (since 1970) → millimetres an hour. In memory: it is of two hours
    only."""

    minutes: dict[str, dict[int, float]] = field(default_factory=dict)

    def take(self, network_id: str, minute: int, values: Sequence[float]) -> None:
        """Takes the mean of the gauges in a minute; none where none reported."""
        known = self.minutes.setdefault(network_id, {})
        if values:
            known[minute] = sum(values) / len(values)
        for old in [one for one in known if one <= minute - outlook.PAST_MIN]:
            del known[old]


class Rained(Provider):
    """One `Rain` for all windows of the process."""

    def setup(self) -> None:
        """Starts empty."""
        self._rain = Rain()

    def get_dependency(self, worker_ctx: Any) -> Rain:
        """The rain."""
        return self._rain


class DrainageCalls(OutlookCalls):
    """Drainage networks."""

    drainage = Streams("drainage", outlook.Network, outlook.evolve, district=outlook.district_of)
    rain = Rained()

    @rpc
    def RegisterDrainage(self, request: pb.RegisterDrainageRequest) -> pb.RegisterDrainageResponse:
        """Makes a network known, if SWMM can run it."""
        try:
            size = off_loop(drainage.size, request.inp)
        except drainage.Unreadable as problem:
            raise BadRequest([("inp", f"SWMM cannot read it: {problem}")]) from None
        return self.drainage.handle(
            request.network_id,
            lambda state: outlook.register(state, request),
            lambda _after, _: pb.RegisterDrainageResponse(nodes=size.nodes, links=size.links, gauges=size.gauges),
        )

    @rpc
    def GetDrainage(self, request: pb.GetDrainageRequest) -> pb.GetDrainageResponse:
        """What was told last."""
        state = self.drainage.load(request.network_id)
        outlook.existing(state, request.network_id)
        return pb.GetDrainageResponse(outlook=state.outlook)

    @rpc
    def ForecastDrainage(self, request: pb.ForecastDrainageRequest) -> pb.ForecastDrainageResponse:
        """How full it will be under a rain that the caller names."""
        registered = outlook.existing(self.drainage.load(request.network_id), request.network_id)
        rain = list(request.rain_mm_h)
        ahead = request.ahead_mm_h if request.HasField("ahead_mm_h") else drainage.recent(rain)
        filled = off_loop(drainage.forecast, registered.inp, rain, ahead, request.ahead_min or drainage.AHEAD_MIN)
        return pb.ForecastDrainageResponse(nodes=[outlook.show(one) for one in filled], ahead_mm_h=ahead)

    @override
    def _recall_rain(self, start: int, states: Mapping[str, Folded]) -> None:
        for network_id, gauges in self.device_list.derived(views.gauges).items():
            self.rain.take(network_id, start // (WINDOW_S * MICROSECONDS), _measured(gauges, states))

    @override
    def _take_rain(self, window: Window) -> None:
        """Looks an hour ahead every five minutes while it rains, and until the network is told to be empty again."""
        minute = window.start // (WINDOW_S * MICROSECONDS)
        for network_id, gauges in self.device_list.derived(views.gauges).items():
            self.rain.take(network_id, minute, _measured(gauges, window.states))
            known = self.rain.minutes[network_id]
            state = self.drainage.load(network_id)
            if minute % outlook.EVERY_MIN or state.registered is None or not known or not (any(known.values()) or state.level):
                continue
            # A minute of which nothing is known is taken for the one before, and the event says how many are known.
            rain, last = list[float](), 0.0
            for one in range(min(known), minute + 1):
                last = known.get(one, last)
                rain.append(last)
            ahead = drainage.recent(rain)
            try:
                filled = off_loop(drainage.forecast, state.registered.inp, rain, ahead)
            except drainage.Unreadable as problem:
                self.log.error("a drainage network cannot be computed", network=network_id, error=problem)
                continue
            now, reported = window.end, len(known)
            self.drainage.handle(
                network_id,
                lambda state: outlook.look(state, filled, reported, ahead, now),  # noqa: B023 It runs at once.
                lambda _after, _: None,
            )


def _measured(gauges: Iterable[str], states: Mapping[str, Folded]) -> list[float]:
    """The mean of each gauge that reported."""
    found = [states[name] for name in gauges if name in states]
    return [total / seconds.bit_count() for seconds, total in found]
