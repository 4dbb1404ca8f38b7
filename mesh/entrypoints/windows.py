"""Windows of readings: readings are folded by key as they come. When city time has passed a window's end, the method gets it.

After a restart, windows that were open are folded again from the kept batches. A window has its effects once: the ids of what
the method writes are made from the window's beginning. Readings that come later than `late_s` are counted and left out. So are
readings of a source whose clock is ahead: they would keep a window open for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry import trace

from citybrain.event_store.read_models import WindowsSeen
from citybrain.event_store.readings import ReadingsBatch
from citybrain.event_store.subscription import describe
from citybrain.mesh.entrypoints.base import CityEntrypoint
from citybrain.mesh.events import message_class, type_name
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.clock import MICROSECONDS
from citybrain.mesh.subscriptions.groups import ServiceReadModels, lasting
from citybrain.observability.tracing import WorkSpan

F = TypeVar("F", bound=Callable[..., Any])
_READ = 200
# How often the method is tried with a window that is itself at fault. Then the window is given up.
_TRIES = 8
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


@dataclass(slots=True, frozen=True)
class Reading:
    """One value of one channel at a moment (microseconds since 1970, by its source's clock)."""

    key: str
    at: int
    value: Any


@dataclass(slots=True, frozen=True)
class Window:
    """The window [start, end), in microseconds since 1970. `states`: for each key, what its readings were folded into."""

    start: int
    end: int
    states: Mapping[str, Any]
    # Readings left out since the last window: too late (their window was closed), and too far in the future.
    late: int = 0
    ahead: int = 0


@dataclass(slots=True)
class _Open:
    """A window that is not over yet."""

    first_position: int
    states: dict[str, Any] = field(default_factory=dict)


ReadingsOf = Callable[[Any], Iterable[Reading]]
Fold = Callable[[Any, Any], Any]


class Windows(CityEntrypoint):
    """See `window`."""

    def __init__(
        self, batch: type[Message], seconds: float, *, readings: ReadingsOf, fold: Fold, late_s: float = 5.0, **options: Any
    ) -> None:
        self._topic = type_name(batch)
        self._length = int(seconds * MICROSECONDS)
        self._readings = readings
        self._fold = fold
        self._late_us = int(late_s * MICROSECONDS)
        super().__init__(**options)

    def setup(self) -> None:
        """Opens the service's read models, and the readings."""
        process = self.container.process
        self._service_models = ServiceReadModels.of(process, self.service)
        self._log = process.engine.readings
        self._open: dict[int, _Open] = {}
        self._seen = WindowsSeen()
        self._position = 0
        self._late = self._ahead = 0
        # Only one task at a time folds batches or closes windows.
        self._lock = asyncio.Lock()
        self._ready = asyncio.Event()

    def start(self) -> None:
        """Folds new batches while this process leads."""
        process = self.container.process
        self._stopped = False
        self._unwatch = process.activity.watch(self._at_rest)
        self._task = process.loop.create_task(self._follow())
        self._timer = process.clock.at(0, self._tick)

    def stop(self) -> None:
        """Folds no more. The next leader folds open windows again from the kept batches."""
        self._stopped = True
        self._task.cancel()
        self._timer.cancel()
        self._unwatch()

    kill = stop

    def _at_rest(self) -> bool:
        if not self._service_models.leadership.leads:
            return True
        return self._ready.is_set() and not self._lock.locked() and self._position >= self._log.head(self._topic)

    async def _follow(self) -> None:
        while True:
            try:
                # The lead can be lost. What was folded until then stays, and so does the place in the log.
                await self._service_models.leadership.gained()
                async with self._lock:
                    if not self._ready.is_set():
                        await self._adopt()
                        self._position = self._seen.resume
                        self._ready.set()
                    await self._catch_up()
                self.trouble = ""
                self.container.process.activity.changed()
                await self._log.grown(self._topic, self._position)
            except Exception as error:
                self.trouble = f"readings cannot be read: {describe(error)}"
                self.log.error("readings are tried again", window=self.label, exc_info=error)
                await asyncio.sleep(_LONGEST_PAUSE_S)

    async def _catch_up(self) -> None:
        """Folds every batch that is there into windows."""
        batch_class = message_class(self._topic)
        while batches := await self._log.read(self._topic, self._position, _READ):
            for batch in batches:
                try:
                    for reading in self._readings(batch_class.FromString(batch.data)):
                        self._take(reading, batch)
                except Exception as error:
                    # Both functions are pure: a second try would fail too, and every other source would wait.
                    self.log.error("rest of a batch left out", window=self.label, exc_info=error)
                self._position = batch.position
            # Everything else in the process must not wait for a backlog of hours.
            await asyncio.sleep(0)

    def _take(self, reading: Reading, batch: ReadingsBatch) -> None:
        start = reading.at - reading.at % self._length
        # Batches that are read again after a restart were counted before.
        new = batch.position > self._seen.position
        if start < self._seen.closed_until:
            self._late += new
            return
        # `closed_until` too: a driven clock that was not told the time since a restart may be behind it.
        if start > max(batch.received_at, self._seen.closed_until) + self._length + self._late_us:
            self._ahead += new
            return
        opened = self._open.get(start)
        if opened is None:
            opened = self._open[start] = _Open(batch.position)
        opened.states[reading.key] = self._fold(opened.states.get(reading.key), reading.value)

    # -- closing --------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        if self._stopped:
            return
        clock = self.container.process.clock
        now = clock.now()
        if self._service_models.leadership.take():
            await clock.carry_out(self._close(now))
        if self._stopped:
            return
        # The next moment at which a window can be closed. If city time leaps, moments at which none can be are left out:
        # a leap of a day is not 86,400 looks at a window of a second.
        first = min(self._open, default=None)
        nothing_until = clock.heading_for() if first is None else first + self._length + self._late_us
        base = max(now, nothing_until - self._length)
        self._timer = clock.at(base - (base - self._late_us) % self._length + self._length, self._tick)

    async def _close(self, now: int) -> None:
        await self._ready.wait()
        try:
            await self._log.up_to_now(self._topic)
            async with self._lock:
                await self._adopt()
                # All batches that came before this moment are folded, so windows that are over are complete.
                await self._catch_up()
                await self._close_until(now)
        except Exception as error:
            self.trouble = f"windows cannot be closed: {describe(error)}"
            self.log.error("windows are closed later", window=self.label, exc_info=error)

    async def _adopt(self) -> None:
        """Drops windows that another process has handed to its method meanwhile."""
        seen = await self._service_models.models.windows_seen(self.label)
        if seen.closed_until >= self._seen.closed_until:
            self._seen = seen
            for start in [start for start in self._open if start < seen.closed_until]:
                del self._open[start]

    async def _close_until(self, now: int) -> None:
        for start in sorted(self._open):
            if start + self._length + self._late_us > now:
                break
            window = Window(start, start + self._length, self._open[start].states, self._late, self._ahead)
            await self._tell(window)
            del self._open[start]
            self._late = self._ahead = 0
            await self._remember(window.end)

    async def _remember(self, closed_until: int) -> None:
        resume = min((opened.first_position - 1 for opened in self._open.values()), default=self._position)
        self._seen = WindowsSeen(closed_until, resume, self._position)
        await self._service_models.models.save_windows_seen(self.label, self._seen)

    async def _tell(self, window: Window) -> None:
        """Hands a window to the method until that succeeds. One that fails by its own fault is given up after some tries."""
        pause, tries = _FIRST_PAUSE_S, 0
        while True:
            try:
                await self.run(window)
                self.trouble = ""
                return
            except Exception as error:
                self.trouble = f"a window cannot be told: {describe(error)}"
                tries += lasting(error)
                last = tries >= _TRIES
                self.log.error(
                    "window given up" if last else "window failed and is tried again", window=self.label,
                    start=window.start, exc_info=error,
                )  # fmt: skip
                if last:
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def run(self, window: Window) -> None:
        """Hands a window to the method, in a worker; raises what the method raised."""
        with WorkSpan(self.tracer, f"window {self.label}", trace.SpanKind.CONSUMER):
            ctx.enter(ctx.Call(self.subject, self.label, str(window.start)))
            await self.container.run_worker(self, window, patient=True)


def window(batch: type[Message], *, seconds: float, readings: ReadingsOf, fold: Fold, late_s: float = 5.0) -> Callable[[F], F]:
    """Makes a method get windows of readings: `def minute(self, window: Window)`, once each, in order.

    `batch`: the message that a `Readings` provider puts. `readings` takes the readings out of a batch. `fold(state, value)`
    adds a reading to a key's state (None: the first). Both are pure. A window is handed over `late_s` seconds of city time
    after its end.
    """
    decorator: Callable[[F], F] = Windows.decorator(batch, seconds, readings=readings, fold=fold, late_s=late_s)
    return decorator
