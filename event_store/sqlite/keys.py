"""The keys of persons on one machine, in a file that only its owner may read."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from citybrain.personal.v1 import personal_pb2
from typing_extensions import override

from citybrain.event_store.keys import Erasure, KeysMissing, KeyStore, PersonErased, Rewrapped, Sent, new_person
from citybrain.event_store.sealing import Key, Masters, SealBroken
from citybrain.event_store.sqlite.database import open_database, refused, undo
from citybrain.event_store.sqlite.threads import AtOnce, in_its_thread

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (person TEXT PRIMARY KEY, cipher INTEGER NOT NULL, nonce BLOB NOT NULL, wrapped BLOB NOT NULL)
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erased (number INTEGER PRIMARY KEY AUTOINCREMENT, person TEXT NOT NULL UNIQUE, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS lookups (digest BLOB PRIMARY KEY, person TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (person TEXT NOT NULL, recipient TEXT NOT NULL, events INTEGER NOT NULL, first INTEGER NOT NULL,
  last INTEGER NOT NULL, PRIMARY KEY (person, recipient)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copies (made_at INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, nonce BLOB NOT NULL, wrapped BLOB NOT NULL) WITHOUT ROWID;
"""
_LOOKUPS = "look-ups"
_LOOKUP = "SELECT person FROM lookups WHERE digest = ?"


