"""City time: driven from outside it fires what is due, at its own moment and in order; by the wall it fires in time."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.runtime.clock import CityClock, DrivenClock, WallClock

SECOND = 1_000_000


class Fired:
    """Notes what fired, and at which city time."""

    def __init__(self, clock: CityClock) -> None:
        self.clock = clock
        self.log: list[tuple[str, int]] = []

    def at(self, due: int, name: str = "", then: Callable[[], object] = lambda: None) -> None:
        async def fire() -> None:
            self.log.append((name or str(due), self.clock.now()))
            then()

        self.clock.at(due, fire)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.log]


def test_time_stands_until_it_is_moved_and_never_goes_back() -> None:
    clock = DrivenClock()
    assert clock.now() == 0
    assert asyncio.run(clock.advance(100)) == 100
    assert asyncio.run(clock.advance(50)) == 100
    assert clock.now() == 100


def test_each_timer_fires_at_its_own_moment_and_those_of_one_moment_in_the_order_they_were_set() -> None:
    clock = DrivenClock()
    asyncio.run(clock.advance(1))
    fired = Fired(clock)
    for due, name in ((30, "c"), (10, "a"), (30, "d"), (20, "b"), (41, "later")):
        fired.at(due, name)
    asyncio.run(clock.advance(40))
    assert fired.log == [("a", 10), ("b", 20), ("c", 30), ("d", 30)]
    assert clock.now() == 40


def test_a_timer_set_while_another_fires_fires_on_the_same_way_when_it_is_due() -> None:
    clock = DrivenClock()
    asyncio.run(clock.advance(1))
    fired = Fired(clock)

    def more() -> None:
        for due, name in ((10, "same"), (15, "between"), (99, "later")):
            fired.at(due, name)

    fired.at(10, "first", more)
    fired.at(20, "last")
    asyncio.run(clock.advance(30))
    assert fired.log == [("first", 10), ("same", 10), ("between", 15), ("last", 20)]


def test_after_a_restart_nothing_fires_until_the_time_is_told_and_then_all_that_is_late_fires_now() -> None:
    clock = DrivenClock(last=100)
    fired = Fired(clock)
    fired.at(90)
    fired.at(110)
    fired.at(130)
    assert (clock.now(), fired.log) == (100, [])
    asyncio.run(clock.advance(120))
    assert fired.log == [("90", 120), ("110", 120)]


def test_after_a_restart_a_driver_that_is_behind_the_log_still_fires_what_is_late() -> None:
    clock = DrivenClock(last=100)
    fired = Fired(clock)
    fired.at(90)
    fired.at(110)
    assert asyncio.run(clock.advance(50)) == 100
    assert fired.log == [("90", 100)]


def test_an_advance_that_was_cut_off_goes_on_when_it_is_repeated() -> None:
    async def test() -> None:
        clock = DrivenClock(last=100)
        fired = Fired(clock)
        reached = asyncio.Event()

        async def hang() -> None:
            reached.set()
            await asyncio.Event().wait()

        clock.at(10, hang)
        fired.at(20)
        cut_off = asyncio.create_task(clock.advance(100))
        await reached.wait()
        cut_off.cancel()
        await asyncio.wait([cut_off])
        await clock.advance(100)
        assert fired.names == ["20"]

    asyncio.run(test())


@given(st.lists(st.integers(1, 60), max_size=20), st.lists(st.integers(0, 70), max_size=10))
def test_however_time_is_moved_every_timer_fires_once_in_order_and_when_it_is_due(dues: list[int], moves: list[int]) -> None:
    clock = DrivenClock()
    fired = Fired(clock)
    for number, due in enumerate(dues):
        fired.at(due, f"{number}")
    told = 0
    for move in moves:
        asyncio.run(clock.advance(move))
        told = max(told, move)
        assert clock.now() == told
    due_now = sorted((due, number) for number, due in enumerate(dues) if due <= told and moves)
    assert fired.names == [str(number) for _, number in due_now]
    assert all(moment >= dues[int(name)] for name, moment in fired.log)


def by_the_wall(test: Callable[[WallClock], Awaitable[None]]) -> None:
    async def run() -> None:
        clock = WallClock()
        task = asyncio.create_task(clock.run())
        await asyncio.wait_for(test(clock), 60)
        task.cancel()

    asyncio.run(run())


def test_by_the_wall_a_timer_set_earlier_than_the_one_slept_for_wakes_the_sleeper() -> None:
    async def test(clock: WallClock) -> None:
        order: list[str] = []
        done = asyncio.Event()

        async def early() -> None:
            order.append("early")
            done.set()

        clock.at(clock.now() + 3600 * SECOND, early)
        # The clock has gone to sleep for the one that is far away.
        for _ in range(5):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.3, order.append, "much later")
        clock.at(clock.now() + SECOND // 100, early)
        await done.wait()
        assert order == ["early"]

    by_the_wall(test)


def test_timers_that_were_taken_back_keep_nothing_and_do_not_pile_up_until_they_would_be_due() -> None:
    clock = DrivenClock()
    fired = Fired(clock)

    class Kept:
        """What a timer is about."""

        async def fire(self) -> None:
            raise AssertionError("it was taken back")

    gone = []
    for number in range(10_000):
        kept = Kept()
        clock.at(3600 * SECOND + number, kept.fire).cancel()
        gone.append(weakref.ref(kept))
        del kept
        if number % 100 == 0:
            fired.at(number, f"{number}")
    assert not any(one() for one in gone)
    assert len(clock._due) < 2500
    asyncio.run(clock.advance(7200 * SECOND))
    assert fired.names == [str(number) for number in range(0, 10_000, 100)]
