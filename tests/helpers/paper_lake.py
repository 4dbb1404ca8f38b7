"""A place with too many people on paper: counters, staff, operators and a desk, so that S3 can be driven over the gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadPlace
from citybrain.safety.v1 import safety_service_pb2 as safety
from citybrain.safety.v1.safety_service_pb2_grpc import SafetyServiceStub
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.tourism.v1 import peaks_pb2 as peaks
from citybrain.tourism.v1 import tourism_service_pb2 as tourism
from citybrain.tourism.v1.tourism_service_pb2_grpc import TourismServiceStub
from citybrain.traffic.v1 import transport_pb2 as transport
from citybrain.urban.v1 import parking_pb2 as parking
from citybrain.urban.v1.urban_service_pb2_grpc import UrbanServiceStub
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

from tests.helpers.paper_city import PaperCity
from tests.unit.tourism.conftest import place as place_of
from tests.unit.urban.conftest import HERE

HALL_M2 = 1000
"""A hall for 400 people, beside a lawn for 10,000."""
HOLDS = 10_400


class PaperLake(PaperCity):
    """Everybody who has a part in S3, on one channel."""

    @override
    def connect(self, address: str) -> None:
        super().connect(address)
        self.tourism = TourismServiceStub(self.channel)
        self.safety = SafetyServiceStub(self.channel)
        self.urban = UrbanServiceStub(self.channel)

    def build_lake(self) -> None:
        """A district, roads, police, an ambulance, a parking lot and the place."""
        self.advance(0)
        self.call(self.hub.RegisterDistrict, hub.RegisterDistrictRequest(district_id="xihu", name="西湖区"))
        self.publish_roads()
        self.add_ambulances(1)
        for name in ("p1", "p2", "p3"):
            request = safety.RegisterUnitRequest(
                unit_id=name, kind=safety.UNIT_KIND_POLICE_CAR, station=RoadPlace(edge_id="e1"), district_id="xihu"
            )
            self.call(self.safety.RegisterUnit, request)
        price = parking.ParkingPrice(free_minutes=30, unit_minutes=30, unit_fen=250)
        lot = parking.RegisterParkingRequest(
            lot_id="lot-1", name="湖滨", bays=10, price=price, position=HERE, district_id="xihu"
        )
        self.call(self.urban.RegisterParking, lot)
        hall, lawn = place_of().parts
        hall.area_m2, lawn.area_m2 = HALL_M2, 50_000
        lake = place_of(parts=[hall, lawn], entrance=RoadPlace(edge_id="e3", position_m=20), parking_lot_ids=["lot-1"])
        self.call(self.tourism.RegisterPlace, tourism.RegisterPlaceRequest(place=lake))
        self.rest()

    def count(self, people: int, hall: int = 0) -> None:
        """So many are counted in this minute, so many of them in the hall; then the minute is over."""
        at = Timestamp(seconds=self.now)
        counts = [
            tourism.Count(place_id="p1", counter_id=key, people=number, counted_at=at)
            for key, number in {"a": hall, "b": people - hall, "c": 0}.items()
        ]
        self.call(self.tourism.ReportCounts, tourism.ReportCountsRequest(counts=counts))
        self.rest()
        self.advance(76)
        self.rest()

    def correct(self, people: int) -> None:
        """What was counted last is corrected."""
        last = self.call(self.tourism.GetPlace, tourism.GetPlaceRequest(place_id="p1")).now.minute.seconds
        counts = [
            tourism.Count(place_id="p1", counter_id=key, people=number, counted_at=Timestamp(seconds=last + 59))
            for key, number in {"a": 0, "b": people, "c": 0}.items()
        ]
        self.call(self.tourism.ReportCounts, tourism.ReportCountsRequest(counts=counts))
        self.rest()

    def count_until(self, condition: Callable[[], bool], people: int, hall: int = 0, minutes: int = 45) -> None:
        """Counts so many each minute until something is so. Staff and operators answer meanwhile."""
        for _ in range(minutes):
            self.count(people, hall)
            self.answer_all()
            if condition():
                return
        peak = self.peak()
        raise AssertionError(f"not so within {minutes} minutes: {peak}, {self.saga(peak.peak_id) if peak else ''}")

    # -- what people do -----------------------------------------------------------------------------------------------

    def answer_all(self) -> None:
        """Staff say that measures are carried out, operators accept."""
        for one in self.measures():
            request = peaks.AcknowledgeMeasureRequest(place_id="p1", measure_id=one.measure_id)
            self.call(self.tourism.AcknowledgeMeasure, request)
        for asked in self.requests():
            if asked.state == transport.TRANSPORT_STATE_ASKED:
                answer = transport.AnswerTransportRequest(request_id=asked.request_id, accepted=True)
                self.call(self.traffic.AnswerTransport, answer)
        self.rest()

    def clear(self, saga_id: str) -> None:
        """A person has looked: others may be let in."""
        asked = sagas.AnswerQuestionRequest(saga_id=saga_id, question="clear_entry", option="clear", reason="so it is")
        self.call(self.sagas.AnswerQuestion, asked)
        self.rest()

    def clear_undo(self, saga_id: str) -> None:
        """A person lets the stop of entry be undone."""
        cleared = sagas.ClearUndoRequest(saga_id=saga_id, step="stop_entry", reason="nobody was there")
        self.call(self.sagas.ClearUndo, cleared)
        self.rest()

    # -- what is so ---------------------------------------------------------------------------------------------------

    def peak(self) -> Any:
        """The peak that is dealt with, or the last one; None: there was none."""
        found = self.call(self.tourism.GetPlace, tourism.GetPlaceRequest(place_id="p1")).peaks
        return found[0] if found else None

    def measures(self) -> list[Any]:
        """The measures that are in force."""
        return list(self.call(self.tourism.GetPlace, tourism.GetPlaceRequest(place_id="p1")).measures)

    def kinds(self) -> list[Any]:
        """Their kinds."""
        return sorted(one.kind for one in self.measures())

    def requests(self) -> list[Any]:
        """What those who run metro, buses and signals are asked for."""
        return list(self.call(self.traffic.ListTransport, transport.ListTransportRequest()).requests)

    def held(self) -> tuple[int, int, bool]:
        """Police cars that are posted, ambulances that stand ready, whether the parking lot is closed."""
        units = self.call(self.safety.ListUnits, safety.ListUnitsRequest()).units
        fleet = self.call(self.health.ListAmbulances, health.ListAmbulancesRequest()).ambulances
        lot = self.call(self.urban.GetParking, parking.GetParkingRequest(lot_id="lot-1")).lot
        return sum(bool(one.incident_id) for one in units), sum(bool(one.incident_id) for one in fleet), lot.entry_closed

    def happened(self, *kinds: type) -> Counter[str]:
        """How often events of these kinds stand in the log."""
        now = Timestamp()
        now.GetCurrentTime()
        names = [kind.DESCRIPTOR.full_name for kind in kinds]  # type: ignore[attr-defined]
        asked = hub.SubscribeRequest(district_id="xihu", event_types=names, until_time=now)
        found = [event for answer in self.hub.Subscribe(asked, timeout=60) for event in answer.events]
        return Counter(event.type.rpartition(".")[2] for event in found if event.type in names)
