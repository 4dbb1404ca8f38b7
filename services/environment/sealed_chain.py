"""Evidence as a chain of records: each is sealed together with the seal of the one before it, by SM3 (GB/T 32905-2016). Pure.

A record is one line of JSON (UTF-8) with the keys `n`, `at`, `kind`, `body`, `previous`, `seal`:

- `n`: 1 for the first record, then one more each.
- `at`: when it was sealed, in UTC, as 2026-11-30T11:50:00Z.
- `kind`: a word, e.g. `readings`.
- `body`: an object.
- `previous`: the seal of the record before it; of the first one 64 zeros.
- `seal`: SM3 over the bytes of `previous` (64 ASCII signs) followed by the canonical form of {at, body, kind, n}, as 64 hex
  digits.

The canonical form: JSON with the keys in order at every depth, no blanks between its signs, no escapes but those that JSON
asks for, as UTF-8 (`json.dumps(…, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)`). So whoever
has the lines alone can tell whether one was changed, left out, moved or put in between; whoever has the seal of the last
record besides, whether the end is missing. `city evidence verify FILE` does that.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes

BEGINNING = "0" * 64
"""What stands for the seal before the first record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `body`: JSON of an object, in its canonical form. `at`: see above."""

    n: int
    at: str
    kind: str
    body: str
    previous: str
    seal: str


def canonical(value: Any) -> str:
    """The one form of a value in JSON. ValueError: it has a number that JSON does not know."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sm3(data: bytes) -> str:
    """The SM3 digest, as 64 hex digits."""
    digest = hashes.Hash(hashes.SM3())
    digest.update(data)
    return digest.finalize().hex()


def seal_of(n: int, at: str, kind: str, body: Any, previous: str) -> str:
    """The seal of a record."""
    return sm3((previous + canonical({"at": at, "body": body, "kind": kind, "n": n})).encode())


def following(last: Record | None, at: str, kind: str, body: Any) -> Record:
    """The record after `last` (None: the first one)."""
    n, previous = (1, BEGINNING) if last is None else (last.n + 1, last.seal)
    return Record(n, at, kind, canonical(body), previous, seal_of(n, at, kind, body, previous))


def line(record: Record) -> str:
    """The record as a line of JSON, without its end."""
    return canonical(
        {
            "n": record.n, "at": record.at, "kind": record.kind, "body": json.loads(record.body), "previous": record.previous,
            "seal": record.seal,
        }
    )  # fmt: skip
