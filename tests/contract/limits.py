"""ES-14: what an append may hold. What is over it is refused and not written, and whatever is not comes out of the log.

An engine joins by one subclass that opens it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.event_store import limits
from citybrain.event_store.store import ANY, NO_STREAM, EventStore, LimitExceeded, NewEvent
from tests.contract.store import StoreEngine, event, versions

Append = tuple[str, NewEvent]
_LONG = "x" * (limits.MAX_TEXT_BYTES + 1)
_REFUSED: dict[str, tuple[str, list[NewEvent], str]] = {
    "none": ("s", [], "at least one"),
    "no name": ("", [event()], "stream id"),
    "long name": ("s" * 201, [event()], "stream id"),
    "long name in Chinese": ("区" * 67, [event()], "stream id"),
    "a service with a capital": ("Health/x", [event()], "Health/x"),
    "a way out of the folder": ("../x", [event()], "service"),
    "a service in Chinese": ("城市 a/b", [event()], "service"),
    "no service before the slash": ("/x", [event()], "service"),
    "half a letter": ("s\ud800", [event()], "stream id"),
    "large": ("s", [event(data=b"x" * (limits.MAX_EVENT_BYTES + 1))], str(limits.MAX_EVENT_BYTES)),
    "large with what is sealed": ("s", [event(data=b"x" * limits.MAX_EVENT_BYTES, sealed=b"x")], str(limits.MAX_EVENT_BYTES)),
    "many": ("s", [event() for _ in range(101)], "100 events"),
    "much in all": ("s", [event(data=b"x" * limits.MAX_EVENT_BYTES) for _ in range(5)], str(limits.MAX_APPEND_BYTES)),
    "before the year 1": ("s", [replace(event(), occurred_at=limits.FIRST_MOMENT - 1)], "occurred_at"),
    "after the year 9999": ("s", [event(), replace(event(), occurred_at=limits.LAST_MOMENT + 1)], "occurred_at"),
    "no id": ("s", [replace(event(), id="")], "id"),
    "no type": ("s", [replace(event(), type="")], "type"),
    "a classification that is none": ("s", [replace(event(), classification=128)], "classification"),
    **{
        f"long {name}": ("s", [replace(event(), **{name: _LONG})], name)  # type: ignore[arg-type]
        for name in ("id", "type", "traceparent", "correlation_id", "causation_id", "actor", "district")
    },
    "half a letter of an actor": ("s", [replace(event(), actor="\udfff")], "actor"),
}

# What there is of letters, the odd ones among them; half letters cannot be said in a name of a file or a line of a log.
_TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "城市 a/b", "../x", "a\0b", "\x1b[31m", "区" * 400, "x" * 1024, _LONG, "\U0001f691" * 256, "\ud800"]),
)
_NAME = st.one_of(_TEXT, st.sampled_from(["health/ambulance-1", "health/救护车", "Health/x", "a/b/c", "x" * 200, "区" * 66]))
_MOMENT = st.one_of(st.integers(), st.sampled_from([limits.FIRST_MOMENT, limits.LAST_MOMENT, limits.LAST_MOMENT + 1, -(2**63)]))
_EVENT = st.builds(
    NewEvent, _TEXT, _TEXT, st.binary(max_size=50), _MOMENT, _TEXT, _TEXT, _TEXT, _TEXT, _TEXT, st.integers(-2, 130),
    st.binary(max_size=50),
)  # fmt: skip


def _appends(examples: int) -> list[Append]:
    """The same in every run."""
    found: list[Append] = []

    @settings(max_examples=examples, derandomize=True, database=None)
    @given(_NAME, _EVENT, st.sets(st.sampled_from(["id", "type", "occurred_at", "classification", "texts"])))
    def collect(stream: str, odd: NewEvent, kept: set[str]) -> None:
        # An event in which all is odd is refused: of most something is left odd, and the rest is as it should be.
        plain = event()
        fields: dict[str, Any] = {name: getattr(plain, name) for name in ("id", "type", "occurred_at", "classification")}
        mended = replace(odd, **{name: value for name, value in fields.items() if name not in kept})
        if "texts" not in kept:
            mended = replace(mended, traceparent="", correlation_id="incident", causation_id="", actor="", district="")
        found.append((stream, mended))

    collect()
    return found


class LimitsContract(StoreEngine):
    """ES-14."""

    # How many appends are made up.
    appends = 200

    def test_es14_an_append_over_the_limits_is_refused_by_its_name_and_writes_nothing(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            for what, (stream, events, named) in _REFUSED.items():
                # What is told is about the field that is wrong.
                with pytest.raises(LimitExceeded, match=named):
                    await store.append(stream, events, ANY)
                    raise AssertionError(f"{what} was not refused")
            await store.append("s", [event("a")], NO_STREAM)
            assert [e.id for e in await self.until_seen(store, 1)] == ["a"]

        self.on_store(tmp_path, test)

    def test_es14_an_append_at_the_limits_is_written(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            stream = "区" * 66
            large = [event(data=b"x" * limits.MAX_EVENT_BYTES) for _ in range(4)]
            assert versions(await store.append(stream, large, NO_STREAM)) == (1, 4)
            assert versions(await store.append(stream, [event() for _ in range(100)], 4)) == (5, 104)
            assert [len(e.data) for e in await store.read(stream, 1, 5)] == [limits.MAX_EVENT_BYTES] * 4 + [1]

        self.on_store(tmp_path, test)

    def test_es14_whatever_an_append_takes_comes_out_of_the_log_as_it_went_in(self, tmp_path: Path) -> None:
        async def test(store: EventStore) -> None:
            taken: list[Append] = []
            # What is as large as it may be, in every field at once.
            full = "区" * 341
            largest = NewEvent(full, full, b"x" * 1000, limits.LAST_MOMENT, full, full, full, full, full, 127, b"y" * 261_000)
            for stream, new in [("s", largest), *_appends(self.appends)]:
                try:
                    await store.append(stream, [new], ANY)
                except LimitExceeded:
                    continue
                taken.append((stream, new))
            unlike = {(stream, new.id): new for stream, new in reversed(taken)}
            assert len(unlike) > self.appends // 10
            heard = await self.until_seen(store, len(unlike))
            assert len(heard) == len(unlike)
            for stored in heard:
                new = unlike[stored.stream, stored.id]
                assert [getattr(stored, name) for name in NewEvent.__slots__] == [
                    getattr(new, name) for name in NewEvent.__slots__
                ]

        self.on_store(tmp_path, test)
