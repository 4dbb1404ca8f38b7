"""Messages of contracts in rows of read models. A row is kept as JSON; a message in it is kept as its bytes, in base 64.

So it comes back exactly as it was, also with a field that a newer release has put in. A view whose rows are nothing but a
message has `Kept` as its rows; one that asks for more (an order, a state) has a text besides: `packed`, `unpacked`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Kept:
    """A row that is a message."""

    message: str

    @classmethod
    def of(cls, message: Message) -> Kept:
        """The row of a message."""
        return cls(packed(message))

    def read(self, kind: type[M]) -> M:
        """The message of a row, which is of this type: one of its own each time, to be changed at will."""
        return unpacked(self.message, kind)


def packed(message: Message) -> str:
    """A message as a text. Equal messages are equal texts."""
    return b64encode(message.SerializeToString(deterministic=True)).decode()


def unpacked(text: str, kind: type[M]) -> M:
    """The message that was `packed`."""
    return kind.FromString(b64decode(text))
