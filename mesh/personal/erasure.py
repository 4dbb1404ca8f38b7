"""Erasing a person: the key goes first, then everybody is told, and a receipt says what was done and what is left (ES-12)."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from citybrain.personal.v1.personal_pb2 import PersonErased

from citybrain.event_store.keys import KeyStore, Sent
from citybrain.event_store.store import ANY, Committed, EventStore, NewEvent
from citybrain.mesh.events import classification_of, type_name

_NAMESPACE = uuid.UUID("3f1a4a0e-6b0c-5a4e-9c7b-0d3a7f8e2b11")
PUBLISHER = "personal"
"""Whose streams tell of erasures; whatever runs hears of them."""
FORGOTTEN_WITHIN_S = 60
"""By then every process that runs has forgotten who was erased."""


class UnknownPerson(Exception):
    """Nothing is kept about this person; the message says what ids look like."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did, and what is left. Moments are microseconds since 1970."""

    person: str
    erased_at: int
    # Had been erased before: this time nothing was left to do but to tell everybody again.
    again: bool
    # The event that tells everybody.
    event_id: str
    event_stream: str
    # What had left the house: those who got it are told by the event, and must act.
    sent: list[Sent]
    # Copies of the keys that were made before: each holds the person's key, wrapped, until it is removed.
    copies_of_keys: list[int]
    # What else may hold the bytes of the key, and how long; empty: nothing.
    remains: str


async def erase(store: EventStore, keys: KeyStore, person: str, *, actor: str) -> Receipt:
    """Erases a person. Twice is once: what a crash left undone is done by the second time.

    UnknownPerson where nothing is kept about them; StoreError where it could not be done, and then it is to be tried again.
    """
    before = {erasure.person for erasure in await keys.erased(0)}
    if person not in before and not await keys.knows(person):
        raise UnknownPerson(f"nothing is kept about a person {person}: ids look like per-0123456789abcdef")
    erasure = await keys.destroy(person, time.time_ns() // 1000)
    message = PersonErased(person_id=person)
    kind = type_name(message)
    # Named by the person: told once, however often it is asked for.
    event = NewEvent(
        id=str(uuid.uuid5(_NAMESPACE, person)),
        type=kind,
        data=message.SerializeToString(deterministic=True),
        occurred_at=erasure.at,
        actor=actor,
        classification=classification_of(kind),
    )
    stream = f"{PUBLISHER}/{person}"
    outcome = await store.append(stream, [event], ANY)
    assert isinstance(outcome, Committed)
    copies = [made for made in await keys.copies() if made <= erasure.at]
    return Receipt(person, erasure.at, person in before, event.id, stream, await keys.sent(person), copies, keys.remains)
