"""Feeds over several partitions, each with a place of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citybrain.event_store.feed import FeedInTime, PartitionsFeed
from citybrain.event_store.store import Cursor, LogPage, StoredEvent


class Listed:
    """A partition with an event at each position that was recorded at the given moment; None: there is no event."""

    def __init__(self, name: str, moments: list[int | None]) -> None:
        self.name = name
        self.events = [None if at is None else stored(name, n, at) for n, at in enumerate(moments, 1)]

    def head(self) -> int:
        return len(self.events)

    async def grown(self, after: int) -> int:
        return self.head()

    async def read_log(self, after: int, limit: int = 1000, types: Collection[str] | None = None) -> LogPage:
        places = range(after, min(self.head(), after + limit))
        return LogPage([event for n in places if (event := self.events[n]) is not None], max([after, *(n + 1 for n in places)]))


def stored(name: str, position: int, at: int) -> StoredEvent:
    return StoredEvent(f"{name}{position}", "t", b"", at, "", "", "", "", "", 2, name, position, at, position)


def merged(logs: dict[str, Listed], limit: int, *, anew: bool, ahead: int) -> list[StoredEvent]:
    """All that a feed in time has. `anew`: it is opened again for each page; `ahead`: so far it reads ahead."""

    async def read() -> list[StoredEvent]:
        feed, place, found = FeedInTime(logs), dict[str, int](), list[StoredEvent]()
        while not feed.ended(place):
            page = await feed.read(place, limit)
            assert page.cursor != place, "a page that leads nowhere"
            found, place = found + page.events, dict(page.cursor)
            if anew:
                feed = FeedInTime(logs)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("citybrain.event_store.feed._READ_AHEAD", ahead)
        return asyncio.run(read())


def in_order(moments: list[int | None]) -> list[int | None]:
    """The same moments, each not before the one before; the places without an event stay."""
    known = iter(sorted(at for at in moments if at is not None))
    return [None if at is None else next(known) for at in moments]


@given(
    st.lists(st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=30), max_size=4),
    st.integers(1, 7),
    st.booleans(),
    st.integers(1, 9),
)
def test_a_feed_in_time_merges_what_is_there_once_and_each_partition_in_its_order(
    moments: list[list[int | None]], limit: int, anew: bool, ahead: int
) -> None:
    logs = {name: Listed(name, found) for name, found in zip("abcd", moments, strict=False)}

    found = merged(logs, limit, anew=anew, ahead=ahead)
    every = [event for log in logs.values() for event in log.events if event is not None]
    assert sorted(found) == sorted(every)
    for name in logs:
        assert [event.position for event in found if event.stream == name] == [e.position for e in every if e.stream == name]


@given(
    st.lists(st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=30).map(in_order), min_size=2, max_size=4),
    st.integers(1, 7),
    st.booleans(),
    st.integers(1, 9),
)
def test_a_feed_in_time_is_in_the_order_of_time_where_each_partition_is(
    moments: list[list[int | None]], limit: int, anew: bool, ahead: int
) -> None:
    logs = {name: Listed(name, found) for name, found in zip("abcd", moments, strict=False)}
    times = [event.recorded_at for event in merged(logs, limit, anew=anew, ahead=ahead)]
    assert times == sorted(times)


@pytest.mark.parametrize("kind", [PartitionsFeed, FeedInTime])
def test_a_place_in_a_partition_that_is_no_more_is_forgotten_and_a_new_partition_is_read_from_its_beginning(
    kind: type[PartitionsFeed],
) -> None:
    place: Cursor = {"old": 7, "stays": 2}
    feed = kind({"stays": Listed("stays", [1, 2, 3]), "new": Listed("new", [4, 5])})
    page = asyncio.run(feed.read(place))
    assert sorted(event.id for event in page.events) == ["new1", "new2", "stays3"]
    assert page.cursor == {"stays": 3, "new": 2}
