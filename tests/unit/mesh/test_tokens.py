"""Tokens name a place in the log, for one purpose, under the key of one installation."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.subscriptions.tokens import Tokens

ONE, OTHER = Tokens(b"1" * 32), Tokens(b"2" * 32)


CURSORS = st.dictionaries(st.text(max_size=20), st.integers(0, 2**63))


@given(st.text(max_size=20), CURSORS)
def test_a_token_gives_its_place_back_for_its_purpose(purpose: str, place: dict[str, int]) -> None:
    assert ONE.read(purpose, ONE.make(purpose, place)) == place


@given(CURSORS, st.text(max_size=5), st.text(max_size=5))
def test_a_token_is_good_for_no_other_purpose_and_under_no_other_key(place: dict[str, int], purpose: str, other: str) -> None:
    token = ONE.make(purpose, place)
    with pytest.raises(BadRequest):
        OTHER.read(purpose, token)
    if other != purpose:
        with pytest.raises(BadRequest):
            ONE.read(other, token)


@given(st.text(max_size=40))
def test_what_was_not_made_here_is_refused_with_the_name_of_its_field(token: str) -> None:
    with pytest.raises(BadRequest, match="page_token"):
        ONE.read("listing", token, "page_token")


@given(CURSORS, st.integers(0, 60), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_changed_token_never_leads_elsewhere(place: dict[str, int], at: int, letter: str) -> None:
    token = ONE.make("p", place)
    changed = token[:at] + letter + token[at + 1 :]
    try:
        assert ONE.read("p", changed) == place
    except BadRequest:
        assert changed != token


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    token = Tokens.with_key_file(path).make("p", {"": 7})
    assert Tokens.with_key_file(path).read("p", token) == {"": 7}
    assert path.stat().st_mode & 0o077 == 0
    assert [file.name for file in tmp_path.iterdir()] == ["token.key"]


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Tokens.with_key_file(tmp_path / "token.key"), range(8)))
    assert {tokens.make("p", {"": 1}) for tokens in made} == {Tokens.with_key_file(tmp_path / "token.key").make("p", {"": 1})}


def test_a_key_that_a_crash_left_empty_is_never_used(tmp_path: Path) -> None:
    path = tmp_path / "token.key"
    path.touch()
    with pytest.raises(OSError, match="remove it"):
        Tokens.with_key_file(path)


def test_a_place_is_good_for_so_many_days_and_not_a_second_longer() -> None:
    day = [0.0]
    tokens = Tokens(b"1" * 32, days=2, now=lambda: day[0] * 86_400)
    token = tokens.make("p", {"": 7})
    day[0] = 2.0
    assert tokens.read("p", token) == {"": 7}
    day[0] = 2.0001
    with pytest.raises(Refused, match="page_token is older than 2 days"):
        tokens.read("p", token, "page_token")
