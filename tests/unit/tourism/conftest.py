"""What the tests of tourism share: a place for 1,000 people with three counters, and what these say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import tourism_service_pb2 as pb

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.tourism.service import TourismService
from citybrain.services.tourism.telemetry import MINUTE

HALL, LAWN = "hall", "lawn"


def place(place_id: str = "p1", **more: Any) -> pb.Place:
    """1,000 m² with 2.5 m² a person, and 3,000 m² with 5: 400 and 600 people. One counter in the hall, two on the lawn."""
    told: dict[str, Any] = {
        "name": f"景点 {place_id}", "kind": pb.PLACE_KIND_SITE, "district_id": "xihu",
        "position": pb.Position(longitude=120.15, latitude=30.25),
        "parts": [
            pb.Part(part_id=HALL, name="厅", area_m2=1000, m2_per_person=2.5),
            pb.Part(part_id=LAWN, name="草坪", area_m2=3000, m2_per_person=5),
        ],
        "counters": [
            pb.Counter(counter_id="a", part_id=HALL), pb.Counter(counter_id="b", part_id=LAWN),
            pb.Counter(counter_id="c", part_id=LAWN),
        ],
        "open_minutes": 600, "stay_minutes": 210,
    }  # fmt: skip
    return pb.Place(place_id=place_id, **{**told, **more})


def small(place_id: str, district_id: str = "xihu", **more: Any) -> pb.Place:
    """A place of one part for 100 people, with one counter."""
    part = pb.Part(part_id=HALL, name="厅", area_m2=100, m2_per_person=1)
    counters = [pb.Counter(counter_id="a", part_id=HALL)]
    return place(place_id, district_id=district_id, parts=[part], counters=counters, **more)


def count(place_id: str, counter_id: str, people: int, at: int) -> pb.Count:
    """A count at a moment (microseconds)."""
    return pb.Count(place_id=place_id, counter_id=counter_id, people=people, counted_at=timestamp(at))


def send(tourism: Running, *counts: pb.Count, **how: Any) -> pb.ReportCountsResponse:
    """Reports counts."""
    answer: pb.ReportCountsResponse = tourism.fire("ReportCounts", pb.ReportCountsRequest(counts=counts), **how)
    return answer


def now(tourism: Running) -> int:
    """City time in microseconds since 1970."""
    return int(tourism.parts.process.clock.now())


def minute(tourism: Running, place_id: str = "p1", **people: int) -> int:
    """Begins a minute, has counters say so many at its beginning, and lets it be over; gives its beginning."""
    begun = now(tourism)
    tourism.advance((-begun % MINUTE or MINUTE) / 1e6)
    begun = now(tourism)
    if people:
        send(tourism, *(count(place_id, key, number, begun) for key, number in people.items()))
    tourism.advance(58)
    return begun


def over(tourism: Running) -> None:
    """Has the last minute computed."""
    tourism.advance(20)
    tourism.rest()


def told(tourism: Running, *types: Any) -> Sequence[Any]:
    """The events of these types."""
    return [event.data for event in tourism.events(*types)]


def levels(tourism: Running) -> list[tuple[str, int, int]]:
    """What was told and retracted of the level of places: which, old, new."""
    return [
        ("told" if isinstance(one, ev.CapacityLevelChanged) else "retracted", one.old_level, one.new_level)
        for one in told(tourism, ev.CapacityLevelChanged, ev.CapacityLevelRetracted)
    ]


@pytest.fixture
def tourism() -> Iterator[Running]:
    """The service, with the place."""
    with running(TourismService) as service:
        service.fire("RegisterPlace", pb.RegisterPlaceRequest(place=place()))
        service.rest()
        yield service
