"""What keeps counts of quotas promises. One joins by a subclass that opens it; the second time, as another process would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

from citybrain.event_store.quotas import QuotaBook, Used
from citybrain.event_store.store import Features

Test = Callable[[QuotaBook], Awaitable[None]]
ONE, OTHER = b"1" * 8, b"2" * 8


def consumer(number: int) -> bytes:
    """The digest of a consumer."""
    return number.to_bytes(1, "big") + b"c" * 31


LI, WANG = consumer(1), consumer(200)


class QuotaBookContract:
    """A day of its own for each test, since they may share a place."""

    features: ClassVar[Features]
    day = 20_000

    def quotas(self, folder: Path) -> AbstractAsyncContextManager[QuotaBook]:
        """Opens the place in a folder."""
        raise NotImplementedError

    def others(self, folder: Path, book: QuotaBook) -> AbstractAsyncContextManager[QuotaBook]:
        """What another process has open of the same place; the very one where only one process may."""
        return self.quotas(folder) if self.features.several_processes else nullcontext(book)

    def on_quotas(self, folder: Path, test: Test) -> None:
        QuotaBookContract.day += 2

        async def run() -> None:
            async with self.quotas(folder) as book:
                await asyncio.wait_for(test(book), 60)

        asyncio.run(run())

    def test_processes_add_up_and_each_is_told_which_part_is_its_own(self, tmp_path: Path) -> None:
        async def test(book: QuotaBook) -> None:
            async with self.others(tmp_path, book) as others:
                await book.write(self.day, ONE, {(LI, "read"): 3, (LI, "command"): 1, (WANG, "read"): 5})
                await others.write(self.day, OTHER, {(LI, "read"): 4})
                for one in (book, others):
                    assert await one.read(self.day, [LI], ONE) == {(LI, "read"): Used(3, 4), (LI, "command"): Used(1, 0)}
                    found = await one.read(self.day, [LI, WANG], OTHER)
                    assert (found[LI, "read"], found[WANG, "read"]) == (Used(4, 3), Used(0, 5))

        self.on_quotas(tmp_path, test)

    def test_a_write_takes_the_place_of_the_one_before_so_that_it_may_be_repeated(self, tmp_path: Path) -> None:
        async def test(book: QuotaBook) -> None:
            for used in (3, 3, 7, 7):
                await book.write(self.day, ONE, {(LI, "read"): used})
            await book.write(self.day, ONE, {(LI, "stream"): 1})
            assert await book.read(self.day, [LI], ONE) == {(LI, "read"): Used(7, 0), (LI, "stream"): Used(1, 0)}

        self.on_quotas(tmp_path, test)

    def test_days_are_apart_and_who_used_nothing_has_used_nothing(self, tmp_path: Path) -> None:
        async def test(book: QuotaBook) -> None:
            await book.write(self.day - 1, ONE, {(LI, "read"): 3})
            await book.write(self.day, ONE, {(LI, "read"): 1, (WANG, "read"): 2**40})
            assert (await book.read(self.day, [LI], ONE))[LI, "read"] == Used(1, 0)
            assert (await book.read(self.day, [WANG], ONE))[WANG, "read"] == Used(2**40, 0)
            assert (await book.read(self.day - 1, [LI], ONE))[LI, "read"] == Used(3, 0), "the day before is kept"
            assert await book.read(self.day, [], ONE) == {}
            nobody = await book.read(self.day, [consumer(9)], ONE)
            assert not any(used.own or used.others for used in nobody.values())

        self.on_quotas(tmp_path, test)

    def test_what_was_written_is_there_when_it_is_opened_again(self, tmp_path: Path) -> None:
        async def write(book: QuotaBook) -> None:
            await book.write(self.day, ONE, {(LI, "read"): 3})

        async def read() -> None:
            async with self.quotas(tmp_path) as book:
                assert (await book.read(self.day, [LI], OTHER))[LI, "read"] == Used(0, 3)

        self.on_quotas(tmp_path, write)
        if self.features.durable:
            asyncio.run(read())

    def test_those_who_used_most_come_first_with_the_sums_of_all_processes(self, tmp_path: Path) -> None:
        async def test(book: QuotaBook) -> None:
            for process in (ONE, OTHER):
                await book.write(self.day, process, {(consumer(n), "read"): n for n in range(1, 201)})
            await book.write(self.day, ONE, {(LI, "command"): 1_000})
            assert await book.most_used(self.day, 3) == {
                LI: {"read": 2, "command": 1_000},
                WANG: {"read": 400},
                consumer(199): {"read": 398},
            }
            assert len(await book.most_used(self.day, 1_000)) == 200
            assert await book.most_used(self.day + 1, 3) == {}

        self.on_quotas(tmp_path, test)
