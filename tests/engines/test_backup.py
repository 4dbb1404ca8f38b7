"""A city on Cassandra and Kafka is lost whole and put back, as docs/backup.md says, and compared with a record kept outside."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from cassandra.query import ValueSequence
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.local.child import MeshChild
from citybrain.local.engine_processes import EngineProcesses
from citybrain.mesh.settings.values import Kafka, Settings
from tests.engines.commands import city
from tests.helpers.callers import calling

LIMIT_S = 60.0


def report(stub: Any, name: str) -> Any:
    contact = pb.Contact(name=name, phone=f"+86138{len(name):08}")
    place = RoadPlace(edge_id="e1")
    asked = pb.ReportEmergencyRequest(
        channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_SERIOUS, place=place, reporter=contact, another_patient=True
    )
    return stub.ReportEmergency(asked, timeout=LIMIT_S).incident


def story(stub: Any, incident_id: str, count: int) -> list[str]:
    """The first events of an incident, each with all that was told of it."""
    found: list[str] = []
    call = stub.FollowIncident(pb.FollowIncidentRequest(incident_id=incident_id), timeout=LIMIT_S)
    for response in call:
        found += [event.SerializeToString(deterministic=True).hex() for event in response.events]
        if len(found) >= count:
            break
    call.cancel()
    return found


def listed(stub: Any) -> list[str]:
    return sorted(one.incident_id for one in stub.ListIncidents(pb.ListIncidentsRequest(page_size=100), timeout=20).incidents)


async def tables(engines: EngineProcesses, keyspaces: list[str]) -> dict[tuple[str, str], Path]:
    """In which folders the files of tables are."""
    asked = await Asked.open(Place(engines.cassandra.address))
    sql = "SELECT keyspace_name, table_name, id FROM system_schema.tables WHERE keyspace_name IN %s"
    found = await asked.ask(sql, (ValueSequence(keyspaces),))
    asked.close()
    return {
        (keyspace, name): engines.cassandra.folder / "data" / keyspace / f"{name}-{one.hex}" for keyspace, name, one in found
    }


# An engine is started again on the way; the first test of a run waits for both to start too.
@pytest.mark.timeout(240)
def test_a_city_that_lost_everything_is_put_back_from_its_streams_and_keys(
    engines: EngineProcesses, prefix: str, settings: Settings, tmp_path: Path
) -> None:
    keyspaces = [prefix, f"{prefix}_keys"]
    before = settings
    # Another beginning of the names of topics: to this city its Kafka is new and empty.
    after = before.model_copy(update={"kafka": Kafka(addresses=engines.kafka.address, prefix=f"{prefix}-new")})
    services = ["emergency_command"]

    with MeshChild(before.data, services, settings=before) as mesh, calling(mesh) as channel:
        stub: Any = EmergencyCommandServiceStub(channel)
        incidents = [report(stub, "王" * (number + 1)) for number in range(3)]
        stub.CancelIncident(pb.CancelIncidentRequest(incident_id=incidents[0].incident_id, reason="a prank"), timeout=LIMIT_S)
        record = {one.incident_id: story(stub, one.incident_id, 2 if one is incidents[0] else 1) for one in incidents}
        assert sorted(map(len, record.values())) == [1, 1, 2]

    there = asyncio.run(tables(engines, keyspaces))
    gone = incidents[1].reporter_id
    # What a node has in memory is in its files when it has ended.
    engines.cassandra.stop()
    for (keyspace, name), folder in there.items():
        if keyspace == keyspaces[1] or name == "streams":
            shutil.copytree(folder, tmp_path / "copy" / folder.name)
        shutil.rmtree(folder)
    shutil.rmtree(engines.cassandra.folder / "commitlog")
    for folder in there.values():
        if (tmp_path / "copy" / folder.name).exists():
            shutil.copytree(tmp_path / "copy" / folder.name, folder)
    engines.cassandra.start()

    # Who was erased since the copy is known outside of it.
    erased = json.loads(city(after, after.data.parent, "erase", gone, "--json").stdout)
    assert not erased["again"], "the copy had brought the key back"
    filled = city(after, after.data.parent, "log", "verify", "--repair", "--json")
    assert filled.returncode == 0, filled.stdout + filled.stderr
    # Three incidents and one that was cancelled, and what was recorded of that; the erasure was published by who erased.
    assert json.loads(filled.stdout)["published"] >= 4 + 1 and json.loads(filled.stdout)["sound"]

    with MeshChild(after.data, services, settings=after) as mesh, calling(mesh) as channel:
        stub = EmergencyCommandServiceStub(channel)
        end = time.monotonic() + LIMIT_S
        while listed(stub) != sorted(record):
            assert time.monotonic() < end, (listed(stub), record)
            time.sleep(0.1)
        found = {incident_id: story(stub, incident_id, len(events)) for incident_id, events in record.items()}
        kept = [one for one in incidents if one.reporter_id != gone]
        assert {one.incident_id: found[one.incident_id] for one in kept} == {
            one.incident_id: record[one.incident_id] for one in kept
        }
        forgotten = stub.GetIncident(pb.GetIncidentRequest(incident_id=incidents[1].incident_id), timeout=LIMIT_S).incident
        assert (forgotten.reporter_id, forgotten.reporter.phone) == (gone, "")
        # What was put back goes on as if nothing had been.
        report(stub, "afterwards")
        stub.CancelIncident(pb.CancelIncidentRequest(incident_id=incidents[2].incident_id, reason="a prank"), timeout=LIMIT_S)
        assert len(story(stub, incidents[2].incident_id, 2)) == 2
