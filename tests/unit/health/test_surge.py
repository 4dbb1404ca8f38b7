"""Hospitals are warned that many patients may come, those first that are reached first, and stand down again."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.health.v1 import events_pb2 as ev
from citybrain.health.v1 import health_service_pb2 as pb
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.mesh.errors import NoneFree, Refused
from citybrain.mesh.testing import service_factory
from citybrain.services.health.service import HealthService
from citybrain.services.health.views import HospitalRow, RoadRow

# A ring: e1 → e2 → e3 → e1.
ROADS = {"e1": RoadRow([("e1", 100.0, 10.0, ["e2"]), ("e2", 100.0, 10.0, ["e3"]), ("e3", 100.0, 10.0, ["e1"])])}
HOUSES = {"far": HospitalRow("", "e3", 90.0, 3), "near": HospitalRow("", "e2", 10.0, 3), "full": HospitalRow("", "e2", 90.0, 0)}


def warn(warning_id: str = "w1", **more: Any) -> pb.WarnHospitalsRequest:
    asked: dict[str, Any] = {"place": RoadPlace(edge_id="e1"), "hospitals": 2, **more}
    return pb.WarnHospitalsRequest(incident_id="saf-1", warning_id=warning_id, reason="a fire", **asked)


def stand_down(warning_id: str = "w1") -> pb.StandDownHospitalsRequest:
    return pb.StandDownHospitalsRequest(incident_id="saf-1", warning_id=warning_id, reason="put out")


def warned(health: Any) -> dict[str, list[str]]:
    listed = health.ListHospitals(pb.ListHospitalsRequest()).hospitals
    return {one.hospital_id: list(one.warned_of_incident_ids) for one in listed}


def test_those_that_are_reached_first_are_warned_full_or_not_until_they_stand_down() -> None:
    with service_factory(HealthService, roads=ROADS, hospital_list=HOUSES) as health:
        answer = health.WarnHospitals(warn())
        assert [(one.hospital_id, one.travel_time_s) for one in answer.hospitals] == [("near", 17.2), ("full", 23.8)]
        assert health.WarnHospitals(warn()) == answer
        assert warned(health) == {"far": [], "full": ["saf-1"], "near": ["saf-1"]}
        assert list(health.StandDownHospitals(stand_down()).hospital_ids) == ["near", "full"]
        assert list(health.StandDownHospitals(stand_down()).hospital_ids) == ["near", "full"]
        assert warned(health) == {"far": [], "full": [], "near": []}


def test_a_warning_that_comes_after_its_end_is_refused() -> None:
    with service_factory(HealthService, roads=ROADS, hospital_list=HOUSES) as health:
        assert list(health.StandDownHospitals(stand_down()).hospital_ids) == []
        with pytest.raises(Refused, match="warning w1 was ended before it came"):
            health.WarnHospitals(warn())
        assert len(health.WarnHospitals(warn("w2")).hospitals) == 2
        assert warned(health)["near"] == ["saf-1"]


def test_a_warning_goes_on_as_it_was_whatever_hospitals_there_are_now() -> None:
    before = ev.HospitalsWarned(incident_id="saf-1", warning_id="w1", hospitals=[pb.WarnedHospital(hospital_id="h0")])
    with service_factory(HealthService, roads=ROADS, hospital_list={}, surges={"saf-1": [before]}) as health:
        assert [one.hospital_id for one in health.WarnHospitals(warn()).hospitals] == ["h0"]
        with pytest.raises(NoneFree, match="no hospital is registered"):
            health.WarnHospitals(warn("w2"))
