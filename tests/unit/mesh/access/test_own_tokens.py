"""Tokens that services show: made once for each whom they call for, and anew before they end."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from citybrain.mesh.access import own_tokens, verifying
from citybrain.mesh.access.keys import KeyRing
from citybrain.mesh.access.own_tokens import OwnTokens
from citybrain.mesh.access.verifying import OwnIssuer, Verifier
from citybrain.mesh.errors import Unauthenticated


class World:
    def __init__(self, folder: Path) -> None:
        self.ring = KeyRing(folder, longest_s=3600)
        self.tokens = OwnTokens(self.ring, "us", "here")
        self.verifier = Verifier([OwnIssuer(self.ring, "us", "here")])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "identity")


def test_a_token_is_made_once_for_each_service_and_for_whom_it_calls(world: World) -> None:
    world.tokens.grant("health", ["traffic.read"])
    made = [world.tokens.token(*who) for who in (("health",), ("health", "zhang"), ("health",), ("health", "zhang"))]
    assert made[:2] == made[2:] and made[0] != made[1]
    for token, subject in zip(made, ("service:health", "zhang"), strict=False):
        found = asyncio.run(world.verifier.verify(token))
        assert (found.caller, found.subject, found.scopes) == ("service:health", subject, frozenset({"traffic.read"}))


def test_a_token_that_is_shown_is_always_good_for_a_while_yet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, began = world.tokens.token("health"), time.monotonic()
    ends = asyncio.run(world.verifier.verify(first)).ends - time.time()
    monkeypatch.setattr(time, "monotonic", lambda: began + ends - 60)
    assert world.tokens.token("health") != first


def test_however_many_callers_there_are_no_more_is_remembered_than_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_tokens, "_REMEMBERED", 3)
    monkeypatch.setattr(verifying, "_REMEMBERED", 3)
    made = [world.tokens.token("health", f"caller-{number}") for number in range(6)]
    for token in made:
        asyncio.run(world.verifier.verify(token))
    assert [world.verifier.known(token) is not None for token in made] == [False] * 3 + [True] * 3
    assert world.tokens.token("health", "caller-5") == made[5] and world.tokens.token("health", "caller-0") != made[0]


def test_a_token_that_is_far_too_long_is_refused_before_anything_is_made_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(token: str) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(verifying, "unverified", read)
    with pytest.raises(Unauthenticated, match="longer than"):
        asyncio.run(world.verifier.verify("x" * 9000))
