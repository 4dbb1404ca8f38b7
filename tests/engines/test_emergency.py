"""City time moved at a pace, on a real Kafka and a real Cassandra: an emergency in SUMO, and what the clock says."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from citybrain.clock.v1 import clock_pb2
from citybrain.clock.v1.clock_pb2_grpc import ClockServiceStub
from citybrain.health.v1 import events_pb2 as health
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.local.city import ROOT, LocalCity
from citybrain.mesh.settings.values import Settings
from citybrain.observability.trace_store import TraceStore
from citybrain.stories.emergency.run import STEPS, Options, drive
from tests.helpers import two_emergencies
from tests.helpers.callers import channel as channel_to

CALL = {"at_s": 10, "edge_id": "-24487264", "position_m": 83.2, "severity": "SERIOUS"}
STORY = ["IncidentOpened", "AmbulanceReserved", "BedReserved", "PatientHandedOver", "IncidentClosed"]


# The traffic of ten minutes, at a pace.
@pytest.mark.timeout(240)
@pytest.mark.sumo
def test_the_patient_reaches_the_hospital_though_the_mesh_is_killed_half_way(settings: Settings, tmp_path: Path) -> None:
    calls = tmp_path / "calls.jsonl"
    calls.write_text(json.dumps(CALL))
    where = ["--city", "cologne8", "--scenarios", str(ROOT / "build/scenarios"), "--calls", str(calls), "--until", "600"]
    step = STEPS.index("at_hospital") + 1
    options = Options(where, 1, 1, tmp_path / "data", kill_step=step, settings=settings, baselines=())
    options.data.mkdir()
    told: list[str] = []
    outcome = drive(options, lambda _v, _l: None, told.append)
    (call,) = outcome.results["city"]["calls"]
    assert call["finished"] and not call["lost"], told
    assert outcome.results["city"]["safety_findings"] == 0
    assert outcome.killed is not None
    assert (outcome.killed.lost, outcome.killed.went_on_at) == (0, step)
    (events,) = outcome.incidents.values()
    names = [event.type.rpartition(".")[2] for event in events]
    assert [name for name in names if name in STORY] == STORY
    assert names.count("DistrictNotified") == names.count("NoticeAcknowledged") > 0
    stages = [health.MissionReported.FromString(e.data.value).stage for e in events if e.type.endswith(".MissionReported")]
    assert stages == [1, 2, 3, 4]
    assert all(outcome.traces.values())
    # What signals answer goes on from the command that they were told through Kafka.
    with closing(TraceStore(options.data / "traces.db")) as store:
        (incident,) = outcome.incidents
        assert two_emergencies.missing(store.by_incident(incident), in_the_street=True) == []


def test_rest_cannot_be_seen_and_city_time_moves_all_the_same(settings: Settings, tmp_path: Path) -> None:
    driven = settings.model_copy(update={"data": tmp_path, "time": "driven"})
    with LocalCity(driven, only=["district_hub"]) as city:
        assert city.gateway is not None
        with channel_to(city.gateway.address, city.data) as channel:
            clock = ClockServiceStub(channel)
            with pytest.raises(grpc.RpcError, match="at a pace of your own") as refused:
                clock.Rest(clock_pb2.RestRequest(), timeout=20)
            assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            moved = clock.Advance(clock_pb2.AdvanceRequest(time=Timestamp(seconds=1_767_600_000)), timeout=20)
            assert moved.time.seconds == 1_767_600_000
