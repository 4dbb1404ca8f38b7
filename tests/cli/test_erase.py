"""`city erase` beside a city that runs: processes of it forget by themselves, and the receipt says what went outside."""

from __future__ import annotations

import json
from pathlib import Path

from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.local.child import MeshChild
from tests.helpers.callers import calling
from tests.helpers.city_command import refused, run
from tests.helpers.waiting import until

PHONE = "+8613800001111"


def test_a_person_is_erased_while_the_city_works_on_what_they_reported(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with MeshChild(data, []) as child, calling(child, subject="crew") as channel:
        command = EmergencyCommandServiceStub(channel)
        asked = pb.ReportEmergencyRequest(
            channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_SERIOUS, place=RoadPlace(edge_id="e1"),
            reporter=pb.Contact(name="王建国", phone=PHONE),
        )  # fmt: skip
        incident = command.ReportEmergency(asked, timeout=60).incident
        followed = command.FollowIncident(pb.FollowIncidentRequest(incident_id=incident.incident_id), timeout=60)
        # The workflow keeps what it began with, and so does the follower who was sent it.
        events: list[str] = []
        while not any(kind.endswith("SagaStarted") for kind in events):
            events += [event.type for event in next(followed).events]
        followed.cancel()

        def called_back() -> str:
            request = pb.GetIncidentRequest(incident_id=incident.incident_id)
            return str(command.GetIncident(request, timeout=60).incident.reporter.phone)

        assert called_back() == PHONE
        done = run(tmp_path, "erase", incident.reporter_id, "--data", str(data), "--json")
        assert done.returncode == 0, done.stderr
        receipt = json.loads(done.stdout)
        (sent,) = receipt["sent"]
        assert sent["recipient"].startswith("crew: ") and sent["events"] == 2
        until(lambda: called_back() == "", "the process that runs has not forgotten who was erased")
        again = run(tmp_path, "erase", incident.reporter_id, "--data", str(data))
        assert "this was done before" in again.stdout and "crew: " in again.stdout
        assert f"event {receipt['event_id']}" in again.stdout
    kept = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert incident.incident_id.encode() in kept and PHONE.encode() not in kept


def test_nobody_and_no_city_are_told_in_one_line(tmp_path: Path) -> None:
    assert "there are no events in" in refused(tmp_path, "erase", "per-x", "--data", "nowhere")
    data = tmp_path / "data"
    with MeshChild(data, ["emergency_command"]):
        assert "nothing is kept about a person per-x" in refused(tmp_path, "erase", "per-x", "--data", str(data))
