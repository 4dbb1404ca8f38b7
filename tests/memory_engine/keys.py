"""Keys of persons in memory. No master key wraps them: they stand nowhere that outlives the process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from citybrain.personal.v1 import personal_pb2
from typing_extensions import override

from citybrain.event_store.keys import Erasure, KeysMissing, KeyStore, PersonErased, Rewrapped, Sent, new_person
from citybrain.event_store.sealing import Key
from tests.memory_engine.at_once import at_once


class MemoryKeys(KeyStore):
    """A KeyStore."""

    remains = ""

    def __init__(self) -> None:
        self._keys: dict[str, Key] = {}
        self._erased: dict[str, Erasure] = {}
        self._persons: dict[tuple[str, str], str] = {}
        self._sent: dict[tuple[str, str], Sent] = {}

    @at_once
    @override
    def obtain(self, persons: Iterable[str], cipher: personal_pb2.Cipher) -> dict[str, Key]:
        wanted = list(persons)
        for person in wanted:
            if person in self._erased:
                raise PersonErased(f"person {person} was erased: nothing about them is kept any more")
        return {person: self._keys.setdefault(person, Key.new(cipher)) for person in wanted}

    @at_once
    @override
    def find(self, persons: Iterable[str]) -> dict[str, Key | None]:
        found = {person: self._keys.get(person) for person in persons}
        for person, key in found.items():
            if key is None and person not in self._erased:
                raise KeysMissing(f"there is no key of person {person}, and they were never erased")
        return found

    @at_once
    @override
    def knows(self, person: str) -> bool:
        return person in self._keys or person in self._persons.values()

    @at_once
    @override
    def destroy(self, person: str, at: int) -> Erasure:
        self._keys.pop(person, None)
        self._persons = {value: one for value, one in self._persons.items() if one != person}
        return self._erased.setdefault(person, Erasure(len(self._erased) + 1, person, at))

    @at_once
    @override
    def erased(self, after: int) -> list[Erasure]:
        return [one for one in self._erased.values() if one.number > after]

    @at_once
    @override
    def person(self, kind: str, value: str) -> str:
        return self._persons.setdefault((kind, value), new_person())

    @at_once
    @override
    def known_person(self, kind: str, value: str) -> str:
        return self._persons.get((kind, value), "")

    @at_once
    @override
    def note_sent(self, persons: Mapping[str, int], recipient: str, at: int) -> None:
        for person, events in persons.items():
            before = self._sent.get((person, recipient), Sent(recipient, 0, at, at))
            self._sent[person, recipient] = Sent(recipient, before.events + events, before.first, max(before.last, at))

    @at_once
    @override
    def sent(self, person: str) -> list[Sent]:
        return [one for (of, _), one in sorted(self._sent.items(), key=lambda item: item[0]) if of == person]

    @at_once
    @override
    def copies(self) -> list[int]:
        return []

    @at_once
    @override
    def rewrap(self, after: str = "", limit: int = 500) -> Rewrapped:
        return Rewrapped("", len(self._keys), 0)

    @override
    def close(self) -> None:
        """There is nothing to let go of."""
