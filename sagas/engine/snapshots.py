"""Snapshots of long sagas: a process that takes one up reads its newest snapshot and what came after, not all that it heard.

Only an optimisation (ES-10): a snapshot of another release, of other code, or of another log is passed over, and so is one that
holds data of a person who was erased since. Then the stream is read whole, and every state is the same.
"""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from citybrain.event_store.sealing import AES_256_GCM, Key, SealBroken, seal, unseal
from citybrain.event_store.snapshots import Snapshot
from citybrain.event_store.store import StoreError
from citybrain.mesh.events import UnreadableEvent, message_class, type_name
from citybrain.mesh.personal.vault import Vault
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.storage.code_digests import text_of
from citybrain.mesh.storage.kept_states import fitting, keep_later
from citybrain.mesh.storage.state_packing import StateError, code_of, pack_state, unpack_state
from citybrain.mesh.upcasting import steps
from citybrain.observability.logs import logger
from citybrain.sagas.engine.state import HeardEvents, SagaState, evolve

FIRST = 1000
"""No saga of fewer events has a snapshot: reading those costs no more."""
_PART = 4
# What every engine writes at once. A saga whose state is larger is read whole.
_LONGEST = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Folded:
    """What is known of a saga by its events up to a version: as `records.Known` has it."""

    state: SagaState
    traceparent: str = ""
    persons: frozenset[str] = frozenset()
    sent: Mapping[str, str] = field(default_factory=dict)


def is_due(version: int, kept: int) -> bool:
    """Whether a saga is to have a new snapshot. The steps grow with the saga, so all snapshots together cost what few cost."""
    return version - kept >= max(FIRST, kept // _PART)


def packed(folded: Folded) -> bytes:
    """As bytes. StateError: something in it cannot be kept."""
    # There may be very many of them, so they have a short form of their own.
    heard = [
        [event_id, folded.state.heard.at(event_id), type_name(message), b64encode(message.SerializeToString()).decode()]
        for event_id, message in folded.state.heard.items()
    ]
    rest = pack_state(replace(folded, state=replace(folded.state, heard=HeardEvents()))).decode()
    return zlib.compress(json.dumps([rest, heard], separators=(",", ":")).encode(), 1)


def unpacked(content: bytes) -> Folded:
    """What was packed."""
    rest, told = json.loads(zlib.decompress(content))
    folded: Folded = unpack_state(Folded, rest)
    kinds = {name: message_class(name) for name in {name for _, _, name, _ in told}}
    heard = HeardEvents()
    for event_id, at, name, data in told:
        heard = heard.added(event_id, kinds[name].FromString(b64decode(data)), at)
    return replace(folded, state=replace(folded.state, heard=heard))


@functools.cache
def code() -> str:
    """A name for the code that makes states of events: this folder, the release, and what turns old events into new ones."""
    upcasters = sorted((old, new, text_of(function)) for old, new, function in steps())
    return hashlib.sha256(json.dumps([code_of(evolve), upcasters]).encode()).hexdigest()


class Snapshots:
    """The snapshots of a service's sagas."""

    def __init__(self, process: Process, service: str) -> None:
        self._store = process.store
        self._vault: Vault = process.vault
        self._snapshots = process.engine.snapshots
        self._log = logger(service)

    async def newest(self, stream: str) -> tuple[Folded, int] | None:
        """The newest snapshot of a stream that holds, and its version. None: there is none."""
        try:
            found = await fitting(self._store, self._snapshots, stream, code())
            if found is None:
                return None
            kept, _ = found
            content = await self._opened(kept.state, _place(stream, kept.version))
            return None if content is None else (unpacked(content), kept.version)
        except (StoreError, SealBroken, ValueError, LookupError, TypeError, zlib.error, UnreadableEvent) as error:
            self._log.warning("snapshot cannot be read: the saga is read whole", stream=stream, error=error)
            return None

    async def keep(self, stream: str, folded: Folded, version: int, event_id: str) -> None:
        """Keeps what is known of a saga; nobody waits for it to be written. What cannot be kept is read whole next time."""
        try:
            content = await self._sealed(packed(folded), folded.persons, _place(stream, version))
        except (StateError, StoreError) as error:
            self._log.warning("snapshot cannot be made", stream=stream, error=error)
            return
        if content is None or len(content) > _LONGEST:
            return
        keep_later(self._snapshots, stream, Snapshot(version, event_id, code(), content), self._log)

    # -- what is personal ---------------------------------------------------------------------------------------------------

    async def _sealed(self, content: bytes, persons: frozenset[str], place: str) -> bytes | None:
        """Sealed so that it opens only with the keys of all these persons. None: one was erased.

        Each person's key seals a part of its key, and none of the parts says anything without the others.
        """
        if not persons:
            return json.dumps({"content": b64encode(content).decode()}).encode()
        parts = {person: secrets.token_bytes(32) for person in sorted(persons)}
        key = Key(AES_256_GCM, _together(parts.values()))
        nonce, closed = seal(key, content, place)
        shares = await self._vault.seal_texts([(person, place, part.hex()) for person, part in parts.items()])
        if any(one is None for one in shares):
            return None
        told: dict[str, Any] = {"content": b64encode(closed).decode(), "nonce": nonce.hex()}
        return json.dumps({**told, "shares": [b64encode(one).decode() for one in shares if one is not None]}).encode()

    async def _opened(self, content: bytes, place: str) -> bytes | None:
        """The content. None: a person was erased."""
        told = json.loads(content)
        closed = b64decode(told["content"])
        if "shares" not in told:
            return closed
        parts = await self._vault.open_texts([(place, b64decode(one)) for one in told["shares"]])
        if any(part is None for part in parts):
            return None
        key = Key(AES_256_GCM, _together(bytes.fromhex(part) for part in parts if part is not None))
        return unseal(key, bytes.fromhex(told["nonce"]), closed, place)


def _place(stream: str, version: int) -> str:
    return f"snapshot\0{stream}\0{version}"


def _together(parts: Iterable[bytes]) -> bytes:
    """The key whose parts these are."""
    key = bytes(32)
    for part in parts:
        key = bytes(a ^ b for a, b in zip(key, part, strict=True))
    return key
