"""Timers on city time: every so many seconds, or at an hour of the day. Only the leader of a service fires its timers."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeVar

from typing_extensions import override

from citybrain.event_store.subscription import describe
from citybrain.mesh.entrypoints.base import CityEntrypoint
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.clock import MICROSECONDS
from citybrain.mesh.subscriptions.groups import ServiceReadModels
from citybrain.observability.tracing import WorkSpan

F = TypeVar("F", bound=Callable[..., Any])

HANGZHOU = timezone(timedelta(hours=8), "Hangzhou")
"""All of China has this one time, without daylight saving."""

_AGAIN_S = 60
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WHEN = re.compile(rf"(?:({'|'.join(_DAYS)}) )?([01][0-9]|2[0-3]):([0-5][0-9])", re.I)


class Timer(CityEntrypoint):
    """Fires at moments of city time. A run has an id made from its moment, so a second run of a moment writes nothing new."""

    def setup(self) -> None:
        """Opens the service's read models, and its lead."""
        self._service_models = ServiceReadModels.of(self.container.process, self.service)

    def start(self) -> None:
        """Waits for the first moment."""
        self._stopped = False
        self._running = False
        # By a timer, not now: a driven clock does not know the time until it is told.
        self._timer = self.container.process.clock.at(0, self._begin)

    def stop(self) -> None:
        """Fires no more. A worker finishes a run that it has begun."""
        self._stopped = True
        self._timer.cancel()

    kill = stop

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _run(self, moment: int) -> bool:
        """Does one run; returns whether it was done. While a slow run goes on, other runs are left out."""
        if self._running:
            self.log.warning("timer left out: its last run is not done yet", method=self.method_name)
            return False
        self._running = True
        try:
            await self.run(moment)
        except Exception:
            return False
        finally:
            self._running = False
        return True

    async def run(self, moment: int) -> None:
        """Does the run of a moment in a worker; raises what the method raised."""
        with WorkSpan(self.tracer, f"timer {self.label}"):
            ctx.enter(ctx.Call(self.subject, self.label, str(moment)))
            try:
                await self.container.run_worker(self, patient=True)
            except Exception as error:
                self.trouble = f"its last run failed: {describe(error)}"
                self.log.error("timer failed", method=self.method_name, exc_info=error)
                raise
            self.trouble = ""


class Every(Timer):
    """See `every`."""

    def __init__(self, seconds: float, **options: Any) -> None:
        self._interval = int(seconds * MICROSECONDS)
        super().__init__(**options)

    @override
    async def _begin(self) -> None:
        if self._stopped:
            return
        clock = self.container.process.clock
        now = clock.now()
        # If city time leaps, only the last of the runs in between is done: a leap of a day is not 86,400 runs.
        base = max(now, clock.heading_for() - self._interval)
        self._timer = clock.at(base - base % self._interval + self._interval, self._begin)
        if self._service_models.leadership.take():
            await clock.carry_out(self._run(now))


class At(Timer):
    """See `at`."""

    def __init__(self, when: str, **options: Any) -> None:
        self._when = when
        next_moment(when, 0)
        super().__init__(**options)

    @override
    async def _begin(self) -> None:
        if self._stopped:
            return
        clock = self.container.process.clock
        own = self._service_models
        now = clock.now()
        # If city time leaps, of the runs after the next one only the last is done, as where a process was down.
        following = max(next_moment(self._when, now), last_moment(self._when, clock.heading_for()))
        self._timer = clock.at(following, self._begin)
        if not own.leadership.take():
            return
        due = last_moment(self._when, now)
        last = await own.models.last_run(self.label)
        if last is None:
            # A new timer begins with its next moment, not with one before it existed.
            await own.models.ran(self.label, due if due < now else due - 1)
            if due < now:
                return
        elif last >= due:
            return
        await clock.carry_out(self._once(due))

    async def _once(self, due: int) -> None:
        if await self._run(due):
            await self._service_models.models.ran(self.label, due)
        else:
            clock = self.container.process.clock
            self._timer.cancel()
            self._timer = clock.at(clock.now() + _AGAIN_S * MICROSECONDS, self._begin)


def next_moment(when: str, now: int) -> int:
    """The first moment of a rule (`03:00`, `mon 03:00`) after `now`, both in microseconds since 1970."""
    return _moment(when, now, +1)


def last_moment(when: str, now: int) -> int:
    """The last moment of a rule at or before `now`."""
    return _moment(when, now, -1)


def _moment(when: str, now: int, direction: int) -> int:
    found = _WHEN.fullmatch(when)
    if found is None:
        raise ValueError(f"{when!r} is no time of a timer: write '03:00', or 'mon 03:00'")
    day, hour, minute = found.groups()
    here = datetime.fromtimestamp(now // MICROSECONDS, UTC).astimezone(HANGZHOU)
    at = here.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    step = timedelta(days=1)
    while not (
        (day is None or at.weekday() == _DAYS.index(day.lower()))
        and ((_micro(at) > now) if direction > 0 else (_micro(at) <= now))
    ):
        at += direction * step
    return _micro(at)


def _micro(moment: datetime) -> int:
    return int(moment.timestamp()) * MICROSECONDS


def every(seconds: float) -> Callable[[F], F]:
    """Makes a method run every so many seconds of city time. Missed runs are left out."""
    decorator: Callable[[F], F] = Every.decorator(seconds)
    return decorator


def at(when: str) -> Callable[[F], F]:
    """Makes a method run each day, or each week, at an hour of Hangzhou: `at("03:00")`, `at("mon 03:00")`.

    If runs were missed because no process was up, the newest of them is done late. A run that fails is tried again each minute.
    """
    decorator: Callable[[F], F] = At.decorator(when)
    return decorator