class SqliteKeys(KeyStore):
    """KeyStore in one SQLite file that only its owner may read; several processes may have it open.

    Erased persons are also listed in a second file, `erased.jsonl`. It only grows, and must be in no copy. On opening, every
    person in it is erased here too, so a restored copy of the keys brings nobody back. OSError: none of the master keys wrapped
    these keys. StoreError: the file cannot be used.
    """

    # Nothing: SQLite overwrites what is deleted.
    remains = ""

    def __init__(self, path: Path, master: bytes, other_masters: Sequence[bytes] = ()) -> None:
        self.path = path
        self._ledger = path.with_name("erased.jsonl")
        self._masters = Masters(master, other_masters)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
        except OSError as error:
            raise refused(path, error) from error
        self._db = open_database(path, "FULL")
        try:
            # Deleted rows are overwritten in the file. `_destroy` also empties the write-ahead log.
            self._db.execute("PRAGMA secure_delete=ON")
            self._db.executescript(_SCHEMA)
            self._lookups = self._lookup_key((master, *other_masters))
            for person, at in read_ledger(self._ledger):
                self._destroy(person, at)
        except sqlite3.Error as error:
            self._db.close()
            raise refused(path, error) from error
        self._at_once = AtOnce(path)
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="keys")

    @override
    def close(self) -> None:
        self._at_once.close()
        self.thread.submit(self._db.close).result()
        self.thread.shutdown()

    @in_its_thread
    @override
    def obtain(self, persons: Iterable[str], cipher: personal_pb2.Cipher) -> dict[str, Key]:
        found: dict[str, Key] = {}
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for person in persons:
                if self._is_erased(person):
                    raise PersonErased(f"person {person} was erased: nothing about them is kept any more")
                key = self._key(person)
                if key is None:
                    key = Key.new(cipher)
                    nonce, wrapped = self._masters.wrap(key.secret, person)
                    self._db.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", (person, cipher, nonce, wrapped))
                found[person] = key
            self._db.execute("COMMIT")
        except BaseException:
            undo(self._db)
            raise
        return found

    @in_its_thread
    @override
    def find(self, persons: Iterable[str]) -> dict[str, Key | None]:
        found: dict[str, Key | None] = {}
        for person in persons:
            found[person] = self._key(person)
            if found[person] is None and not self._is_erased(person):
                raise KeysMissing(
                    f"there is no key of person {person}, and they were never erased: these are not the keys of this log; "
                    "put the keys back from their copy"
                )
        return found

    @in_its_thread
    @override
    def knows(self, person: str) -> bool:
        sql = "SELECT EXISTS (SELECT 1 FROM keys WHERE person = ?1) OR EXISTS (SELECT 1 FROM lookups WHERE person = ?1)"
        return bool(self._db.execute(sql, (person,)).fetchone()[0])

    @in_its_thread
    @override
    def destroy(self, person: str, at: int) -> Erasure:
        if not self._is_erased(person):
            # Noted here first, where a restored copy of the keys cannot undo it.
            try:
                with self._ledger.open("a", encoding="utf-8") as ledger:
                    os.fchmod(ledger.fileno(), 0o600)
                    # Begins on a new line, since a crash may have cut the last one short.
                    ledger.write("\n" + json.dumps({"person": person, "at": at}) + "\n")
                    ledger.flush()
                    os.fsync(ledger.fileno())
            except OSError as error:
                raise refused(self._ledger, error) from error
        return self._destroy(person, at)

    @in_its_thread
    @override
    def erased(self, after: int) -> list[Erasure]:
        sql = "SELECT number, person, at FROM erased WHERE number > ? ORDER BY number"
        return [Erasure(*row) for row in self._db.execute(sql, (after,))]

    @in_its_thread
    @override
    def person(self, kind: str, value: str) -> str:
        digest = self._digest(kind, value)
        self._db.execute("INSERT INTO lookups VALUES (?, ?) ON CONFLICT DO NOTHING", (digest, new_person()))
        return _person(self._db.execute(_LOOKUP, (digest,)).fetchone())

    @override
    def known_person(self, kind: str, value: str) -> asyncio.Future[str]:
        digest = self._digest(kind, value)
        return self._at_once.read(_LOOKUP, (digest,), _person, lambda: self._known_person(digest))

    @in_its_thread
    def _known_person(self, digest: bytes) -> str:
        return _person(self._db.execute(_LOOKUP, (digest,)).fetchone())

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._lookups, f"{kind}\0{value}".encode(), "sha256")

    @in_its_thread
    @override
    def note_sent(self, persons: Mapping[str, int], recipient: str, at: int) -> None:
        self._db.executemany(
            "INSERT INTO sent VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events,"
            " last = max(last, excluded.last)",
            [(person, recipient, events, at, at) for person, events in persons.items()],
        )

    @in_its_thread
    @override
    def sent(self, person: str) -> list[Sent]:
        sql = "SELECT recipient, events, first, last FROM sent WHERE person = ? ORDER BY recipient"
        return [Sent(*row) for row in self._db.execute(sql, (person,))]

    @in_its_thread
    @override
    def copies(self) -> list[int]:
        return [row[0] for row in self._db.execute("SELECT made_at FROM copies ORDER BY made_at")]

    @in_its_thread
    def copy_to(self, path: Path) -> None:
        """Copies the keys, wrapped as they are, to a file that does not exist yet, and remembers that a copy was made."""
        path.touch(mode=0o600, exist_ok=False)
        self._db.execute("INSERT OR IGNORE INTO copies VALUES (?)", (time.time_ns() // 1000,))
        with sqlite3.connect(path) as target:
            self._db.backup(target)
        target.close()

    @in_its_thread
    @override
    def rewrap(self, after: str = "", limit: int = 500) -> Rewrapped:
        changed = 0
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for name, nonce, wrapped in self._db.execute("SELECT name, nonce, wrapped FROM secrets").fetchall():
                if again := self._masters.rewrap(nonce, wrapped, name):
                    self._db.execute("UPDATE secrets SET nonce = ?, wrapped = ? WHERE name = ?", (*again, name))
            sql = "SELECT person, nonce, wrapped FROM keys WHERE person > ? ORDER BY person LIMIT ?"
            rows = self._db.execute(sql, (after, limit)).fetchall()
            for person, nonce, wrapped in rows:
                if again := self._masters.rewrap(nonce, wrapped, person):
                    self._db.execute("UPDATE keys SET nonce = ?, wrapped = ? WHERE person = ?", (*again, person))
                    changed += 1
            self._db.execute("COMMIT")
        except BaseException:
            undo(self._db)
            raise
        # Else the keys as the other master key wrapped them would stay in the write-ahead log until it is overwritten.
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Rewrapped(rows[-1][0] if len(rows) == limit else "", len(rows), changed)

    # -- inside its thread ------------------------------------------------------------------------------------------------

    def _destroy(self, person: str, at: int) -> Erasure:
        self._db.execute("BEGIN IMMEDIATE")
        gone = self._db.execute("DELETE FROM keys WHERE person = ?", (person,)).rowcount
        gone += self._db.execute("DELETE FROM lookups WHERE person = ?", (person,)).rowcount
        self._db.execute("INSERT INTO erased (person, at) VALUES (?, ?) ON CONFLICT DO NOTHING", (person, at))
        self._db.execute("COMMIT")
        if gone:
            # Else the write-ahead log would keep the wrapped key until it is overwritten.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = self._db.execute("SELECT number, person, at FROM erased WHERE person = ?", (person,)).fetchone()
        return Erasure(*row)

    def _is_erased(self, person: str) -> bool:
        return self._db.execute("SELECT 1 FROM erased WHERE person = ?", (person,)).fetchone() is not None

    def _key(self, person: str) -> Key | None:
        found = self._db.execute("SELECT cipher, nonce, wrapped FROM keys WHERE person = ?", (person,)).fetchone()
        return None if found is None else Key(found[0], self._masters.unwrap(found[1], found[2], person))

    def _lookup_key(self, masters: Sequence[bytes]) -> bytes:
        """The secret of look-ups. OSError: none of the master keys wrapped it or, in a file without one, the keys."""
        try:
            if (found := self._secret()) is None:
                # Earlier releases did not store the secret, but made it from the master key: make the same one.
                made = hmac.new(self._wrapped_by(masters), b"look-ups", hashlib.sha256).digest()
                sealed = self._masters.wrap(made, _LOOKUPS)
                self._db.execute("INSERT INTO secrets VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (_LOOKUPS, *sealed))
                found = self._secret()
            assert found is not None
            return found
        except SealBroken:
            self._db.close()
            raise OSError(
                f"the keys of persons in {self.path} were wrapped by another master key: give the one they were made with"
            ) from None

    def _secret(self) -> bytes | None:
        row = self._db.execute("SELECT nonce, wrapped FROM secrets WHERE name = ?", (_LOOKUPS,)).fetchone()
        return None if row is None else self._masters.unwrap(row[0], row[1], _LOOKUPS)

    def _wrapped_by(self, masters: Sequence[bytes]) -> bytes:
        """The master key that wrapped the keys in the file; the first one if there are no keys."""
        row = self._db.execute("SELECT person, nonce, wrapped FROM keys LIMIT 1").fetchone()
        if row is None:
            return masters[0]
        for master in masters:
            with contextlib.suppress(SealBroken):
                Masters(master).unwrap(row[1], row[2], row[0])
                return master
        raise SealBroken


def _person(found: tuple[str] | None) -> str:
    return "" if found is None else found[0]


def read_ledger(path: Path) -> list[tuple[str, int]]:
    """Erased persons, and when. A line that a crash cut short is left out: that erasure was never confirmed."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
            found.append((str(entry["person"]), int(entry["at"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found
