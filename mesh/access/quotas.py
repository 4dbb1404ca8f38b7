"""What each consumer may use on a day. Counted in memory, so that a call costs no I/O; processes exchange counts each second.

A consumer is a caller outside of the mesh, by the subject of their token. A call counts once it is admitted, whatever the
service then answers; one that is refused before does not count. Days are those of Hangzhou, by the wall clock.

**How much too many.** A process refuses by its own count and by what the others had written at the last exchange. So two things
go beyond a quota: what a consumer sends to several processes within about two seconds (one of counting, one of reading), and
while the store is away what they send to other processes. One process alone admits not one call too many. From its start on it
knows what was counted before.

**Memory.** After each exchange the consumers that were seen least recently are dropped; what they used is in the store. If they
come back they are counted from 0 until the next exchange. While the store is away twice as many are held; then the oldest count
is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from citybrain.event_store.quotas import Key, QuotaBook, Used
from citybrain.event_store.store import StoreError
from citybrain.mesh.access.limits import CLASSES, DAY_S, OFFSET_S, digest_of, limits_of, used_up
from citybrain.mesh.access.principal import Principal
from citybrain.mesh.settings.values import Quotas as Configured
from citybrain.observability.logs import logger

EXCHANGE_S = 1.0
"""How often a process writes what it has counted, and reads what others have."""
MOST_KNOWN = 10_000
"""The consumers that a process holds in memory."""

_CLOSE_S = 5.0
_UNUSED = Used(0, 0)
_log = logger("quotas")


class _Consumer:
    """What a consumer has used today, by class. `used`: of all processes, as far as is known; `own`: of this one."""

    __slots__ = ("digest", "limits", "new", "own", "principal", "used", "written")

    def __init__(self, principal: Principal, digest: bytes, used: Sequence[int], limits: tuple[float, ...]) -> None:
        self.principal = principal
        self.digest = digest
        self.limits = limits
        self.used = list(used)
        self.own = [0, 0, 0]
        self.written = [0, 0, 0]
        # Its rows of this process, from before it was dropped, have not been read.
        self.new = True

    def learn(self, stored: Mapping[Key, Used]) -> None:
        """Takes over what others have written, and the first time what this process has."""
        for number, name in enumerate(CLASSES):
            found = stored.get((self.digest, name), _UNUSED)
            if self.new:
                self.own[number] += found.own
                self.written[number] = found.own
            self.used[number] = self.own[number] + found.others
        self.new = False


@dataclass(frozen=True, slots=True)
class Use:
    """What a consumer has used today. `principal`: None if this process has not seen them."""

    consumer: bytes
    principal: Principal | None
    used: Mapping[str, int]
    # By class; 0: no limit. Empty where the consumer is not known.
    limits: Mapping[str, int]


class Quotas:
    """Of one process. `begin` inside the running event loop, `close` at the end. `now`: seconds since 1970."""

    def __init__(
        self,
        book: Callable[[], QuotaBook],
        configured: Configured,
        *,
        now: Callable[[], float] = time.time,
        exchange_s: float = EXCHANGE_S,
        most_known: int = MOST_KNOWN,
    ) -> None:
        """`book` opens the place of the counts; it is asked for it at each exchange."""
        self._book = book
        self._configured = configured
        self._now = now
        self._exchange_s = exchange_s
        self._most = most_known
        self._process = os.urandom(8)
        self._known: OrderedDict[str, _Consumer] = OrderedDict()
        # Those who have called since the last exchange.
        self._called: dict[str, _Consumer] = {}
        # What was used before this process began, by those whom it has not seen yet.
        self._before: dict[bytes, dict[str, int]] = {}
        self._lost = 0
        self._away = False
        self._exchanging = asyncio.Lock()
        self._closing = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._begin_day(now())

    # -- for the guard ----------------------------------------------------------------------------------------------------

    def admit(self, caller: Principal, number: int) -> None:
        """Counts a call of a class. QuotaUsed: the caller has used up what they may use of it today."""
        if caller.is_service:
            return
        now = self._look()
        subject = caller.subject
        one = self._known.get(subject)
        if one is None:
            one = self._meet(caller)
        elif one.principal is not caller:
            one.principal, one.limits = caller, limits_of(caller, self._configured)
        self._known.move_to_end(subject)
        if one.used[number] >= one.limits[number]:
            raise used_up(caller, number, int(one.limits[number]), self._ends, now)
        one.used[number] += 1
        one.own[number] += 1
        self._called[subject] = one

    def _look(self) -> float:
        """The time now; if it is another day, that begins."""
        now = self._now()
        if not self._begins <= now < self._ends:
            self._begin_day(now)
        return now

    def _begin_day(self, now: float) -> None:
        """What was counted of another day and not written yet is dropped: nobody asks for it any more."""
        self._day = int((now + OFFSET_S) // DAY_S)
        self._begins = self._day * DAY_S - OFFSET_S
        self._ends = self._begins + DAY_S
        self._known.clear()
        self._called.clear()
        self._before.clear()

    def _meet(self, caller: Principal) -> _Consumer:
        if len(self._known) >= 2 * self._most:
            dropped, _ = self._known.popitem(last=False)
            self._lost += self._called.pop(dropped, None) is not None
        digest = digest_of(caller.subject)
        before = self._before.pop(digest, {})
        one = self._known[caller.subject] = _Consumer(
            caller, digest, [before.get(name, 0) for name in CLASSES], limits_of(caller, self._configured)
        )
        return one

    # -- exchanging -------------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Reads what was used today, and exchanges from now on. If the store is away, the counts begin at 0."""
        try:
            self._before = await self._book().most_used(self._day, self._most)
        except StoreError as error:
            self._tell(error)
        self._running = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Writes what is not written yet."""
        self._closing.set()
        with contextlib.suppress(TimeoutError):
            if self._running is not None:
                await asyncio.wait_for(self._running, _CLOSE_S)
            if self._called:
                await asyncio.wait_for(self._tried(), _CLOSE_S)
        if self._called:
            _log.error("counts of quotas are lost: the store took nothing while this process stopped")

    async def exchange(self) -> None:
        """Reads what others have counted for those who called here, and writes what was counted here. StoreError: try again."""
        async with self._exchanging:
            day, called, self._called = self._day, self._called, {}
            try:
                await self._exchange(day, called)
            except BaseException:
                if day == self._day:
                    for subject, one in called.items():
                        if self._known.get(subject) is one:
                            self._called.setdefault(subject, one)
                        else:
                            self._lost += 1
                raise
            if (many := len(self._known) - self._most) > 0:
                for subject in [one for one in self._known if one not in self._called][:many]:
                    del self._known[subject]

    async def _exchange(self, day: int, called: Mapping[str, _Consumer]) -> None:
        if not called:
            return
        book = self._book()
        stored = await book.read(day, [one.digest for one in called.values()], self._process)
        if day != self._day:
            return
        for one in called.values():
            one.learn(stored)
        counted = [(one, list(one.own)) for one in called.values()]
        own = {
            (one.digest, name): now[number]
            for one, now in counted
            for number, name in enumerate(CLASSES)
            if now[number] != one.written[number]
        }
        if own:
            await book.write(day, self._process, own)
        for one, now in counted:
            one.written = now

    async def _run(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._exchange_s)
            await self._tried()

    async def _tried(self) -> None:
        """Exchanges; what is not exchanged now is the next time."""
        try:
            await self.exchange()
        except Exception as error:
            # An unexpected error too: counting must go on.
            self._tell(error)
        else:
            if self._away:
                _log.info("quotas are exchanged with other processes again")
            self._away = False
        if self._lost:
            _log.warning("counts of quotas are lost: too many consumers, and the store is away", consumers=self._lost)
            self._lost = 0

    def _tell(self, error: Exception) -> None:
        if not self._away:
            unexpected = None if isinstance(error, StoreError) else error
            _log.warning("quotas are counted in this process alone: the store is away", error=error, exc_info=unexpected)
        self._away = True

    # -- for who asks of themselves ---------------------------------------------------------------------------------------

    async def of(self, caller: Principal) -> Use:
        """What a caller has used today in all processes, and may use. StoreError: it is not known."""
        self._look()
        await self.exchange()
        one = self._known.get(caller.subject)
        if one is None:
            # Services have no quota, and are not counted.
            one = _Consumer(caller, digest_of(caller.subject), [0] * len(CLASSES), (math.inf,) * len(CLASSES))
        return self._use(one.digest, one, dict(zip(CLASSES, one.used, strict=True)))

    # -- for operators ----------------------------------------------------------------------------------------------------

    @property
    def begins_anew(self) -> float:
        """When the next day begins, in seconds since 1970."""
        self._look()
        return self._ends

    async def today(self, most: int) -> list[Use]:
        """Those who have used most today in all processes, with their names as far as this one knows them. StoreError."""
        self._look()
        await self.exchange()
        found = await self._book().most_used(self._day, most)
        known = {one.digest: one for one in self._known.values()}
        return [self._use(digest, known.get(digest), used) for digest, used in found.items()]

    def _use(self, digest: bytes, one: _Consumer | None, used: Mapping[str, int]) -> Use:
        if one is None:
            return Use(digest, None, used, {})
        limits = {name: 0 if limit == math.inf else int(limit) for name, limit in zip(CLASSES, one.limits, strict=True)}
        return Use(digest, one.principal, used, limits)
