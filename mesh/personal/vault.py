"""The vault of a process: seals personal data before it is kept, opens it for those who may see it, forgets the erased (ES-12).

Keys are in memory while they are used. If a person is erased by another process, this process forgets them within seconds: the
key, and the states that hold their data (see `when_erased`). If the key store does not answer for too long, the process cannot
know who was erased, and forgets everybody.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from citybrain.personal.v1 import personal_pb2
from google.protobuf.message import Message

from citybrain.event_store.keys import KeyStore, PersonErased
from citybrain.event_store.sealing import AES_256_GCM, SM4_GCM, Key, seal, unseal
from citybrain.event_store.store import NewEvent, StoredEvent, StoreError
from citybrain.mesh.errors import Refused
from citybrain.mesh.events import Heard, hear, parse
from citybrain.mesh.personal.fields import put_in, take_out
from citybrain.mesh.personal.secret_files import make_secret, read_secret
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.upcasting import modern
from citybrain.observability.logs import logger

_CIPHERS = {"aes-256-gcm": AES_256_GCM, "sm4-gcm": SM4_GCM}
_CACHED_KEYS = 10_000
# How often the vault looks who was erased, and after how long without an answer it forgets everybody.
_LOOK_S = 5.0
_BLIND_S = 30.0
_log = logger("vault")


class Vault:
    """The vault over the city's keys. `cipher`: for persons who get their first key."""

    def __init__(self, keys: KeyStore, cipher: Literal["aes-256-gcm", "sm4-gcm"] = "aes-256-gcm") -> None:
        self.keys = keys
        self._cipher = _CIPHERS[cipher]
        # None: the person was erased.
        self._known: OrderedDict[str, Key | None] = OrderedDict()
        self._seen = 0
        self._forgetting: list[Callable[[str | None], None]] = []
        self.blind = False
        """True: the key store has not answered for too long, so no personal data may stay in memory."""

    # -- events -----------------------------------------------------------------------------------------------------------

    async def seal(self, events: Sequence[tuple[NewEvent, Mapping[str, Message]]]) -> None:
        """Seals into each event what was taken out of its message. Refused: a person was erased."""
        keys = await self._obtain({person for _, parts in events for person in parts})
        for event, parts in events:
            sealed = personal_pb2.Sealed()
            for person, part in parts.items():
                content = part.SerializeToString(deterministic=True)
                sealed.parts.append(_part(keys[person], person, content, _of_event(event.id, person)))
            event.sealed = sealed.SerializeToString(deterministic=True)

    async def hear(self, events: Iterable[StoredEvent]) -> list[Heard]:
        """Events with their personal data put back, and the ids of persons whose data is erased."""
        opened = [(event, personal_pb2.Sealed.FromString(event.sealed).parts if event.sealed else ()) for event in events]
        persons = {part.person_id for _, parts in opened for part in parts}
        keys = await self._find(persons) if persons else {}
        return [_opened(event, parts, keys) if parts else hear(event) for event, parts in opened]

    # -- values of rows ---------------------------------------------------------------------------------------------------

    async def seal_texts(self, texts: Sequence[tuple[str, str, str]]) -> list[bytes | None]:
        """Seals triples (person, place, text). None: the person was erased (a view may fold old events)."""
        keys = await self._obtain_or_none({person for person, _, _ in texts})
        sealed: list[bytes | None] = []
        for person, place, text in texts:
            key = keys[person]
            part = None if key is None else _part(key, person, text.encode(), _of_place(place, person))
            sealed.append(None if part is None else part.SerializeToString())
        return sealed

    async def open_texts(self, sealed: Sequence[tuple[str, bytes]]) -> list[str | None]:
        """Opens pairs (place, sealed). None: the person was erased."""
        parts = [(place, personal_pb2.SealedPart.FromString(one)) for place, one in sealed]
        keys = await self._find({part.person_id for _, part in parts})
        texts: list[str | None] = []
        for place, part in parts:
            key = keys[part.person_id]
            opened = None if key is None else unseal(key, part.nonce, part.content, _of_place(place, part.person_id))
            texts.append(None if opened is None else opened.decode())
        return texts

    # -- forgetting -------------------------------------------------------------------------------------------------------

    def when_erased(self, forget: Callable[[str | None], None]) -> None:
        """`forget` is called with each erased person (None: everybody), and must drop what is in memory of them."""
        self._forgetting.append(forget)

    def gone(self, person: str) -> bool:
        """Whether a person was erased, as far as this process knows."""
        return person in self._known and self._known[person] is None

    async def watch(self, look_s: float = _LOOK_S, blind_s: float = _BLIND_S) -> None:
        """Looks again and again who was erased, until cancelled. Both arguments are in seconds."""
        saw = time.monotonic()
        while True:
            try:
                await self.look()
                saw = time.monotonic()
            except StoreError as error:
                _log.warning("keys cannot be asked who was erased", error=error)
                if time.monotonic() - saw > blind_s:
                    self._forget_everybody()
            await asyncio.sleep(look_s)

    async def look(self) -> None:
        """Forgets the persons who were erased since the last look."""
        for erasure in await self.keys.erased(self._seen):
            self._remember({erasure.person: None})
            for forget in self._forgetting:
                forget(erasure.person)
            self._seen = erasure.number
        self.blind = False

    def _forget_everybody(self) -> None:
        self.blind = True
        self._known.clear()
        for forget in self._forgetting:
            forget(None)

    def may_stay(self, persons: Collection[str]) -> bool:
        """Whether a state with data of these persons may stay in memory."""
        return not persons or not (self.blind or any(map(self.gone, persons)))

    # -- keys -------------------------------------------------------------------------------------------------------------

    async def _obtain(self, persons: Iterable[str]) -> dict[str, Key]:
        try:
            # Asked each time, not taken from memory: nothing new may be written about a person erased a moment ago elsewhere.
            keys = await self.keys.obtain(sorted(persons), self._cipher)
        except PersonErased as error:
            raise Refused(str(error), "PERSON_ERASED") from None
        self._remember(keys)
        return keys

    async def _obtain_or_none(self, persons: Iterable[str]) -> Mapping[str, Key | None]:
        found: dict[str, Key | None] = {}
        for person in persons:
            try:
                found |= await self.keys.obtain([person], self._cipher)
            except PersonErased:
                found[person] = None
        return found

    async def _find(self, persons: set[str]) -> Mapping[str, Key | None]:
        missing = sorted(person for person in persons if person not in self._known)
        found = await self.keys.find(missing) if missing else {}
        known = {person: self._known[person] for person in persons if person in self._known}
        self._remember(found)
        return known | found

    def _remember(self, keys: Mapping[str, Key | None]) -> None:
        for person, key in keys.items():
            # An erasure is for ever: an answer that was under way must not bring the key back.
            if not self.gone(person) and (key is None or not self.blind):
                self._known[person] = key
            if person in self._known:
                self._known.move_to_end(person)
        while len(self._known) > _CACHED_KEYS:
            self._known.popitem(last=False)


