"""A source of pollution on paper: stations, district, bureau and firm, so that S4 can be driven over the gateway."""

from __future__ import annotations

from collections import Counter
from typing import Any

from citybrain.credit.v1 import credit_service_pb2 as credit
from citybrain.credit.v1.credit_service_pb2_grpc import CreditServiceStub
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1.environment_service_pb2_grpc import EnvironmentServiceStub
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf.timestamp_pb2 import Timestamp
from typing_extensions import override

from citybrain.services.environment import places, plume
from tests.helpers.paper_city import PaperCity
from tests.unit.environment.conftest import reading, station
from tests.unit.environment.test_sources import MIDDLE, RING, SO2, USCC, admission

WIND = (pb.QUANTITY_WIND_SPEED, pb.QUANTITY_WIND_DIRECTION)
# A second sensor beside the one in the east: it confirms what that reads.
STATIONS = {**RING, "near": (850, 20)}
ROADS = ["e2", "e3"]
FIRM = credit.SubjectRef(uscc=USCC)


def measured(at: int, origin: float | None) -> list[pb.Reading]:
    """What all stations measure at a second. `origin`: where the wind comes from, in degrees; None: there is no plume."""
    found = []
    for name, (east, north) in STATIONS.items():
        there = 0.0 if origin is None else float(plume.dilution(east + 500, north - 60, 20, 3.0, origin, "B"))
        values = (round(20 + 400e6 * there, 1), 3.0, float(origin or 0))
        found += [reading(what, value, at, name) for what, value in zip((SO2, *WIND), values, strict=True)]
    return found


