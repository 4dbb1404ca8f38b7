"""Reads that come while one is under way share the next one, and each sees what was there when it was asked for, or later."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from citybrain.mesh.runtime import gathering
from citybrain.mesh.runtime.gathering import Gathered


class Shelf:
    """Values by keys; a read takes until it is let go."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {"a": 1, "b": 2, "c": 3}
        self.reads: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def read(self, keys: Collection[str]) -> dict[str, int]:
        self.reads.append(list(keys))
        await self.go.wait()
        if "bad" in keys:
            raise ValueError("bad cannot be read")
        return {key: self.values[key] for key in keys if key in self.values}


def test_one_that_comes_alone_is_read_at_once_and_those_that_come_meanwhile_together() -> None:
    async def work() -> None:
        shelf = Shelf()
        shelf.go.clear()
        gathered = Gathered(shelf.read)
        first = asyncio.ensure_future(gathered.get("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(gathered.get(key)) for key in ("b", "c", "b", "nobody")]
        await asyncio.sleep(0)
        # What changes before the second read begins is seen by it.
        shelf.values["b"] = 20
        shelf.go.set()
        assert await first == 1
        assert await asyncio.gather(*others) == [20, 3, 20, None]
        assert shelf.reads == [["a"], ["b", "c", "nobody"]]
        assert await gathered.get("a") == 1 and shelf.reads[-1] == ["a"]

    asyncio.run(work())


def test_a_key_that_cannot_be_read_spoils_nothing_for_others() -> None:
    async def work() -> None:
        gathered = Gathered(Shelf().read)
        a, bad, b = await asyncio.gather(*map(gathered.get, ("a", "bad", "b")), return_exceptions=True)
        assert (a, b) == (1, 2) and isinstance(bad, ValueError)
        with pytest.raises(ValueError, match="bad cannot be read"):
            await gathered.get("bad")
        assert await gathered.get("c") == 3

    asyncio.run(work())


def test_who_goes_meanwhile_holds_up_nobody() -> None:
    async def work() -> None:
        shelf = Shelf()
        shelf.go.clear()
        gathered = Gathered(shelf.read)
        gone, stays = (asyncio.ensure_future(gathered.get(key)) for key in ("a", "b"))
        await asyncio.sleep(0)
        gone.cancel()
        shelf.go.set()
        assert await stays == 2

    asyncio.run(work())


def test_a_read_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOST", 2)

    async def work() -> None:
        shelf = Shelf()
        assert await asyncio.gather(*map(Gathered(shelf.read).get, "abc")) == [1, 2, 3]
        assert [len(keys) for keys in shelf.reads] == [2, 1]

    asyncio.run(work())
