"""What is told of a drainage network: a level that changes when it will be fuller in an hour, or less full. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from citybrain.urban.v1 import drainage_pb2 as pb
from citybrain.urban.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import timestamp
from citybrain.services.urban.drainage import VERSION, Filled

LEVELS = (80, 100)
BACK = 10
"""A level is left when the fullest node is so many per cent less full."""
PAST_MIN = 120
"""The rain of so many minutes counts."""
ENOUGH = 0.75
"""Of so much of these minutes at least the rain is known where a level is left."""
EVERY_MIN = 5
NAMED = 100


@dataclass(frozen=True, slots=True)
class Network:
    """A drainage network, and the level that was told last."""

    registered: ev.DrainageRegistered | None = None
    level: int = 0
    outlook: pb.DrainageOutlook | None = None


def evolve(state: Network, event: Message) -> Network:
    """The network after an event."""
    match event:
        case ev.DrainageRegistered():
            return replace(state, registered=event)
        case ev.DrainageOutlookChanged():
            return replace(state, level=event.outlook.level, outlook=event.outlook)
    return state


def district_of(state: Network) -> str:
    """Its district."""
    return state.registered.district_id if state.registered is not None else ""


def existing(state: Network, network_id: str) -> ev.DrainageRegistered:
    """The network, or NotFound."""
    if state.registered is None:
        raise NotFound(f"there is no drainage network {network_id}: register it first", "NO_SUCH_NETWORK")
    return state.registered


def register(state: Network, request: pb.RegisterDrainageRequest) -> list[Message]:
    """Makes it known, or changed."""
    made = ev.DrainageRegistered(network_id=request.network_id, inp=request.inp, district_id=request.district_id)
    return [] if made == state.registered else [made]


def level(before: int, filled: Sequence[Filled]) -> int:
    """The level by the fullest node. It rises at its value, and falls only when 10 per cent less are full."""
    most = 100 * max((one.most_full for one in filled), default=0.0)
    reached = max((one for one in LEVELS if most >= one), default=0)
    kept = max((one for one in LEVELS if one <= before and most >= one - BACK), default=0)
    return max(reached, kept)


def look(state: Network, filled: Sequence[Filled], reported_min: int, ahead_mm_h: float, now: int) -> list[Message]:
    """Tells the level where it has changed, with its basis.

    A level rises by what is known. It is left only where the rain of most of the time is known: what nobody has measured makes
    no network emptier.
    """
    registered = state.registered
    if registered is None or (new := level(state.level, filled)) == state.level:
        return []
    if new < state.level and reported_min < ENOUGH * PAST_MIN:
        return []
    digest = hashlib.sha256(f"{registered.network_id} {now}".encode()).hexdigest()
    outlook = pb.DrainageOutlook(
        network_id=registered.network_id, district_id=registered.district_id, level=new, reported_min=reported_min,
        of_min=PAST_MIN, ahead_mm_h=ahead_mm_h, made_at=timestamp(now),
        nodes=[show(one) for one in filled if 100 * one.most_full >= LEVELS[0]][:NAMED],
    )  # fmt: skip
    return [
        ev.DrainageOutlookChanged(
            network_id=registered.network_id, district_id=registered.district_id, outlook=outlook, old_level=state.level,
            version=VERSION, order_id=f"wo-{digest[:12]}",
        )
    ]  # fmt: skip


def show(one: Filled) -> pb.DrainageNode:
    """A node as callers see it."""
    return pb.DrainageNode(node_id=one.node, full=one.full, most_full=one.most_full, flooding_lps=one.flooding_lps)
