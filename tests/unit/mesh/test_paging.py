"""Lists in pages: whatever comes and goes between two of them, what is there all the time is in one page and in no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.mesh.v1 import mesh_service_pb2 as mesh
from hypothesis import given
from hypothesis import strategies as st

from citybrain.event_store.read_models import Row
from citybrain.mesh.errors import BadRequest
from citybrain.mesh.providers.paging import Key, one_page, ordered_page, scan_page
from citybrain.mesh.subscriptions.tokens import Tokens

TOKENS = Tokens(b"1" * 32)
KEYS = st.tuples(st.integers(0, 5), st.text(alphabet="abc~", max_size=3))
Change = st.tuples(st.booleans(), KEYS)
"""A row comes (true) or goes."""


class Rows:
    """A read model in memory."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = set(keys)

    def scan(self, after: str = "", limit: int = -1) -> list[tuple[str, Row]]:
        found: list[tuple[str, Row]] = [(key, {}) for key in sorted(self.keys) if key > after]
        return found if limit < 0 else found[:limit]


def all_pages(ask: Callable[[Any], tuple[list[Any], str]], between: Callable[[], None], size: int) -> list[Any]:
    request = command.ListIncidentsRequest(page_size=size)
    found: list[Any] = []
    while True:
        page, token = ask(request)
        assert len(page) <= size
        found += page
        if not token:
            return found
        between()
        request.page_token = token


@given(st.sets(KEYS, max_size=12), st.lists(st.lists(Change, max_size=4), max_size=8), st.integers(1, 4), st.booleans())
def test_what_is_there_all_the_time_is_listed_once_and_in_order_whatever_comes_and_goes(
    keys: set[Key], changes: list[list[tuple[bool, Key]]], size: int, newest_first: bool
) -> None:
    rows, always, waiting = set(keys), set(keys), list(changes)

    def change() -> None:
        for comes, key in waiting.pop() if waiting else ():
            rows.add(key) if comes else rows.discard(key)
            always.intersection_update(rows)

    found = all_pages(
        lambda request: one_page(TOKENS, request, rows, lambda row: row, newest_first=newest_first, default=50), change, size
    )
    assert found == sorted(set(found), reverse=newest_first)
    assert always <= set(found)


@given(st.sets(KEYS, max_size=12), st.lists(st.lists(Change, max_size=4), max_size=8), st.integers(1, 4))
def test_of_rows_that_are_in_order_only_those_of_a_page_are_taken_and_each_is_listed_once_whatever_comes_and_goes(
    keys: set[Key], changes: list[list[tuple[bool, Key]]], size: int
) -> None:
    rows, always, waiting = set(keys), set(keys), list(changes)
    taken: list[Key] = []

    def change() -> None:
        for comes, key in waiting.pop() if waiting else ():
            rows.add(key) if comes else rows.discard(key)
            always.intersection_update(rows)
        taken.clear()

    def after(last: Key | None) -> Iterator[Key]:
        for key in sorted(rows, reverse=True):
            if last is None or key < last:
                taken.append(key)
                assert len(taken) <= size + 1
                yield key

    found = all_pages(lambda request: ordered_page(TOKENS, request, after, lambda row: row, default=50), change, size)
    assert found == sorted(set(found), reverse=True)
    assert always <= set(found)


@given(
    st.sets(st.text(min_size=1, max_size=3), max_size=12),
    st.lists(st.text(min_size=1, max_size=3), max_size=8),
    st.integers(1, 4),
)
def test_a_read_model_is_listed_once_and_in_order_whatever_comes(keys: set[str], coming: list[str], size: int) -> None:
    view, waiting = Rows(keys), list(coming)

    def change() -> None:
        if waiting:
            view.keys.add(waiting.pop())

    found = [key for key, _ in all_pages(lambda request: scan_page(TOKENS, request, view, default=500), change, size)]
    assert found == sorted(set(found))
    assert keys <= set(found)


def test_a_token_is_good_for_its_own_list_and_question_only() -> None:
    asked = mesh.ListParkedRequest(group="a", page_size=1)
    rows: list[Key] = [("a", 1), ("b", 2)]

    def page(request: Any) -> tuple[list[Key], str]:
        return one_page(TOKENS, request, rows, lambda row: row, newest_first=False, default=50)

    _, token = page(asked)
    # Another size is no other question.
    assert page(mesh.ListParkedRequest(group="a", page_size=5, page_token=token)) == ([("b", 2)], "")
    for other in (mesh.ListParkedRequest(group="b", page_token=token), hub.ListDistrictsRequest(page_token=token)):
        with pytest.raises(BadRequest, match="page_token"):
            page(other)
    with pytest.raises(BadRequest, match="page_token"):
        page(mesh.ListParkedRequest(group="a", page_token=token[:-2] + "AA"))
