"""A lead that a fault takes away for a while: meanwhile another process may have it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from citybrain.mesh.storage.leadership import Leadership, MayBeLost

LIMIT_S = 30.0


class Fault:
    """Switched on and off by a test."""

    on = False

    def __call__(self) -> bool:
        return self.on


def leads(folder: Path, fault: Callable[[], bool] = lambda: False) -> MayBeLost:
    """As one process has it."""
    return MayBeLost(Leadership(folder / "a.lead"), fault)


def test_while_it_is_lost_another_process_leads_and_keeps_the_lead(tmp_path: Path) -> None:
    async def test() -> None:
        fault = Fault()
        one, other = leads(tmp_path, fault), leads(tmp_path)
        await one.gained()
        fault.on = True
        one.lose()
        assert not one.leads and not one.take()
        # It waits for its lead as a process does, and must not hold what it may not use.
        waiting = asyncio.ensure_future(one.gained())
        await asyncio.sleep(0)
        await asyncio.wait_for(other.gained(), LIMIT_S)
        fault.on = False
        assert other.leads and not one.take()
        other.give_up()
        await asyncio.wait_for(waiting, LIMIT_S)
        assert one.leads
        one.give_up()

    asyncio.run(test())


class Noted(Leadership):
    """Notes that it was taken."""

    taken = False

    @override
    def take(self) -> bool:
        self.taken = super().take() or self.taken
        return self.leads


def test_a_process_that_stands_by_when_it_is_lost_gives_up_at_once_what_it_comes_to_have(tmp_path: Path) -> None:
    async def test() -> None:
        fault, lock = Fault(), Noted(tmp_path / "a.lead")
        one, other = MayBeLost(lock, fault), leads(tmp_path)
        await other.gained()
        waiting = asyncio.ensure_future(one.gained())
        await asyncio.sleep(0)
        fault.on = True
        other.give_up()
        end = time.monotonic() + LIMIT_S
        while not lock.taken:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        await asyncio.wait_for(other.gained(), LIMIT_S)
        assert not waiting.done()
        waiting.cancel()
        other.give_up()

    asyncio.run(test())
