"""The keys of persons, in a store of their own. Destroying a person's key erases all that is sealed under it, everywhere.

A master key, kept elsewhere, wraps these keys. The store also keeps what an erasure must report: who received a person's data,
and which copies of the keys were made. It keeps the list of erased persons for ever, so a restored copy brings nobody back.
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
    """The person was erased, so nothing new about them is kept."""


class KeysMissing(StoreError):
    """Something is sealed under a key that is not in the store and was never destroyed."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erased person. `number` gives the order of all erasures; `at` is in microseconds since 1970."""

    number: int
    person: str
    at: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A recipient outside who got events with a person's data; first and last time in microseconds since 1970."""

    recipient: str
    events: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """What one call of `rewrap` did."""

    # The `after` of the next call; empty: all keys were looked at.
    reached: str
    looked_at: int
    # Keys that another master key had wrapped, and that the current one wraps now.
    changed: int


class KeyStore(Protocol):
    """The port. A call returns after its writes are stored."""

    remains: str
    """Where bytes of a destroyed key may still be, besides the known copies, and for how long; empty: nowhere."""

    def obtain(self, persons: Iterable[str], cipher: personal_pb2.Cipher) -> Awaitable[dict[str, Key]]:
        """The keys of persons; makes the missing ones. PersonErased: one of the keys was destroyed."""
        ...

    def find(self, persons: Iterable[str]) -> Awaitable[dict[str, Key | None]]:
        """The keys of persons; None: the person was erased. KeysMissing: a key is not here and was never destroyed."""
        ...

    def knows(self, person: str) -> Awaitable[bool]:
        """Whether the store has a key of a person, or a look-up that leads to them."""
        ...

    def destroy(self, person: str, at: int) -> Awaitable[Erasure]:
        """Destroys a person's key and look-ups for ever. A second call returns the first erasure."""
        ...

    def erased(self, after: int) -> Awaitable[list[Erasure]]:
        """The erasures with a number above `after`, in order."""
        ...

    def person(self, kind: str, value: str) -> Awaitable[str]:
        """The id of the person who has this value (a telephone or identity number); a new random id for an unknown value."""
        ...

    def known_person(self, kind: str, value: str) -> Awaitable[str]:
        """As `person`, without making an id. Empty: the value is unknown, or its person was erased."""
        ...

    def note_sent(self, persons: Mapping[str, int], recipient: str, at: int) -> Awaitable[None]:
        """Records how many events about each person go to a recipient outside. To be called before they go."""
        ...

    def sent(self, person: str) -> Awaitable[list[Sent]]:
        """The recipients of a person's data."""
        ...

    def copies(self) -> Awaitable[list[int]]:
        """When the keys were copied, in microseconds since 1970."""
        ...

    def rewrap(self, after: str = "", limit: int = 500) -> Awaitable[Rewrapped]:
        """Wraps the next `limit` keys by the current master key, and the secret of look-ups too."""
        ...

    def close(self) -> None:
        """Finishes begun work, then closes."""
        ...


def new_person() -> str:
    """A new random id of a person."""
    return f"per-{secrets.token_hex(_PERSON_BYTES)}"
