"""Which roads nobody drives through, also no emergency vehicle: rows of a read model, for every sector that finds ways.

`closed_roads = View(closed_roads.EVENTS, closed_roads.key, closed_roads.apply, row=closed_roads.Row)`, then
`self.closed_roads.derived(closed_roads.roads)` gives what `roads.routes_to` and `routes_from` take as closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from citybrain.traffic.v1.events_pb2 import RoadClosed, RoadReopened

from citybrain.mesh.events import Heard

EVENTS = (RoadClosed, RoadReopened)


@dataclass(frozen=True, slots=True)
class Row:
    """A road that nobody drives through, and the closures that keep it closed."""

    edge_id: str
    closures: tuple[str, ...]


def key(event: Heard) -> str:
    """The road."""
    assert isinstance(event.data, RoadClosed | RoadReopened)
    return event.data.edge_id


def apply(row: Row | None, event: Heard) -> Row | None:
    """The road while any closure keeps it closed also for emergency vehicles."""
    data = event.data
    assert isinstance(data, RoadClosed | RoadReopened)
    others = tuple(one for one in (row.closures if row is not None else ()) if one != data.closure_id)
    blocks = isinstance(data, RoadClosed) and not data.emergency_vehicles_pass
    closures = (*others, data.closure_id) if blocks else others
    return Row(data.edge_id, closures) if closures else None


def roads(rows: Iterable[Row]) -> frozenset[str]:
    """The roads that are closed."""
    return frozenset(row.edge_id for row in rows)
