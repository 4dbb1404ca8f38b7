"""A peak crowd among the real services, in one process: each level is acted on there, and nothing is left in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.tourism.v1 import tourism_service_pb2 as tourism
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from citybrain.traffic.v1 import transport_pb2 as transport
from citybrain.urban.v1 import parking_pb2 as parking
from google.protobuf.message import Message

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing.parts import Parts, on_parts
from citybrain.sagas.service import SagaService
from citybrain.services.district_hub.service import DistrictHubService
from citybrain.services.health.service import HealthService
from citybrain.services.safety.service import SafetyService
from citybrain.services.tourism.service import TourismService
from citybrain.services.traffic.service import TrafficService
from citybrain.services.urban.service import UrbanService
from tests.unit.sagas.test_joint_city import MORNING, PLACE, ROADS, SECOND, City
from tests.unit.tourism.conftest import place as place_of
from tests.unit.urban.conftest import HERE

SERVICES = (
    TourismService, SafetyService, HealthService, TrafficService, UrbanService, DistrictHubService, SagaService,
)  # fmt: skip
DANGEROUS = 5_600
"""So many people are dangerously close in the hall of 1,000 m²."""


class Lake(City):
    """A city with a place for 10,400 people: 400 in a hall, 10,000 on a lawn."""

    def __init__(self, parts: Parts, at: int = MORNING) -> None:
        """`at`: not the first process of this city, which begins at that moment (microseconds)."""
        super().__init__(parts, SERVICES, at)
        if at != MORNING:
            return
        self.call(
            "district_hub.v1.DistrictHubService/RegisterDistrict", hub.RegisterDistrictRequest(district_id="xihu", name="x")
        )
        self.call("traffic.v1.TrafficService/PublishRoads", traffic.PublishRoadsRequest(edges=ROADS))
        for name in ("u1", "u2", "u3"):
            request = safety.RegisterUnitRequest(
                unit_id=name, kind=safety.UNIT_KIND_POLICE_CAR, station=RoadPlace(edge_id="e1"), district_id="xihu"
            )
            self.safety("RegisterUnit", request)
        ambulance = health.RegisterAmbulanceRequest(ambulance_id="a1", station=RoadPlace(edge_id="e2"))
        self.call("health.v1.HealthService/RegisterAmbulance", ambulance)
        price = parking.ParkingPrice(free_minutes=30, unit_minutes=30, unit_fen=250)
        self.urban(
            "RegisterParking",
            parking.RegisterParkingRequest(
                lot_id="lot-1", name="湖滨", bays=10, price=price, position=HERE, district_id="xihu"
            ),
        )
        hall, lawn = place_of().parts
        lawn.area_m2 = 50_000
        lake = place_of(parts=[hall, lawn], entrance=PLACE, parking_lot_ids=["lot-1"], elsewhere_ids=["p2"])
        for place in (lake, place_of("p2")):
            self.tourism("RegisterPlace", tourism.RegisterPlaceRequest(place=place))
        self.people(0, place_id="p2")

    def tourism(self, method: str, request: Message) -> Any:
        return self.call(f"tourism.v1.TourismService/{method}", request)

    def urban(self, method: str, request: Message) -> Any:
        return self.call(f"urban.v1.UrbanService/{method}", request)

    def people(self, people: int, hall: int = 0, place_id: str = "p1") -> None:
        """So many are counted in this minute, so many of them in the hall; then the minute is over."""
        now = self.parts.process.clock.now()
        counted = {"a": hall, "b": people - hall, "c": 0}
        counts = [
            tourism.Count(place_id=place_id, counter_id=key, people=number, counted_at=timestamp(now))
            for key, number in counted.items()
        ]
        self.tourism("ReportCounts", tourism.ReportCountsRequest(counts=counts))
        self.advance(76)

    def corrected(self, people: int) -> None:
        """What was counted last is corrected."""
        last = self.tourism("GetPlace", tourism.GetPlaceRequest(place_id="p1")).now.minute.ToMicroseconds()
        counts = [
            tourism.Count(place_id="p1", counter_id=key, people=number, counted_at=timestamp(last + 59 * SECOND))
            for key, number in {"a": 0, "b": people, "c": 0}.items()
        ]
        self.tourism("ReportCounts", tourism.ReportCountsRequest(counts=counts))

    def calm(self) -> None:
        """Few are there, for so long that it is over."""
        for _ in range(32):
            self.people(100)

    def peak(self) -> Any:
        return self.tourism("GetPlace", tourism.GetPlaceRequest(place_id="p1")).peaks[0]

    def comfort(self) -> Any:
        shown = self.tourism("ListComfort", tourism.ListComfortRequest()).places
        return next(one for one in shown if one.place_id == "p1")

    def kinds(self) -> list[Any]:
        """The measures that are in force. Several may have been ordered at once, in whatever order."""
        return sorted(one.kind for one in self.tourism("GetPlace", tourism.GetPlaceRequest(place_id="p1")).measures)

    def acknowledges(self) -> None:
        """Somebody at the place says that all measures are carried out."""
        for one in self.tourism("GetPlace", tourism.GetPlaceRequest(place_id="p1")).measures:
            request = peaks.AcknowledgeMeasureRequest(place_id="p1", measure_id=one.measure_id)
            self.tourism("AcknowledgeMeasure", request)

    def operators(self) -> list[str]:
        """Those who run metro, buses and signals accept what they are asked for; what that is."""
        asked = self.call("traffic.v1.TrafficService/ListTransport", transport.ListTransportRequest()).requests
        for one in asked:
            request = transport.AnswerTransportRequest(request_id=one.request_id, accepted=True)
            self.call("traffic.v1.TrafficService/AnswerTransport", request)
        return [transport.TransportKind.Name(one.kind).removeprefix("TRANSPORT_KIND_") for one in asked]

    def posted(self) -> list[str]:
        units = self.safety("ListUnits", safety.ListUnitsRequest()).units
        return [one.unit_id for one in units if one.incident_id]

    def lot_closed(self) -> bool:
        return bool(self.urban("GetParking", parking.GetParkingRequest(lot_id="lot-1")).lot.entry_closed)

    def decides(self, saga_id: str, question: str, option: str) -> None:
        asked = sagas.AnswerQuestionRequest(saga_id=saga_id, question=question, option=option, reason="so it is")
        self.call("sagas.v1.SagaService/AnswerQuestion", asked)

    def nothing_is_left(self) -> None:
        asked = self.call("traffic.v1.TrafficService/ListTransport", transport.ListTransportRequest()).requests
        assert (self.kinds(), self.posted(), self.driving(), self.lot_closed(), list(asked)) == ([], [], [], False, [])


SUGGEST, PAUSE, STOP, DISPERSE = (
    peaks.MEASURE_KIND_SUGGEST_ELSEWHERE, peaks.MEASURE_KIND_PAUSE_BOOKING, peaks.MEASURE_KIND_STOP_ENTRY,
    peaks.MEASURE_KIND_DISPERSE,
)  # fmt: skip


def test_a_place_that_fills_and_empties_is_acted_on_at_each_level_and_given_back(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = Lake(parts)
        city.people(8_000)
        assert (city.kinds(), city.posted()) == ([], [])
        city.people(8_400)
        saga_id = city.peak().peak_id
        assert (city.kinds(), len(city.posted()), city.driving(), city.lot_closed()) == ([SUGGEST], 3, ["a1"], False)
        assert list(city.comfort().elsewhere_ids) == ["p2"]
        assert sorted(city.operators()) == ["BUSES", "FREQUENCY", "SIGNAL_PLAN"]
        city.people(9_400)
        assert (city.kinds(), city.lot_closed(), city.comfort().booking_paused) == ([SUGGEST, PAUSE], True, True)
        city.people(10_400)
        assert (city.kinds(), city.comfort().entry_stopped) == ([SUGGEST, PAUSE, STOP], True)
        city.acknowledges()
        city.people(9_500)
        assert city.kinds() == [SUGGEST, PAUSE, STOP], "it is left 10 % lower"
        city.people(9_300)
        assert (city.kinds(), city.comfort().entry_stopped) == ([SUGGEST, PAUSE], False)
        city.people(7_000)
        assert (city.kinds(), city.lot_closed()) == ([], False)
        city.calm()
        city.advance(5)
        assert city.saga(saga_id).state == sagas.SAGA_STATE_COMPLETED
        city.nothing_is_left()
        peak = city.peak()
        assert (peak.state, peak.review.most_people, list(peak.review.forecasts)) == (peaks.PEAK_STATE_ENDED, 10_400, [])

    on_parts(tmp_path, story)


def test_people_who_stand_dangerously_close_are_led_apart_under_joint_command_and_a_person_opens_again(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = Lake(parts)
        city.people(DANGEROUS, hall=DANGEROUS)
        saga_id = city.peak().peak_id
        city.acknowledges()
        assert city.kinds() == [SUGGEST, PAUSE, STOP, DISPERSE]
        (incident,) = city.safety("ListIncidents", safety.ListIncidentsRequest()).incidents
        assert (incident.kind, incident.joint_command, incident.place) == (safety.EVENT_KIND_CROWD, True, PLACE)
        assert city.saga(incident.incident_id).workflow == "joint_command" and city.closed()
        assert city.comfort().comfort == tourism.COMFORT_FULL
        city.operators()
        city.people(100)
        assert city.kinds() == [SUGGEST, PAUSE, STOP], "however few are counted"
        city.decides(saga_id, "clear_entry", "clear")
        assert city.kinds() == []
        # Whoever commands ends joint command.
        ended = safety.OrderStandDownRequest(incident_id=incident.incident_id, outcome="nobody is in danger")
        city.safety("OrderStandDown", ended)
        city.calm()
        city.advance(5)
        assert city.saga(saga_id).state == sagas.SAGA_STATE_COMPLETED
        assert any(incident.incident_id in flag for flag in city.peak().review.flags)
        city.nothing_is_left()

    on_parts(tmp_path, story)


def test_counts_that_were_corrected_take_all_back_and_entry_opens_when_somebody_has_looked(tmp_path: Path) -> None:
    def story(parts: Parts) -> None:
        city = Lake(parts)
        city.people(10_400)
        saga_id = city.peak().peak_id
        assert city.kinds() == [SUGGEST, PAUSE, STOP]
        city.corrected(1_000)
        assert city.peak().state == peaks.PEAK_STATE_RETRACTED
        assert city.saga(saga_id).state == sagas.SAGA_STATE_NEEDS_HUMAN
        cleared = sagas.ClearUndoRequest(saga_id=saga_id, step="stop_entry", reason="nobody was there")
        city.call("sagas.v1.SagaService/ClearUndo", cleared)
        assert city.saga(saga_id).state == sagas.SAGA_STATE_UNDONE
        city.nothing_is_left()

    on_parts(tmp_path, story)


def test_each_stage_may_be_carried_on_by_another_process(tmp_path: Path) -> None:
    saga_id = ""

    def busy(city: Lake) -> None:
        nonlocal saga_id
        city.people(8_400)
        saga_id = city.peak().peak_id

    def full(city: Lake) -> None:
        city.operators()
        city.people(10_400)
        assert city.kinds() == [SUGGEST, PAUSE, STOP]

    def emptying(city: Lake) -> None:
        city.acknowledges()
        city.people(9_000)
        assert city.kinds() == [SUGGEST, PAUSE]

    def over(city: Lake) -> None:
        city.people(100)
        city.calm()
        city.advance(5)
        assert city.saga(saga_id).state == sagas.SAGA_STATE_COMPLETED
        city.nothing_is_left()

    stages: list[Callable[[Lake], object]] = [busy, full, emptying, over]
    for number, stage in enumerate(stages):
        at = MORNING + number * 120 * SECOND
        on_parts(tmp_path, lambda parts, at=at, stage=stage: stage(Lake(parts, at)))  # type: ignore[misc]
