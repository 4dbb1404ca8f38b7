"""Commands on streams that grow for years: a retry is answered from the newest state, which holds what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from google.protobuf.message import Message

from citybrain.mesh.errors import ServiceError
from citybrain.mesh.providers.streams import Streams

S = TypeVar("S")
V = TypeVar("V")


def newest(known: Mapping[str, V], most: int) -> Mapping[str, V]:
    """The newest of what is remembered: at least `most`, and at most twice as many, so that few events have to cut it."""
    return known if len(known) <= 2 * most else dict(list(known.items())[-most:])


def done(streams: Streams[S], key: str, decide: Callable[[S], list[Message]], label: str = "") -> S:
    """Runs a command on a long stream, and gives the state in which it is done.

    Where nothing is left to do that is the newest one. The kit would read the whole stream to find what this call has written.
    """
    state = streams.load(key)
    try:
        if not decide(state):
            return state
    except ServiceError:
        # It may have been carried out before the state became so: then it is answered as it was.
        pass
    return streams.handle(key, decide, lambda after, _: after, label=label)
