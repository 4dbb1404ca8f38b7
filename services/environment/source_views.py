"""Read models of sources: their list, and in which cell of the map each is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev

from citybrain.mesh.events import Heard
from citybrain.mesh.kept import packed, unpacked
from citybrain.services.environment import places

SOURCE_EVENTS = (
    ev.SourceAdmitted,
    ev.SourceStarted,
    ev.SourceCorrected,
    ev.SourceClosed,
    ev.MeasuresOrdered,
    ev.MeasuresLifted,
)
PLACE_EVENTS = (ev.SourceAdmitted,)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source without the number of its firm: a packed message, and what lists ask for.

    `state`, `at_work`: with and without the measures that are ordered on it.
    """

    id: str
    district_id: str
    state: int
    at_work: int
    source: str


@dataclass(frozen=True, slots=True)
class CellRow:
    """A source that is, or was, in a cell of the map, and where there."""

    source_id: str
    longitude: float
    latitude: float


def source_key(event: Heard) -> str:
    """The source."""
    data: Any = event.data
    if isinstance(data, ev.SourceAdmitted):
        return data.source.source_id
    return str(data.measures.source_id if isinstance(data, ev.MeasuresOrdered) else data.source_id)


def source(row: SourceRow | None, event: Heard) -> SourceRow | None:
    """The source after an event."""
    data = event.data
    if isinstance(data, ev.SourceAdmitted):
        shown = pb.Source()
        shown.CopyFrom(data.source)
        if row is not None:
            shown.measures_ids.extend(read_source(row).measures_ids)
        at_work = row.at_work if row is not None else pb.SOURCE_STATE_ADMITTED
        return _source_row(shown, at_work)
    if row is None:
        return None
    shown, at_work = read_source(row), row.at_work
    match data:
        case ev.SourceStarted():
            at_work = pb.SOURCE_STATE_OPERATING
        case ev.SourceCorrected():
            at_work = pb.SOURCE_STATE_CORRECTED
        case ev.SourceClosed():
            at_work = pb.SOURCE_STATE_CLOSED
        case ev.MeasuresOrdered():
            _set(shown, {*shown.measures_ids, data.measures.measures_id})
        case ev.MeasuresLifted():
            _set(shown, set(shown.measures_ids) - {data.measures_id})
    return _source_row(shown, at_work)


def _set(shown: pb.Source, measures: set[str]) -> None:
    del shown.measures_ids[:]
    shown.measures_ids.extend(sorted(measures))


def _source_row(shown: pb.Source, at_work: int) -> SourceRow:
    state = pb.SOURCE_STATE_STOPPED if shown.measures_ids else at_work
    shown.MergeFrom(pb.Source(state=pb.SourceState.Name(state)))
    return SourceRow(shown.source_id, shown.district_id, shown.state, at_work, packed(shown))


def read_source(row: SourceRow) -> pb.Source:
    """A row as callers see it."""
    return unpacked(row.source, pb.Source)


def source_is_asked_for(row: SourceRow, request: pb.ListSourcesRequest) -> bool:
    """Whether a list with this question shows it."""
    return request.district_id in ("", row.district_id) and request.state in (0, row.state)


CELL_DEG = 0.05
"""How wide a cell of the map is, in degrees: about five kilometres."""


def cell(longitude: float, latitude: float) -> tuple[int, int]:
    """The cell of a place."""
    return math.floor(longitude / CELL_DEG), math.floor(latitude / CELL_DEG)


def cell_prefix(east: int, north: int) -> str:
    """How the keys of the sources in a cell begin."""
    return f"{east:05d}.{north:05d}/"


def cells_around(place: pb.Place, cells: int) -> list[str]:
    """The prefixes of the cells around a place, so many to each side."""
    east, north = cell(place.longitude, place.latitude)
    around = range(-cells, cells + 1)
    return [cell_prefix(east + x, north + y) for x in around for y in around]


def cell_key(event: Heard) -> str:
    """The cell of the source, and the source."""
    assert isinstance(event.data, ev.SourceAdmitted)
    one = event.data.source
    return cell_prefix(*cell(one.place.longitude, one.place.latitude)) + one.source_id


def in_cell(row: CellRow | None, event: Heard) -> CellRow | None:
    """The source, which stays in the cells where it was: who reads asks where it is now."""
    assert isinstance(event.data, ev.SourceAdmitted)
    one = event.data.source
    return CellRow(one.source_id, one.place.longitude, one.place.latitude)


def apart_m(row: CellRow, place: pb.Place) -> float:
    """How far a source is, or was, from a place, in metres."""
    return places.apart_m(pb.Place(longitude=row.longitude, latitude=row.latitude), place)