def keys_folder(settings: Settings) -> Path:
    """The folder of the keys of persons, and of the list of erased persons."""
    return settings.personal.keys or settings.data / "keys"


def master_secrets(settings: Settings) -> tuple[bytes, list[bytes]]:
    """The master key that wraps the keys of persons (made if no file is configured), and others that may have wrapped some.

    OSError: a file is missing, or holds no key.
    """
    path = settings.personal.master_key
    if path is None:
        keys_folder(settings).mkdir(parents=True, exist_ok=True, mode=0o700)
        make_secret(path := keys_folder(settings) / "master.key")
    current, *others = [_master_secret(one) for one in (path, *settings.personal.other_master_keys)]
    return current, others


def _master_secret(path: Path) -> bytes:
    return read_secret(path, "master key of personal data", "put the right one back: what it sealed opens with no other")


def lay_down(event: NewEvent, message: Message) -> Mapping[str, Message]:
    """Puts a message into an event without its personal fields; returns those by person, for the vault to seal."""
    rest, parts = take_out(message)
    event.data = rest.SerializeToString(deterministic=True)
    return parts


def _part(key: Key, person: str, content: bytes, bound_to: str) -> personal_pb2.SealedPart:
    nonce, sealed = seal(key, content, bound_to)
    return personal_pb2.SealedPart(person_id=person, cipher=key.cipher, nonce=nonce, content=sealed)


def _opened(event: StoredEvent, parts: Iterable[personal_pb2.SealedPart], keys: Mapping[str, Key | None]) -> Heard:
    message = parse(event)
    erased, persons = [], []
    for part in parts:
        key = keys[part.person_id]
        if key is None:
            erased.append(part.person_id)
            continue
        persons.append(part.person_id)
        content = unseal(key, part.nonce, part.content, _of_event(event.id, part.person_id))
        put_in(message, type(message).FromString(content))
    return Heard(modern(message), event, tuple(persons), tuple(erased))


def _of_event(event_id: str, person: str) -> str:
    return f"event\0{event_id}\0{person}"


def _of_place(place: str, person: str) -> str:
    return f"row\0{place}\0{person}"