class PaperBureau(PaperCity):
    """Everybody who has a part in S4, on one channel."""

    @override
    def connect(self, address: str) -> None:
        super().connect(address)
        self.environment = EnvironmentServiceStub(self.channel)
        self.credit = CreditServiceStub(self.channel)

    def build_park(self) -> None:
        """Stations in a ring, a registered source, a district and roads."""
        self.advance(0)
        self.call(self.hub.RegisterDistrict, hub.RegisterDistrictRequest(district_id="xihu", name="西湖区"))
        self.publish_roads()
        source = admission("guilty", places.at_metres(MIDDLE, -500, 60), road_ids=ROADS)
        self.call(self.environment.AdmitSource, source)
        self.call(self.environment.StartSource, pb.StartSourceRequest(source_id="guilty"))
        for name, (east, north) in STATIONS.items():
            there = places.at_metres(MIDDLE, east, north)
            one = station(name, there.longitude, there.latitude, quantities=(SO2, *WIND), interval_s=300)
            self.call(self.environment.RegisterStation, pb.RegisterStationRequest(station=one))
        self.rest()

    def pollute(self) -> str:
        """A quarter of an hour of it in a western wind, until it is verified; the exceedance."""
        for origin in (None, 270, 280, 262):
            self._measure(origin)
        (one,) = self.call(self.environment.ListExceedances, pb.ListExceedancesRequest()).exceedances
        return str(one.exceedance_id)

    def clear_up(self) -> None:
        """The air is clean again for an hour and three quarters: so it is over."""
        for _ in range(21):
            self._measure(None)

    def _measure(self, origin: float | None) -> None:
        """What stations measure in five minutes, as `measured` has it."""
        batch = measured(self.now, origin)
        self.advance(300)
        self.call(self.environment.ReportReadings, pb.ReportReadingsRequest(readings=batch))
        self.rest()

    # -- what people do -----------------------------------------------------------------------------------------------

    def stands_at(self, saga_id: str, step: str, *status: str) -> None:
        """Lets city time pass until a step is there; any of these."""
        self.until(lambda: self.step_or_none(saga_id, step) in (status or ("waiting", "asked")), minutes=60)

    def nearly_late(self, saga_id: str, step: str) -> None:
        """Moves city time to a minute before a step is late."""
        (late,) = [one.deadline.seconds for one in self.saga(saga_id).steps if one.name == step]
        self.advance(late - 60 - self.now)

    def step_or_none(self, saga_id: str, name: str) -> str:
        """The status of a step; empty before it is begun."""
        return next((step.status for step in self.saga(saga_id).steps if step.name == name), "")

    @override
    def until(self, condition: Any, seconds: float = 0, minutes: int = 30) -> None:
        """Lets city time pass, a minute at a time, until something is so."""
        for _ in range(minutes):
            self.rest()
            if condition():
                return
            self.advance(60)
        under_way = {
            one.saga_id: self._under_way(one.saga_id) for one in self.call(self.sagas.ListSagas, sagas.ListSagasRequest()).sagas
        }
        raise AssertionError(f"not so within {minutes} minutes of city time: {under_way}")

    def _under_way(self, saga_id: str) -> list[str]:
        """Which steps are neither done nor still to come."""
        steps = self.saga(saga_id).steps
        return [f"{step.name}: {step.status} {step.reason}" for step in steps if step.status not in ("done", "not begun")]

    def inspect(self, saga_id: str) -> None:
        """Inspectors find something."""
        found = pb.ReportInspectionRequest(
            inspection_id=f"{saga_id}/order_inspection/1", found=True, finding="the filter is torn"
        )
        self.call(self.environment.ReportInspection, found)

    def answer(self, saga_id: str, question: str, option: str) -> None:
        """A person of the bureau answers."""
        self.stands_at(saga_id, question)
        asked = sagas.AnswerQuestionRequest(saga_id=saga_id, question=question, option=option, reason="so it is")
        self.call(self.sagas.AnswerQuestion, asked)

    def correct(self, saga_id: str) -> None:
        """The firm puts it right, and that is accepted."""
        key: Any = {"case_id": f"{saga_id}/open_case/1", "correction_id": f"{saga_id}/order_correction/1"}
        self.call(self.environment.ReportCorrection, pb.ReportCorrectionRequest(report="a new filter", **key))
        self.call(self.environment.AcceptCorrection, pb.AcceptCorrectionRequest(finding="it is there", **key))

    def win_appeal(self, saga_id: str) -> None:
        """The firm appeals against the sanction, and wins."""
        filed = credit.FileAppealRequest(subject=FIRM, sanction_id=f"{saga_id}/impose_sanction/1", grounds="another wind")
        appeal_id = self.call(self.credit.FileAppeal, filed).appeal.appeal_id
        won = credit.DecideAppealRequest(subject=FIRM, appeal_id=appeal_id, won=True, reason="the trace was weak")
        self.call(self.credit.DecideAppeal, won)

    # -- what is so ---------------------------------------------------------------------------------------------------

    def decision(self) -> Any:
        """What a department is told that asks whether the firm may have a subsidy."""
        asked = credit.CheckCreditRequest(subject=FIRM, purpose=credit.CHECK_PURPOSE_SUBSIDY, basis="Budget Law, article 38")
        return self.call(self.credit.CheckCredit, asked).decision

    def source_state(self) -> Any:
        """Where the source stands in its life."""
        return self.call(self.environment.GetSource, pb.GetSourceRequest(source_id="guilty")).source.state

    def without_lorries(self) -> list[str]:
        """The roads around which lorries are led."""
        roads = self.call(self.traffic.ListClosedRoads, traffic.ListClosedRoadsRequest()).roads
        return [road.edge_id for road in roads if road.lorries_only]

    def happened(self, *kinds: type) -> Counter[str]:
        """How often events of these kinds stand in the log."""
        now = Timestamp()
        now.GetCurrentTime()
        names = [kind.DESCRIPTOR.full_name for kind in kinds]  # type: ignore[attr-defined]
        asked = hub.SubscribeRequest(district_id="xihu", event_types=names, until_time=now)
        found = [event for answer in self.hub.Subscribe(asked, timeout=60) for event in answer.events]
        return Counter(event.type.rpartition(".")[2] for event in found if event.type in names)
