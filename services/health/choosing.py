"""Choosing one of many streams, so that a retry goes on where the first try stopped.

The choice is written into the stream named by the incident before the chosen one is asked. Refused by it, that is written too,
and the next is chosen. So no unit is assigned twice, and no incident holds two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace, Route
from google.protobuf.message import Message

from citybrain.mesh.errors import NoneFree, Refused
from citybrain.mesh.service import Streams
from citybrain.services.health import domain


@dataclass(frozen=True, slots=True)
class Candidate:
    """An ambulance or a hospital that could be chosen, and the way there. `cover`: why this one, where others were near."""

    name: str
    place: RoadPlace
    route: Route
    cover: pb.CoverKept | None = None


def reserve(
    searches: Streams[domain.Search],
    incident_id: str,
    reservation_id: str,
    *,
    candidates: Callable[[Iterable[str]], list[Candidate]],
    chosen: Callable[[Candidate], Message],
    refused: Callable[[str], Message],
    hold: Callable[[domain.Choice], None],
    taken: Collection[str],
) -> domain.Choice:
    """The choice that holds now. `candidates(without)` are best first; `hold` raises Refused with a reason in `taken`.

    Raises NoneFree when all candidates refused, or what `candidates` raises when there are none.
    """
    search = searches.load(incident_id)
    # For this call only: a candidate that refused may be free in the next one, and the list will say so.
    said_no: list[str] = []
    while True:
        domain.may_choose(search, reservation_id)
        attempt = len(search.refused)
        if search.choice is None:
            best = next(iter(candidates(said_no)), None)
            if best is None:
                raise NoneFree("everybody who was free has been taken meanwhile: try again", "NONE_FREE")
            event = chosen(best)
            search = searches.handle(
                incident_id,
                lambda state, event=event: domain.choose(state, event, reservation_id),  # type: ignore[misc]
                lambda after, _: after,
                label=f"{reservation_id}/choose-{attempt}",
            )
            continue
        choice = search.choice
        try:
            hold(choice)
        except Refused as refusal:
            if refusal.reason not in taken:
                raise
            said_no.append(choice.chosen_id)
            event = refused(choice.chosen_id)
            search = searches.handle(
                incident_id,
                lambda _now, event=event: [event],  # type: ignore[misc]
                lambda after, _: after,
                label=f"{reservation_id}/refuse-{attempt}",
            )
            continue
        return choice
