"""Windows of measured speeds: each is published once, and never one that is older than the last."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.traffic.v1.events_pb2 import SpeedsMeasured
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class LastTold:
    """The end of the newest window that was told, in seconds since 1970."""

    to_s: int = 0


def evolve(window: LastTold, event: Message) -> LastTold:
    """The window after an event."""
    return LastTold(event.to_time.seconds) if isinstance(event, SpeedsMeasured) else window


def publish(window: LastTold, measured: SpeedsMeasured) -> list[Message]:
    """Publishes a window, unless one that is as new was published before."""
    return [measured] if measured.to_time.seconds > window.to_s else []
