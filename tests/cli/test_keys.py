"""`city keys rewrap`: another master key, while the city runs and forgets nobody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.local.child import ChildError, MeshChild
from citybrain.mesh.settings import configuration
from citybrain.mesh.settings.values import Personal, Settings
from tests.helpers.callers import calling
from tests.helpers.city_command import refused, run

PHONE = "+8613800001111"


def changed_while_it_runs(folder: Path, settings: Settings) -> None:
    """Of a city with such settings: the next key with the old one beside it, then alone; and the old one opens nothing."""
    old, new = folder / "old.key", folder / "new.key"
    for path in (old, new):
        path.write_bytes(os.urandom(32))

    def city(master: Path, *others: Path) -> MeshChild:
        mine = settings.model_copy(update={"personal": Personal(master_key=master, other_master_keys=others)})
        configuration.write(mine, folder / "city.yaml")
        return MeshChild(mine.data, ["emergency_command"], settings=mine)

    asked = pb.ReportEmergencyRequest(
        channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_SERIOUS, place=RoadPlace(edge_id="e1"), another_patient=True,
        reporter=pb.Contact(name="王建国", phone=PHONE),
    )  # fmt: skip
    with city(old) as child, calling(child) as channel:
        incident = EmergencyCommandServiceStub(channel).ReportEmergency(asked, timeout=60).incident
    with city(new, old) as child, calling(child) as channel:
        command = EmergencyCommandServiceStub(channel)
        done = run(folder, "keys", "rewrap", "--config", "city.yaml")
        assert "1 key of persons in all, wrapped by the current master key; wrapped anew: 1" in done.stdout, done.stderr
        assert "; wrapped anew: 0" in run(folder, "keys", "rewrap", "--config", "city.yaml").stdout
        assert command.ReportEmergency(asked, timeout=60).incident.reporter_id == incident.reporter_id
    with city(new) as child, calling(child) as channel:
        request = pb.GetIncidentRequest(incident_id=incident.incident_id)
        assert EmergencyCommandServiceStub(channel).GetIncident(request, timeout=60).incident.reporter.phone == PHONE
    with pytest.raises(ChildError, match="were wrapped by another master key"), city(old):
        pass
    assert "were wrapped by another master key" in refused(folder, "keys", "rewrap", "--config", "city.yaml")


def test_the_master_key_is_changed_while_the_city_runs(tmp_path: Path) -> None:
    changed_while_it_runs(tmp_path, Settings(data=tmp_path / "data"))


def test_where_there_is_no_city_nothing_is_wrapped(tmp_path: Path) -> None:
    assert "there are no events in" in refused(tmp_path, "keys", "rewrap", "--data", "nowhere")
