"""Both city clocks: the wall's, and the one that is driven from outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from typing_extensions import override

from citybrain.mesh.runtime.clock import CityClock, DrivenClock, WallClock
from tests.contract.clock import CityClockContract


class TestDriven(CityClockContract):
    """Stands until it is moved."""

    @asynccontextmanager
    @override
    async def city_clock(self) -> AsyncIterator[CityClock]:
        clock = DrivenClock()
        await clock.advance(1_767_600_000_000_000)
        yield clock

    @override
    async def reach(self, clock: CityClock, moment: int) -> None:
        assert isinstance(clock, DrivenClock)
        await clock.advance(moment)


class TestWall(CityClockContract):
    """Goes by itself."""

    @asynccontextmanager
    @override
    async def city_clock(self) -> AsyncIterator[CityClock]:
        clock = WallClock()
        task = asyncio.create_task(clock.run())
        yield clock
        task.cancel()
        await asyncio.wait([task])

    @override
    async def reach(self, clock: CityClock, moment: int) -> None:
        come = asyncio.Event()

        async def fire() -> None:
            come.set()

        clock.at(moment, fire)
        await come.wait()
