"""What stands in the log and is no event holds up nothing that looks at the log in another way than a subscription does."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from citybrain.event_store.feed import _last_moment_of, position_before
from citybrain.event_store.sqlite import SqliteEventStore
from citybrain.event_store.store import LogPage, StoredEvent, Unreadable
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.testing.parts import Parts, on_parts
from tests.unit.mesh.test_rebuild import Shelf, counted, opened, write


class Spoilt:
    """A log with an event at each minute of an hour, of which some cannot be read."""

    def __init__(self, *spoilt: int) -> None:
        self.spoilt = spoilt

    def head(self) -> int:
        return 60

    async def grown(self, after: int) -> int:
        return 60

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        places = range(after + 1, min(60, after + limit) + 1)
        events = [
            StoredEvent("e", "t", b"", at * 60_000_000, "", "", "", "", "", 2, "s", at, at * 60_000_000, at)
            for at in places
            if at not in self.spoilt
        ]
        unreadable = [Unreadable(at, "here", "spoilt") for at in places if at in self.spoilt]
        return LogPage(events, max([after, *places]), unreadable)


@pytest.mark.parametrize("spoilt", [(), (30,), range(20, 50), (60,), range(2, 61), range(1, 60)])
def test_the_place_of_a_moment_is_found_whatever_cannot_be_read(spoilt: Collection[int]) -> None:
    log = Spoilt(*spoilt)
    for minute in range(1, 61):
        place = asyncio.run(position_before(log, datetime.fromtimestamp(minute * 60, UTC)))
        before = [at for at in range(1, minute) if at not in spoilt]
        assert place >= max(before, default=0), "nothing that was recorded earlier is behind it"
        assert not [at for at in range(minute, place + 1) if at not in spoilt], "and nothing later is before it"


@pytest.mark.parametrize(("spoilt", "minute"), [((), 60), ((60,), 59), (range(20, 61), 19), (range(1, 61), 0)])
def test_the_last_moment_of_a_log_is_that_of_its_last_event(spoilt: Collection[int], minute: int) -> None:
    assert asyncio.run(_last_moment_of(Spoilt(*spoilt))) == minute * 60_000_000


@pytest.mark.tells("field at")
def test_a_view_is_rebuilt_over_what_is_no_event_and_goes_on_telling_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = SqliteEventStore.read_log

    async def spoilt(self: SqliteEventStore, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        page = await honest(self, after, limit, types)
        return replace(page, unreadable=[Unreadable(1, "here@0", "header ce_time is missing")] if after < 1 else [])

    monkeypatch.setattr(SqliteEventStore, "read_log", spoilt)

    def test(parts: Parts) -> None:
        view = opened(parts, counted)
        write(parts, "a", "b")
        parts.until(lambda: view.get("k") == Shelf(2))
        wait(view.rebuild())
        parts.until(lambda: wait(view.rebuilding()).live == 2)
        assert view.get("k") == Shelf(2)
        ((parked,),) = wait(view.member.parked()).values()
        assert (parked.stream, parked.reason) == ("here@0", "it is no event: header ce_time is missing")

    on_parts(tmp_path, test)
