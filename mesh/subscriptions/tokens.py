"""Signed tokens that name a place in the log, so that a subscriber can go on where it stopped, and only there."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from citybrain.event_store.store import Cursor
from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.personal.secret_files import make_secret, read_secret

_TAG_BYTES = 12
_DAY_S = 86_400


class Tokens:
    """Makes and reads tokens under a key of this installation. A place is good for `days`."""

    def __init__(self, key: bytes, days: int = 90, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._days = days
        self._now = now

    @classmethod
    def with_key_file(cls, path: Path, days: int = 90) -> Tokens:
        """Uses the key in a file; makes the file if it is missing, for its owner only. Raises OSError as `from_file` does."""
        make_secret(path)
        return cls.from_file(path, days)

    @classmethod
    def from_file(cls, path: Path, days: int = 90) -> Tokens:
        """Uses the key in a file. OSError: there is no file, or no key in it."""
        return cls(read_secret(path, "key of tokens", "remove it, and subscribers begin anew"), days)

    def make(self, purpose: str, cursor: Cursor) -> str:
        """A token for a place in a feed, good only for this purpose."""
        # Names of partitions are alike, so they compress well.
        return self.seal(purpose, zlib.compress(json.dumps([int(self._now()), dict(cursor)], separators=(",", ":")).encode()))

    def read(self, purpose: str, token: str, field: str = "resume_token") -> Cursor:
        """The place in a token. BadRequest: the token was not made here for this purpose. Refused: it is too old."""
        made: float
        cursor: dict[str, int]
        made, cursor = json.loads(zlib.decompress(self.unseal(purpose, token, field)))
        if self._now() - made > self._days * _DAY_S:
            raise Refused(
                f"{field} is older than {self._days} days, and such places are not kept: leave it out, and begin at a moment "
                "of your choice",
                "TOKEN_TOO_OLD",
            )
        return cursor

    def seal(self, purpose: str, body: bytes) -> str:
        """A token that holds some bytes, good only for this purpose."""
        return base64.urlsafe_b64encode(body + self._tag(purpose, body)).decode().rstrip("=")

    def unseal(self, purpose: str, token: str, field: str) -> bytes:
        """The bytes in a token. BadRequest: the token was not made here for this purpose."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            raw = b""
        body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        if not body or not hmac.compare_digest(tag, self._tag(purpose, body)):
            problem = "is no token of this call: use the last one that the same request brought, or leave it out to begin anew"
            raise BadRequest([(field, problem)])
        return body

    def _tag(self, purpose: str, body: bytes) -> bytes:
        return hmac.new(self._key, purpose.encode() + b"\0" + body, hashlib.sha256).digest()[:_TAG_BYTES]
