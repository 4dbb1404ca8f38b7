"""Tokens and signing keys, as their contract names them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from citybrain.identity.v1.events_pb2 import SigningKeyChanged
from citybrain.options.v1 import options_pb2
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that have signed, the newest last."""

    signed: tuple[str, ...] = ()


def evolve(keys: Keys, event: Message) -> Keys:
    """The keys after an event."""
    if isinstance(event, SigningKeyChanged):
        return replace(keys, signed=(*keys.signed, event.key_id))
    return keys


def clearance_name(clearance: options_pb2.Classification) -> str:
    """A classification as tokens write it; PUBLIC if none was given."""
    if clearance == options_pb2.CLASSIFICATION_UNSPECIFIED:
        return "PUBLIC"
    return options_pb2.Classification.Name(clearance).removeprefix("CLASSIFICATION_")
