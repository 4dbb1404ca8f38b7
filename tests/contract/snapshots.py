"""What keeps snapshots of streams (ES-10). One joins by a subclass that opens it; the second time, as another process would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

from citybrain.event_store.snapshots import Snapshot, Snapshots
from citybrain.event_store.store import Features

Test = Callable[[Snapshots], Awaitable[None]]
FIRST = Snapshot(100, "e100", "code-1", b'{"n": 1}')
NEXT = Snapshot(200, "e200", "code-2", bytes(range(256)) * 400)


class SnapshotsContract:
    """ES-10, as far as keeping goes: whether one is believed is for who takes it up."""

    features: ClassVar[Features]

    def snapshots(self, folder: Path) -> AbstractAsyncContextManager[Snapshots]:
        """Opens the place in a folder."""
        raise NotImplementedError

    def others(self, folder: Path, snapshots: Snapshots) -> AbstractAsyncContextManager[Snapshots]:
        """What another process has open of the same place; the very one where only one process may."""
        return self.snapshots(folder) if self.features.several_processes else nullcontext(snapshots)

    def on_snapshots(self, folder: Path, test: Test) -> None:
        async def run() -> None:
            async with self.snapshots(folder) as snapshots:
                await asyncio.wait_for(test(snapshots), 60)

        asyncio.run(run())

    def test_es10_what_is_kept_is_found_whole_in_every_process_and_the_next_takes_its_place(self, tmp_path: Path) -> None:
        async def test(snapshots: Snapshots) -> None:
            await snapshots.keep("traffic/signal-1", FIRST)
            async with self.others(tmp_path, snapshots) as others:
                assert await others.newest("traffic/signal-1") == FIRST
                await others.keep("traffic/signal-1", NEXT)
            assert await snapshots.newest("traffic/signal-1") == NEXT

        self.on_snapshots(tmp_path, test)

    def test_es10_of_another_stream_nothing_is_kept(self, tmp_path: Path) -> None:
        async def test(snapshots: Snapshots) -> None:
            await snapshots.keep("traffic/signal-2", FIRST)
            assert await snapshots.newest("traffic/signal-3") is None

        self.on_snapshots(tmp_path, test)

    def test_es10_what_is_being_kept_when_its_keeper_ends_breaks_nothing(self, tmp_path: Path) -> None:
        async def test(snapshots: Snapshots) -> None:
            async with self.others(tmp_path, snapshots) as leaving:
                keeping = leaving.keep("traffic/signal-4", FIRST)
            await asyncio.wait([keeping])
            assert await snapshots.newest("traffic/signal-4") in (None, FIRST)

        self.on_snapshots(tmp_path, test)
