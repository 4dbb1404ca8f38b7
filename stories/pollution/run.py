"""Plays one day in a city of its own, and keeps what the city said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from citybrain.events.v1.event_pb2 import Event

from citybrain.simulation.air_run import ENVIRONMENT, AirRun
from citybrain.simulation.gateway_client import Gateway
from citybrain.stories.driven import driven_city, unpacked
from citybrain.stories.pollution.check import Day
from citybrain.stories.pollution.plan import BEGIN_S, END_S, STATIONS, Plan

HEARD = [one.DESCRIPTOR.full_name for one in (ev.ExceedanceSuspected, ev.ExceedanceVerified)]
# So long after it was first read the city is asked where it comes from.
_TRACED_AFTER_S = 45 * 60


def play(plan: Plan, data: Path, tell: Callable[[str], None]) -> Day:
    """Plays the day of a plan. `data`: a folder for the city; `tell`: gets a sentence when something happens."""
    with driven_city(data, plan.seed, tell) as gateway:
        return play_in(gateway, plan, tell)


def play_in(gateway: Gateway, plan: Plan, tell: Callable[[str], None], midnight: int = 0) -> Day:
    """Plays it in a city that is there, as the day that begins at second `midnight`."""
    return _Player(gateway, plan, tell, midnight).day()


class _Player:
    """Whoever is outside of the city on that day."""

    def __init__(self, gateway: Gateway, plan: Plan, tell: Callable[[str], None], midnight: int) -> None:
        self._gateway = gateway
        self._tell = tell
        self._day = Day(plan, midnight)

    def day(self) -> Day:
        """Plays it."""
        day, plan = self._day, self._day.plan
        run = AirRun(self._gateway, STATIONS, HEARD)
        run.begin(plan.park.sensors, plan.stacks, day.midnight + BEGIN_S)
        asked_at = END_S
        for second in run.play(plan.park, day.midnight, BEGIN_S, END_S, self._act):
            if day.verified and day.trace is None:
                asked_at = min(asked_at, int(day.second(day.verified[0].first_at)) + _TRACED_AFTER_S)
                if second >= asked_at:
                    self._trace(second)
        day.sent = run.sent
        return day

    def _act(self, now: int, event: Event) -> None:
        if (suspected := unpacked(event, ev.ExceedanceSuspected)) is not None:
            self._day.suspected.append(suspected)
        elif (verified := unpacked(event, ev.ExceedanceVerified)) is not None:
            self._day.verified.append(verified)
            self._tell(
                f"{verified.exceedance_id}: {verified.value:.0f} µg/m³ of SO2, confirmed by {len(verified.station_ids)} sensors"
            )

    def _trace(self, second: int) -> None:
        request = pb.TraceSourceRequest(exceedance_id=self._day.verified[0].exceedance_id)
        answer = self._gateway.call(
            f"{ENVIRONMENT}/TraceSource", request, pb.TraceSourceResponse, f"trace/{self._day.midnight + second}"
        )
        self._day.trace, self._day.traced_s = answer.trace, float(second)
        self._tell(answer.trace.statement)
