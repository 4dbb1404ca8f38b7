"""What city time promises, whoever moves it: it never goes back, and a timer fires once, in its turn, not before its moment.

A clock joins by one subclass that makes it and lets its time come to a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from citybrain.mesh.runtime.clock import MICROSECONDS, CityClock, Timer

Test = Callable[[CityClock], Awaitable[None]]
STEP = MICROSECONDS // 100
"""Between two moments of a test: short, since by the wall it is waited for."""


class Fired:
    """Notes what fired, and at which city time."""

    def __init__(self, clock: CityClock) -> None:
        self.clock = clock
        self.log: list[tuple[str, int, int]] = []

    def at(self, due: int, name: str, then: Callable[[], object] = lambda: None) -> Timer:
        """Sets a timer."""

        async def fire() -> None:
            self.log.append((name, due, self.clock.now()))
            then()

        return self.clock.at(due, fire)

    @property
    def names(self) -> list[str]:
        """What fired, in order."""
        return [name for name, _, _ in self.log]


class CityClockContract:
    """A clock that `city_clock` makes and `reach` brings to a moment."""

    limit_s = 60.0

    @asynccontextmanager
    async def city_clock(self) -> AsyncIterator[CityClock]:
        """A clock that runs, or stands until it is moved, and has a time."""
        raise NotImplementedError
        yield  # noqa: V201 (what makes it a context)

    async def reach(self, clock: CityClock, moment: int) -> None:
        """Returns when city time has come to a moment, and what was due has begun."""
        raise NotImplementedError

    def on_clock(self, test: Test) -> None:
        """Runs a test on a clock."""

        async def run() -> None:
            async with self.city_clock() as clock:
                await asyncio.wait_for(test(clock), self.limit_s)

        asyncio.run(run())

    def test_time_never_goes_back_and_comes_to_every_moment(self) -> None:
        async def test(clock: CityClock) -> None:
            start = last = clock.now()
            assert clock.heading_for() >= start
            for step in range(1, 4):
                await self.reach(clock, start + step * STEP)
                assert clock.now() >= max(last, start + step * STEP)
                last = clock.now()

        self.on_clock(test)

    def test_timers_fire_once_each_in_the_order_of_their_moments_and_none_before_its_own(self) -> None:
        async def test(clock: CityClock) -> None:
            start, fired = clock.now(), Fired(clock)
            for step, name in ((3, "c"), (1, "a"), (3, "d"), (2, "b"), (100_000, "later")):
                fired.at(start + step * STEP, name)
            assert fired.names == []
            await self.reach(clock, start + 4 * STEP)
            await self.reach(clock, start + 5 * STEP)
            assert fired.names == ["a", "b", "c", "d"]
            assert all(now >= due for _, due, now in fired.log)

        self.on_clock(test)

    def test_a_timer_whose_moment_has_passed_fires_at_the_next_one(self) -> None:
        async def test(clock: CityClock) -> None:
            start, fired = clock.now(), Fired(clock)
            fired.at(0, "late")
            fired.at(start + STEP, "due")
            await self.reach(clock, start + 2 * STEP)
            assert fired.names == ["late", "due"]

        self.on_clock(test)

    def test_a_timer_that_another_one_sets_fires_in_its_turn(self) -> None:
        async def test(clock: CityClock) -> None:
            start, fired = clock.now(), Fired(clock)
            fired.at(start + STEP, "first", lambda: fired.at(start + 2 * STEP, "set by the first"))
            fired.at(start + 3 * STEP, "last")
            await self.reach(clock, start + 4 * STEP)
            assert fired.names == ["first", "set by the first", "last"]

        self.on_clock(test)

    def test_a_timer_taken_back_does_not_fire(self) -> None:
        async def test(clock: CityClock) -> None:
            start, fired = clock.now(), Fired(clock)
            fired.at(start + STEP, "taken back").cancel()
            second = fired.at(start + 2 * STEP, "taken back by another")
            fired.at(start + STEP, "another", second.cancel)
            await self.reach(clock, start + 3 * STEP)
            assert fired.names == ["another"]

        self.on_clock(test)

    def test_what_a_timer_has_carried_out_is_done_to_its_end(self) -> None:
        async def test(clock: CityClock) -> None:
            start, done = clock.now(), asyncio.Event()

            async def work() -> None:
                await asyncio.sleep(0)
                done.set()

            async def fire() -> None:
                await clock.carry_out(work())

            clock.at(start + STEP, fire)
            await self.reach(clock, start + 2 * STEP)
            await done.wait()

        self.on_clock(test)
