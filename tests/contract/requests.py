"""What keeps request ids promises (ES-15). One joins by a subclass that opens it; the second time, as another process would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import ClassVar

import pytest

from citybrain.event_store.requests import Bound, RequestBook
from citybrain.event_store.store import Features

Test = Callable[[RequestBook], Awaitable[None]]
METHOD = "citybrain.health.v1.HealthService/ReserveBed"
DAY_S = 86_400


class RequestBookContract:
    """ES-15."""

    features: ClassVar[Features]

    def requests(self, folder: Path, kept_s: int = DAY_S) -> AbstractAsyncContextManager[RequestBook]:
        """Opens the place in a folder."""
        raise NotImplementedError

    def others(self, folder: Path, book: RequestBook) -> AbstractAsyncContextManager[RequestBook]:
        """What another process has open of the same place; the very one where only one process may."""
        return self.requests(folder) if self.features.several_processes else nullcontext(book)

    def on_requests(self, folder: Path, test: Test, kept_s: int = DAY_S) -> None:
        async def run() -> None:
            async with self.requests(folder, kept_s) as book:
                await asyncio.wait_for(test(book), 60)

        asyncio.run(run())

    def test_es15_the_same_request_goes_on_as_often_as_it_comes_in_every_process(self, tmp_path: Path) -> None:
        async def test(book: RequestBook) -> None:
            async with self.others(tmp_path, book) as others:
                for one in (book, others, book, others):
                    assert await one.bind("again", "app/wang", METHOD, b"one") is None

        self.on_requests(tmp_path, test)

    @pytest.mark.parametrize(
        ("caller", "method", "content", "differs"),
        [
            ("app/li", METHOD, b"one", ("caller",)),
            ("app/wang", METHOD[:-1], b"one", ("method",)),
            ("app/wang", METHOD, b"two", ("content",)),
            ("app/wang", METHOD, b"", ("content",)),
            ("app/li", METHOD[:-1], b"two", ("caller", "method", "content")),
        ],
    )
    def test_es15_another_use_of_an_id_is_refused_and_told_what_differs(
        self, caller: str, method: str, content: bytes, differs: tuple[str, ...], tmp_path: Path
    ) -> None:
        async def test(book: RequestBook) -> None:
            used = f"used {caller} {method} {content!r}"
            assert await book.bind(used, "app/wang", METHOD, b"one") is None
            async with self.others(tmp_path, book) as others:
                for one in (others, book, others):
                    found = await one.bind(used, caller, method, content)
                    assert isinstance(found, Bound) and found.differs == differs
                assert await others.bind(used, "app/wang", METHOD, b"one") is None, "a refusal binds nothing"

        self.on_requests(tmp_path, test)

    def test_es15_ids_do_not_touch_each_other_and_any_text_is_one(self, tmp_path: Path) -> None:
        async def test(book: RequestBook) -> None:
            ids = ["", "a", "a ", "A", "a\0", "ä", "号", "\ud800", "a" * 5000]
            for number, one in enumerate(ids):
                assert await book.bind(one, str(number), METHOD, b"") is None
            for number, one in enumerate(ids):
                assert await book.bind(one, str(number), METHOD, b"") is None
                assert await book.bind(one, "other", METHOD, b"") == Bound(("caller",))

        self.on_requests(tmp_path, test)

    def test_es15_of_different_requests_at_the_same_time_at_most_one_goes_on(self, tmp_path: Path) -> None:
        async def test(book: RequestBook) -> None:
            async with self.others(tmp_path, book) as others:
                for number in range(20):
                    uses = [(one, str(which).encode()) for which, one in enumerate((book, others) * 4)]
                    answers = await asyncio.gather(*(one.bind(f"race {number}", "x", METHOD, use) for one, use in uses))
                    assert answers.count(None) <= 1

        self.on_requests(tmp_path, test)

    def test_es15_the_same_request_many_times_at_once_goes_on(self, tmp_path: Path) -> None:
        async def test(book: RequestBook) -> None:
            async with self.others(tmp_path, book) as others:
                same = [one.bind("all at once", "x", METHOD, b"") for one in (book, others) * 10]
                assert await asyncio.gather(*same) == [None] * 20

        self.on_requests(tmp_path, test)

    def test_es15_an_id_is_free_again_after_its_time(self, tmp_path: Path) -> None:
        async def test(book: RequestBook) -> None:
            assert await book.bind("short", "x", METHOD, b"one") is None
            while await book.bind("short", "x", METHOD, b"two"):
                await asyncio.sleep(0.02)

        self.on_requests(tmp_path, test, kept_s=1)

    def test_es15_no_time_is_for_ever(self, tmp_path: Path) -> None:
        async def test(book: RequestBook) -> None:
            assert await book.bind("long", "x", METHOD, b"one") is None
            assert await book.bind("long", "x", METHOD, b"two") == Bound(("content",))

        self.on_requests(tmp_path, test, kept_s=0)
