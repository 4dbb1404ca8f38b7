"""Carrying capacity: what the permits of an area allow beside what it can bear. Pure.

What an area can bear in a year is set by whoever has worked it out, with where that is from: this project has no model of it.
The load is the sum of what the permits of its sources allow, of those that are not closed, divided by that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.errors import NotFound
from citybrain.services.environment.source_views import SourceRow, read_source


@dataclass(frozen=True, slots=True)
class Area:
    """What an area can bear of one pollutant."""

    capacity: ev.CapacitySet | None = None


def evolve(area: Area, event: Message) -> Area:
    """The area after an event."""
    return Area(event) if isinstance(event, ev.CapacitySet) else area


def put(area: Area, request: pb.SetCapacityRequest) -> list[Message]:
    """Sets what an area can bear."""
    capacity = ev.CapacitySet(
        district_id=request.district_id, quantity=request.quantity, kg_a_year=request.kg_a_year, source=request.source
    )
    return [] if area.capacity == capacity else [capacity]


def permitted(rows: Iterable[SourceRow]) -> Mapping[tuple[str, int], tuple[float, int]]:
    """What permits allow in a year, and of how many sources, by district and quantity."""
    found: dict[tuple[str, int], tuple[float, int]] = {}
    for row in rows:
        if row.at_work == pb.SOURCE_STATE_CLOSED:
            continue
        source = read_source(row)
        for one in source.permit.pollutants:
            kg, sources = found.get((source.district_id, one.quantity), (0.0, 0))
            found[source.district_id, one.quantity] = (kg + one.kg_a_year, sources + 1)
    return found


def show(area: Area, load: tuple[float, int]) -> pb.GetCapacityResponse:
    """The load of an area. NotFound: nobody has said what it can bear."""
    if area.capacity is None:
        raise NotFound("nobody has said what this area can bear: SetCapacity does, with its source", "NO_CAPACITY")
    kg, sources = load
    capacity = area.capacity.kg_a_year
    return pb.GetCapacityResponse(
        kg_a_year=capacity, source=area.capacity.source, permitted_kg_a_year=kg, sources=sources,
        load=kg / capacity if capacity > 0 else 0.0,
    )  # fmt: skip
