"""The keys of persons, in a store of their own: who destroys a person's key has erased what is sealed under it, everywhere.

Keys are wrapped by a master key that stands elsewhere. Beside them is kept what an erasure must tell: to whom a person's data
went, which copies of the keys were made, and who was erased, for ever, so that a copy that is put back brings nobody back.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from citybrain.personal.v1 import personal_pb2

from citybrain.event_store.sealing import Key
from citybrain.event_store.store import StoreError

_PERSON_BYTES = 8


class PersonErased(StoreError):
    """Something new about a person who was erased: it is not kept."""


class KeysMissing(StoreError):
    """Something is sealed under a key that is neither here nor destroyed."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """Who was erased, when (microseconds since 1970), and the how-manieth it was."""

    number: int
    person: str
    at: int


@dataclass(frozen=True, slots=True)
class Sent:
    """To whom a person's data left the house: how many events, between two moments (microseconds since 1970)."""

    recipient: str
    events: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """Some keys were looked at, and those that another master key had wrapped are wrapped by the current one now."""

    # Where to go on; empty: all were looked at.
    reached: str
    looked_at: int
    changed: int


class KeyStore(Protocol):
    """The port. What was written is there when a call has returned."""

    remains: str
    """What may hold the bytes of a destroyed key besides the copies that are known, and how long; empty: nothing."""

    def obtain(self, persons: Iterable[str], cipher: personal_pb2.Cipher) -> Awaitable[dict[str, Key]]:
        """The keys of persons, made where there is none yet. PersonErased where one was destroyed."""
        ...

    def find(self, persons: Iterable[str]) -> Awaitable[dict[str, Key | None]]:
        """The keys of persons; None: erased. KeysMissing where a key is neither here nor destroyed."""
        ...

    def knows(self, person: str) -> Awaitable[bool]:
        """Whether there is a key of a person, or anything that leads to them."""
        ...

    def destroy(self, person: str, at: int) -> Awaitable[Erasure]:
        """Destroys a person's key and look-ups for ever. The first time counts."""
        ...

    def erased(self, after: int) -> Awaitable[list[Erasure]]:
        """Erasures behind a number, in their order."""
        ...

    def person(self, kind: str, value: str) -> Awaitable[str]:
        """The id of the person who has this value (a telephone number, an identity number); a new random one where none has."""
        ...

    def note_sent(self, persons: Mapping[str, int], recipient: str, at: int) -> Awaitable[None]:
        """Keeps that so many events with a person's data go to somebody outside, before they go."""
        ...

    def sent(self, person: str) -> Awaitable[list[Sent]]:
        """To whom a person's data went."""
        ...

    def copies(self) -> Awaitable[list[int]]:
        """When the keys were copied, in microseconds since 1970."""
        ...

    def rewrap(self, after: str = "", limit: int = 500) -> Awaitable[Rewrapped]:
        """Wraps keys behind a place by the current master key, so many at once, and the secret of look-ups."""
        ...

    def close(self) -> None:
        """Finishes what was begun, then lets go."""
        ...


def new_person() -> str:
    """A random id."""
    return f"per-{secrets.token_hex(_PERSON_BYTES)}"
