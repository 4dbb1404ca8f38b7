"""What a request id means is bound to who sent it first, by which method, with which content (ES-15).

It tells a caller who uses an id a second time for something else. Safety does not depend on it: the ids of events are made from
caller, method and request id, so two callers with one request id never write one event.

Only digests of the id, the caller and the content are stored, and the name of the method.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

Part = Literal["caller", "method", "content"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The request id is bound already, and these parts of the request are others now."""

    differs: tuple[Part, ...]


class RequestBook(Protocol):
    """The port."""

    async def bind(self, request_id: str, caller: str, method: str, content: bytes) -> Bound | None:
        """Binds a request id at its first use. None: go on, this is the first use or the same request again.

        Of several different requests with one new id that come at the same time, at most one is told to go on.

        StoreError: it is not known; ask again.
        """
        ...

    def close(self) -> None:
        """Finishes begun work, then closes."""
        ...


@dataclass(frozen=True, slots=True)
class Use:
    """One use of a request id, as it is stored."""

    caller: bytes
    method: str
    content: bytes

    @classmethod
    def of(cls, caller: str, method: str, content: bytes) -> Use:
        """With digests in place of the caller and the content."""
        return cls(digest(caller.encode("utf-8", "surrogatepass")), method, digest(content))

    def compared(self, first: Use) -> Bound | None:
        """How this use differs from the first one; None: it does not."""
        parts: tuple[Part, ...] = ("caller", "method", "content")
        differs = tuple(part for part in parts if getattr(self, part) != getattr(first, part))
        return Bound(differs) if differs else None


def digest(data: bytes) -> bytes:
    """What is stored in place of something that may be long or secret."""
    return hashlib.sha256(data).digest()


def key(request_id: str) -> bytes:
    """What a request id is stored under."""
    return digest(request_id.encode("utf-8", "surrogatepass"))
