"""Keys of persons on Cassandra, in a keyspace of their own: made once by the process that is first, destroyed for ever.

Every decision is a conditional write. It is repeated until its outcome is known, and has no effect a second time. An erasure
first gets its number, which tells every process; then the key is destroyed. If the process dies between the two, the next
process that reads this erasure finishes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from citybrain.personal.v1 import personal_pb2
from typing_extensions import override

from cassandra.query import BatchStatement, BatchType
from citybrain.event_store.cassandra.session import Asked, surely
from citybrain.event_store.keys import Erasure, KeysMissing, KeyStore, PersonErased, Rewrapped, Sent, new_person
from citybrain.event_store.sealing import Key, Masters, SealBroken

_LEDGER, _BY_NUMBER, _BY_PERSON = 0, 0, 1
_LOOKUPS = "look-ups"
_OVERWRITTEN = b""
_PAGE = 1000
_AT_ONCE = 32
_ROW = "SELECT cipher, nonce, wrapped, lookups, erased_at FROM $.persons WHERE person = ?"
# $ is the keyspace.
_STATEMENTS = {
    "row": _ROW,
    "make": "UPDATE $.persons SET cipher = ?, nonce = ?, wrapped = ? WHERE person = ? IF wrapped = null AND erased_at = null",
    "rewrap": "UPDATE $.persons SET nonce = ?, wrapped = ? WHERE person = ? IF wrapped = ?",
    "wrapped": "SELECT person, nonce, wrapped FROM $.persons WHERE token(person) > token(?) LIMIT ?",
    "found": "UPDATE $.persons SET lookups = lookups + ? WHERE person = ? IF erased_at = null",
    "destroy": f"UPDATE $.persons SET nonce = 0x{_OVERWRITTEN.hex()}, wrapped = 0x{_OVERWRITTEN.hex()}, cipher = null,"
    " erased_at = ? WHERE person = ? IF erased_at = null",
    "forget_lookups": "UPDATE $.persons SET lookups = {} WHERE person = ? IF erased_at != null",
    "lookup": "SELECT person FROM $.lookups WHERE digest = ?",
    "lead": "INSERT INTO $.lookups (digest, person) VALUES (?, ?) IF NOT EXISTS",
    "lead_nowhere": "DELETE FROM $.lookups WHERE digest = ? IF person = ?",
    "count": f"UPDATE $.erasures SET last = ? WHERE ledger = {_LEDGER} IF last = ?",
    "number": f"INSERT INTO $.erasures (ledger, kind, number, person, at) VALUES ({_LEDGER}, {_BY_NUMBER}, ?, ?, ?)",
    "once": f"INSERT INTO $.erasures (ledger, kind, number, person, its, at) VALUES ({_LEDGER}, {_BY_PERSON}, 0, ?, ?, ?)"
    " IF NOT EXISTS",
    # No condition: only true is ever written there.
    "done": f"UPDATE $.erasures SET done = true WHERE ledger = {_LEDGER} AND kind = {_BY_NUMBER} AND number = ? AND person = ?",
    "erased": f"SELECT number, person, at, done FROM $.erasures WHERE ledger = {_LEDGER} AND kind = {_BY_NUMBER}"
    " AND number > ? LIMIT ?",
    "send": "INSERT INTO $.sent (person, recipient, id, events, at) VALUES (?, ?, ?, ?, ?)",
    "sent": "SELECT recipient, events, at FROM $.sent WHERE person = ?",
    "rewrap_secret": "UPDATE $.secrets SET nonce = ?, wrapped = ? WHERE name = ? IF wrapped = ?",
    "secret": "INSERT INTO $.secrets (name, nonce, wrapped) VALUES (?, ?, ?) IF NOT EXISTS",
}
_SERIAL = {
    "serial_row": _ROW,
    "last": f"SELECT DISTINCT ledger, last FROM $.erasures WHERE ledger = {_LEDGER}",
    "its": f"SELECT its, at FROM $.erasures WHERE ledger = {_LEDGER} AND kind = {_BY_PERSON} AND number = 0 AND person = ?",
    "its_secret": "SELECT nonce, wrapped FROM $.secrets WHERE name = ?",
}


class CassandraKeys(KeyStore):
    """KeyStore in a migrated keyspace. The port says what the methods promise."""

    def __init__(self, asked: Asked, prepared: dict[str, Any], masters: Masters, keyspace: str) -> None:
        self._asked = asked
        self._prepared = prepared
        self._masters = masters
        self._lookups = b""
        self.remains = (
            f"files of {keyspace}.persons on Cassandra's nodes hold its bytes, wrapped by the master key, for about an hour, "
            "their commit logs and paxos tables until these are written over, snapshots and backups until you remove them"
        )

    @classmethod
    async def on(cls, asked: Asked, keyspace: str, master: bytes, other_masters: Sequence[bytes] = ()) -> CassandraKeys:
        """Prepares the statements; `close` also closes the session. OSError: none of these master keys wrapped the keys."""
        prepared = {name: await asked.prepare(cql.replace("$", keyspace)) for name, cql in _STATEMENTS.items()}
        for name, cql in _SERIAL.items():
            prepared[name] = await asked.prepare(cql.replace("$", keyspace), serial=True)
        keys = cls(asked, prepared, Masters(master, other_masters), keyspace)
        try:
            keys._lookups = await keys._secret(_LOOKUPS)
        except SealBroken:
            raise OSError(
                f"the keys of persons in keyspace {keyspace} were wrapped by another master key: give the one they were made "
                "with (personal.master_key)"
            ) from None
        return keys

    @override
    def close(self) -> None:
        """Requests that were begun are with Cassandra already."""
        self._asked.close()

    async def _ask(self, name: str, *values: object) -> list[tuple[Any, ...]]:
        return await surely(lambda: self._asked.ask(self._prepared[name], values))

    # -- keys -------------------------------------------------------------------------------------------------------------

    @override
    async def obtain(self, persons: Iterable[str], cipher: personal_pb2.Cipher) -> dict[str, Key]:
        asked = list(persons)
        rows = dict(zip(asked, await asyncio.gather(*(self._row(person) for person in asked)), strict=True))
        for person, row in rows.items():
            _refuse_erased(person, row)
        missing = [person for person, row in rows.items() if row is None or not row[2]]
        made = await asyncio.gather(*(self._make(person, cipher) for person in missing))
        rows |= dict(zip(missing, made, strict=True))
        return {person: self._opened(person, row) for person, row in rows.items() if row is not None}

    async def _make(self, person: str, cipher: personal_pb2.Cipher) -> Sequence[Any]:
        """Makes a key and returns the person's row, which holds this key or that of a process that was faster."""
        nonce, wrapped = self._masters.wrap(Key.new(cipher).secret, person)
        await self._ask("make", cipher, nonce, wrapped, person)
        row = await self._row(person, "serial_row")
        _refuse_erased(person, row)
        assert row is not None
        return row

    @override
    async def find(self, persons: Iterable[str]) -> dict[str, Key | None]:
        asked = list(persons)
        found: dict[str, Key | None] = {}
        for person, row in zip(asked, await asyncio.gather(*(self._row(person) for person in asked)), strict=True):
            if row is None or not (row[2] or row[4]):
                raise KeysMissing(
                    f"there is no key of person {person}, and they were never erased: these are not the keys of this log; "
                    "put the keys back from their copy"
                )
            found[person] = None if row[4] else self._opened(person, row)
        return found

    @override
    async def knows(self, person: str) -> bool:
        row = await self._row(person)
        return row is not None and not row[4]

    async def _row(self, person: str, how: str = "row") -> Sequence[Any] | None:
        found = await self._ask(how, person)
        return found[0] if found else None

    def _opened(self, person: str, row: Sequence[Any]) -> Key:
        return Key(row[0], self._masters.unwrap(row[1], row[2], person))

    # -- erasing ----------------------------------------------------------------------------------------------------------

    @override
    async def destroy(self, person: str, at: int) -> Erasure:
        erasure = await self._numbered(person, at)
        await self._finish(erasure)
        return erasure

    async def _numbered(self, person: str, at: int) -> Erasure:
        while not (its := await self._ask("its", person)):
            counted = await self._ask("last")
            last = counted[0][1] if counted else None
            number = (last or 0) + 1
            batch = BatchStatement(batch_type=BatchType.UNLOGGED)
            batch.add(self._prepared["count"], (number, last))
            batch.add(self._prepared["number"], (number, person, at))
            batch.add(self._prepared["once"], (person, number, at))
            # If it was not applied, another erasure got this number, or this person has a number by now.
            await surely(lambda sent=batch: self._asked.ask(sent))  # type: ignore[misc]
        return Erasure(its[0][0], person, its[0][1])

    async def _finish(self, erasure: Erasure) -> None:
        await self._ask("destroy", erasure.at, erasure.person)
        row = await self._row(erasure.person, "serial_row")
        for digest in (row and row[3]) or ():
            await self._ask("lead_nowhere", digest, erasure.person)
        await self._ask("forget_lookups", erasure.person)
        await self._ask("done", erasure.number, erasure.person)

    @override
    async def erased(self, after: int) -> list[Erasure]:
        found: list[Erasure] = []
        while page := await self._ask("erased", after, _PAGE):
            for number, person, at, done in page:
                erasure = Erasure(number, person, at)
                if not done:
                    await self._finish(erasure)
                found.append(erasure)
            after = found[-1].number
        return found

    # -- look-ups ---------------------------------------------------------------------------------------------------------

    @override
    async def person(self, kind: str, value: str) -> str:
        digest = self._digest(kind, value)
        while True:
            if found := await self._ask("lookup", digest):
                person = str(found[0][0])
            else:
                made = new_person()
                # Noted first with the person, where an erasure finds it. If another process is faster, nobody hears of this id.
                await self._ask("found", {digest}, made)
                answer = (await self._ask("lead", digest, made))[0]
                person = made if answer[0] else str(answer[2])
            if await self.knows(person):
                return person
            # The person was erased, but the look-up is there: the erasing process died too early, or the look-up came late.
            await self._ask("lead_nowhere", digest, person)

    @override
    async def known_person(self, kind: str, value: str) -> str:
        found = await self._ask("lookup", self._digest(kind, value))
        # A look-up that an erasure left behind leads nowhere.
        return str(found[0][0]) if found and await self.knows(found[0][0]) else ""

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._lookups, f"{kind}\0{value}".encode(), hashlib.sha256).digest()

    async def _secret(self, name: str) -> bytes:
        """The secret of this name: a random one, made by the process that is first."""
        await self._ask("secret", name, *self._masters.wrap(secrets.token_bytes(32), name))
        nonce, wrapped = (await self._ask("its_secret", name))[0]
        return self._masters.unwrap(nonce, wrapped, name)

    # -- another master key ---------------------------------------------------------------------------------------------

    @override
    async def rewrap(self, after: str = "", limit: int = 500) -> Rewrapped:
        """Persons come in Cassandra's own order."""
        if not after:
            nonce, wrapped = (await self._ask("its_secret", _LOOKUPS))[0]
            if again := self._masters.rewrap(nonce, wrapped, _LOOKUPS):
                await self._ask("rewrap_secret", *again, _LOOKUPS, wrapped)
        rows = await self._ask("wrapped", after, limit)
        changes = [
            # If the person is erased meanwhile, the condition fails: there is nothing left to wrap.
            self._ask("rewrap", *again, person, wrapped)
            for person, nonce, wrapped in rows
            if wrapped and (again := self._masters.rewrap(nonce, wrapped, person))
        ]
        for first in range(0, len(changes), _AT_ONCE):
            await asyncio.gather(*changes[first : first + _AT_ONCE])
        return Rewrapped(rows[-1][0] if len(rows) == limit else "", len(rows), len(changes))

    # -- data that went outside -------------------------------------------------------------------------------------------

    @override
    async def note_sent(self, persons: Mapping[str, int], recipient: str, at: int) -> None:
        """Each call has a random id, so that a write that is repeated counts once."""
        own = str(uuid.uuid4())
        await asyncio.gather(*(self._ask("send", person, recipient, own, events, at) for person, events in persons.items()))

    @override
    async def sent(self, person: str) -> list[Sent]:
        rows = await self._ask("sent", person)
        return [_summed(recipient, list(of_it)) for recipient, of_it in groupby(rows, lambda row: str(row[0]))]

    @override
    async def copies(self) -> list[int]:
        """Always empty: nobody tells us of Cassandra's snapshots and backups."""
        return []


def _refuse_erased(person: str, row: Sequence[Any] | None) -> None:
    if row is not None and row[4]:
        raise PersonErased(f"person {person} was erased: nothing about them is kept any more")


def _summed(recipient: str, rows: list[tuple[Any, ...]]) -> Sent:
    moments = [row[2] for row in rows]
    return Sent(recipient, sum(row[1] for row in rows), min(moments), max(moments))
