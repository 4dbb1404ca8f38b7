"""`city erase` on real engines: a person is erased for every process of a service, as somebody types it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as pb
from citybrain.emergency_command.v1.emergency_command_service_pb2_grpc import EmergencyCommandServiceStub
from citybrain.roads.v1.roads_pb2 import RoadPlace

from citybrain.event_store.cassandra.session import Asked, Place
from citybrain.local.child import MeshChild
from citybrain.local.engine_processes import EngineProcesses
from citybrain.mesh.personal.sealed_rows import SealedRows
from citybrain.mesh.personal.vault import Vault
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.startup.serve import choose
from citybrain.mesh.storage.distributed import Distributed
from tests.engines.commands import city
from tests.helpers.callers import calling

PHONE = "+8613800001111"
LIMIT_S = 60.0


def until(is_so: Callable[[], bool], problem: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not is_so():
        assert time.monotonic() < end, problem
        time.sleep(0.1)


def report(command: Any, name: str) -> Any:
    asked = pb.ReportEmergencyRequest(
        channel=pb.CHANNEL_PHONE, severity=pb.SEVERITY_SERIOUS, place=RoadPlace(edge_id="e1"), another_patient=True,
        reporter=pb.Contact(name=name, phone=PHONE),
    )  # fmt: skip
    return command.ReportEmergency(asked, timeout=LIMIT_S).incident


async def rows(settings: Settings) -> list[dict[str, Any]]:
    """The rows of the view, opened as a process that comes now opens them."""
    engine = await Distributed.open(settings, choose(["emergency_command"], []))
    try:
        kept = dict(await engine.models("emergency_command").scan("listed"))
        return list((await SealedRows(Vault(engine.keys), "listed", {"reporter": "reporter_id"}).open(kept)).values())
    finally:
        await engine.close()


async def everything(place: Place) -> str:
    """What stands in every table of a keyspace."""
    asked = await Asked.open(place)
    try:
        tables = await asked.ask("SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (place.keyspace,))
        return "".join([repr(await asked.ask(f"SELECT * FROM {place.keyspace}.{table}")) for (table,) in tables])
    finally:
        asked.close()


def test_a_person_is_erased_for_every_process_of_a_service(
    engines: EngineProcesses, prefix: str, settings: Settings, tmp_path: Path
) -> None:
    services = ["emergency_command", "district_hub"]
    with (
        MeshChild(settings.data, services, settings=settings) as one,
        MeshChild(settings.data, services, settings=settings, name="two") as two,
        calling(one) as to_one,
        calling(two) as to_two,
    ):
        commands: list[Any] = [EmergencyCommandServiceStub(to_one), EmergencyCommandServiceStub(to_two)]
        incident = report(commands[0], "王建国")
        assert report(commands[1], "Wang").reporter_id == incident.reporter_id, "a telephone is one person's in both"

        def told() -> list[str]:
            request = pb.GetIncidentRequest(incident_id=incident.incident_id)
            return [command.GetIncident(request, timeout=LIMIT_S).incident.reporter.phone for command in commands]

        assert told() == [PHONE, PHONE]
        until(lambda: [row["reporter"] is not None for row in asyncio.run(rows(settings))] == [True, True], "no rows")
        DistrictHubServiceStub(to_one).RegisterDistrict(
            hub.RegisterDistrictRequest(district_id="xihu", name="西湖"), timeout=LIMIT_S
        )
        follower = DistrictHubServiceStub(to_two).Subscribe(hub.SubscribeRequest(district_id="xihu"), timeout=2 * LIMIT_S)
        done = city(settings, tmp_path, "erase", incident.reporter_id, "--json")
        assert done.returncode == 0, done.stderr
        receipt = json.loads(done.stdout)
        assert not receipt["again"] and f"{prefix}_keys.persons" in receipt["remains"]
        heard = next(follower).events
        assert [(event.type, event.id) for event in heard] == [("citybrain.personal.v1.PersonErased", receipt["event_id"])]
        follower.cancel()
        until(lambda: told() == ["", ""], "a process that runs has not forgotten who was erased")
        assert [row["reporter"] for row in asyncio.run(rows(settings))] == [None, None]
        again = city(settings, tmp_path, "erase", incident.reporter_id)
        assert "this was done before" in again.stdout and "commit logs" in again.stdout
        assert report(commands[1], "somebody else").reporter_id != incident.reporter_id
        nobody = city(settings, tmp_path, "erase", "per-x")
        assert (nobody.returncode, "nothing is kept about a person per-x" in nobody.stderr) == (2, True), nobody.stderr
    kept = asyncio.run(everything(Place(engines.cassandra.address, prefix)))
    assert incident.incident_id in kept and PHONE not in kept and "王建国" not in kept
