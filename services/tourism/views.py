"""Read models: the places, those of each district, and who is at each now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import tourism_service_pb2 as pb

from citybrain.mesh.events import Heard
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept, packed, unpacked
from citybrain.services.tourism import counting, levels

PLACE_EVENTS = (ev.PlaceRegistered,)
NOW_EVENTS = (ev.PlaceCounted, ev.CountingStopped)


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A place in the list of its district."""

    id: str


@dataclass(frozen=True, slots=True)
class NowRow:
    """The newest minute of a place. `share`: of its capacity, in per cent. `now`: a packed message, without the name."""

    place_id: str
    district_id: str
    minute: int
    share: float
    silent: bool
    now: str


def place_key(event: Heard) -> str:
    """The place."""
    assert isinstance(event.data, ev.PlaceRegistered)
    return event.data.place.place_id


def place(_row: Kept | None, event: Heard) -> Kept | None:
    """The place as it was registered last."""
    assert isinstance(event.data, ev.PlaceRegistered)
    return Kept.of(event.data.place)


def in_district(district_id: str) -> str:
    """How the keys of a district begin."""
    return f"{joined(district_id)}/"


def listed_key(event: Heard) -> str:
    """District and place. A place stays in its district."""
    assert isinstance(event.data, ev.PlaceRegistered)
    return in_district(event.data.district_id) + event.data.place.place_id


def listed(_row: ListedRow | None, event: Heard) -> ListedRow | None:
    """The place."""
    assert isinstance(event.data, ev.PlaceRegistered)
    return ListedRow(event.data.place.place_id)


def now_key(event: Heard) -> str:
    """The place."""
    return str(event.data.place_id)  # type: ignore[attr-defined]


def now(row: NowRow | None, event: Heard) -> NowRow | None:
    """The newest minute. What is made anew before it changes nothing here."""
    data = event.data
    if isinstance(data, ev.CountingStopped):
        return row and replace(row, silent=True)
    assert isinstance(data, ev.PlaceCounted)
    minute = counting.minute_of(data)
    if row is not None and minute < row.minute:
        return row
    shown = pb.PlaceNow(
        place_id=data.place_id, district_id=data.district_id, people=data.people, capacity=data.capacity, level=data.level,
        state=pb.COUNT_STATE_COMPLETE if data.complete else pb.COUNT_STATE_INCOMPLETE, share=100 * data.people / data.capacity,
        minute=data.minute, parts=data.parts, missing=counting.missing(data), uncounted_parts=counting.uncounted_parts(data),
        bound_by=data.bound_by,
    )  # fmt: skip
    return NowRow(data.place_id, data.district_id, minute, shown.share, False, packed(shown))


def read_now(row: NowRow, place: pb.Place, at: int) -> pb.PlaceNow:
    """A row as callers see it at a moment (microseconds since 1970)."""
    shown = unpacked(row.now, pb.PlaceNow)
    shown.name, shown.kind = place.name, place.kind
    if counting.is_silent(row.minute, at):
        shown.state = pb.COUNT_STATE_SILENT
    return shown


def comfort(place: pb.Place, row: NowRow | None, at: int) -> pb.PlaceComfort:
    """What everybody may know of a place at a moment."""
    shown = pb.PlaceNow(state=pb.COUNT_STATE_SILENT) if row is None else read_now(row, place, at)
    closest = max((one.level for one in shown.parts), default=pb.DENSITY_LEVEL_FREE)
    return pb.PlaceComfort(
        place_id=place.place_id, name=place.name, in_district=place.district_id, kind=place.kind,
        comfort=levels.comfort(shown.level, closest, shown.state),
    )  # fmt: skip


def has_room(row: NowRow | None, at: int) -> bool:
    """Whether visitors may be sent there: it is counted as a whole, and no level holds."""
    return comfort(pb.Place(), row, at).comfort == pb.COMFORT_COMFORTABLE


def order_of(row: NowRow) -> tuple[float, str]:
    """What places are ordered by: the fullest first."""
    return -row.share, row.place_id


def fullest_first(rows: Iterable[NowRow]) -> Mapping[str, list[NowRow]]:
    """The places of each district, and (by an empty name) all places, the fullest first."""
    found: dict[str, list[NowRow]] = {"": sorted(rows, key=order_of)}
    for row in found[""]:
        found.setdefault(row.district_id, []).append(row)
    return found


def counted(rows: Iterable[NowRow]) -> list[NowRow]:
    """The places of which nobody has said that they are silent, by id."""
    return sorted((row for row in rows if not row.silent), key=lambda row: row.place_id)
