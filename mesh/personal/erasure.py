"""Erasing a person: the key is destroyed, an event tells every process, and a receipt says what is done and left (ES-12)."""

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
"""The streams of this name tell of erasures; any process may hear them."""
FORGOTTEN_WITHIN_S = 60
"""After so long every running process has forgotten an erased person."""


class UnknownPerson(Exception):
    """Nothing is kept about this person; the message shows the form of ids."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure did, and what is left. Moments are microseconds since 1970."""

    person: str
    erased_at: int
    # True: the person had been erased before this call.
    again: bool
    # The event that tells of the erasure.
    event_id: str
    event_stream: str
    # Who outside had received the person's data: they learn of the erasure by the event, and must act.
    sent: list[Sent]
    # When copies of the keys were made before: each holds the person's key, wrapped, until it is removed.
    copies_of_keys: list[int]
    # Where else bytes of the key may be, and for how long; empty: nowhere.
    remains: str


async def erase(store: EventStore, keys: KeyStore, person: str, *, actor: str) -> Receipt:
    """Erases a person. A second call does no harm, and finishes what a crash left undone.

    UnknownPerson: nothing is kept about them. StoreError: it could not be done; try again.
    """
    before = {erasure.person for erasure in await keys.erased(0)}
    if person not in before and not await keys.knows(person):
        raise UnknownPerson(f"nothing is kept about a person {person}: ids look like per-0123456789abcdef")
    erasure = await keys.destroy(person, time.time_ns() // 1000)
    message = PersonErased(person_id=person)
    kind = type_name(message)
    # The id is made from the person's id, so the event is written once, however often it is asked for.
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
