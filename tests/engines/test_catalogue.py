"""The catalogue on real engines: a process that runs no other service counts the events of all."""

from __future__ import annotations

from citybrain.catalogue.v1 import catalogue_service_pb2 as pb
from citybrain.catalogue.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.district_hub.v1.district_hub_service_pb2_grpc import DistrictHubServiceStub

from citybrain.local.child import MeshChild
from citybrain.mesh.settings.values import Settings
from tests.helpers.callers import calling
from tests.helpers.waiting import until

REGISTERED = "citybrain.district_hub.v1.DistrictRegistered"


def test_events_of_services_that_run_elsewhere_are_counted_in_all_partitions_and_after_a_restart(settings: Settings) -> None:
    with MeshChild(settings.data, ["district_hub"], settings=settings, name="hub") as child, calling(child) as channel:
        districts = DistrictHubServiceStub(channel)
        for number in range(8):
            request = hub.RegisterDistrictRequest(district_id=f"d{number}", name=f"d{number}")
            districts.RegisterDistrict(request, wait_for_ready=True, timeout=60)
    with MeshChild(settings.data, ["catalogue"], settings=settings, name="catalogue") as child:
        for _ in range(2):
            with calling(child) as channel:
                stub = CatalogueServiceStub(channel)

                def counted(stub: CatalogueServiceStub = stub) -> pb.EventType | None:
                    answer = stub.ListEventTypes(pb.ListEventTypesRequest(type=REGISTERED), wait_for_ready=True, timeout=60)
                    return next((one for one in answer.types if one.count == 8), None)

                found = until(counted, "that all districts are counted")
                assert (sum(day.count for day in found.days), found.quality.unreadable) == (8, 0)
                assert found.lateness.half.seconds < 60
            child.kill()
            child.start()
