"""Registers a city in the mesh: its districts, roads, signals, ambulances and hospitals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import grpc
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.traffic.v1 import traffic_service_pb2 as traffic

from citybrain.simulation.errors import SimulationError
from citybrain.simulation.gateway_client import Gateway, Refused
from citybrain.simulation.network import Network, signal_messages
from citybrain.simulation.places import Place, Places
from citybrain.simulation.plans import Plan

HEALTH = "citybrain.health.v1.HealthService"
TRAFFIC = "citybrain.traffic.v1.TrafficService"
HUB = "citybrain.district_hub.v1.DistrictHubService"

EDGES_A_CALL = 200
ROADS_KNOWN_WITHIN_S = 20.0
PAUSE_S = 0.05


def road_place(place: Place) -> RoadPlace:
    """A place as a message of the mesh."""
    return RoadPlace(edge_id=place.edge_id, position_m=place.position_m)


def register(gateway: Gateway, network: Network, plans: Mapping[str, Plan], places: Places) -> None:
    """Registers everything, in a fixed order. Raises Refused where the mesh refuses something."""
    for district in places.districts:
        gateway.call(
            f"{HUB}/RegisterDistrict",
            hub.RegisterDistrictRequest(district_id=district.district_id, name=district.name),
            hub.RegisterDistrictResponse,
            f"district-{district.district_id}",
        )
    roads = road_edges(network, places)
    for start in range(0, len(roads), EDGES_A_CALL):
        gateway.call(
            f"{TRAFFIC}/PublishRoads",
            traffic.PublishRoadsRequest(edges=roads[start : start + EDGES_A_CALL]),
            traffic.PublishRoadsResponse,
            f"roads-{start}",
        )
    for signal in signal_messages(network, plans):
        try:
            gateway.call_if_there(
                f"{TRAFFIC}/RegisterSignal",
                traffic.RegisterSignalRequest(signal=signal),
                traffic.RegisterSignalResponse,
                f"signal-{signal.signal_id}",
            )
        except Refused as refused:
            raise SimulationError(f"signal {signal.signal_id}: {refused}") from refused
    for station in places.stations:
        for ambulance_id in station.ambulance_ids:
            ambulance = health.RegisterAmbulanceRequest(ambulance_id=ambulance_id, station=road_place(station.place))
            _once_roads_are_known(
                lambda ambulance=ambulance: gateway.call(  # type: ignore[misc]
                    f"{HEALTH}/RegisterAmbulance", ambulance, health.RegisterAmbulanceResponse,
                    f"ambulance-{ambulance.ambulance_id}",
                )
            )  # fmt: skip
    for hospital in places.hospitals:
        request = health.RegisterHospitalRequest(
            hospital_id=hospital.hospital_id,
            name=hospital.name,
            entrance=road_place(hospital.entrance),
            places=hospital.places,
        )
        _once_roads_are_known(
            lambda request=request: gateway.call(  # type: ignore[misc]
                f"{HEALTH}/RegisterHospital", request, health.RegisterHospitalResponse, f"hospital-{request.hospital_id}"
            )
        )


def _once_roads_are_known(call: Callable[[], object]) -> None:
    """Tries until health knows the roads: it hears of them from the log, some time after they were published."""
    until = time.monotonic() + ROADS_KNOWN_WITHIN_S
    while True:
        try:
            call()
            return
        except Refused as refused:
            if refused.code is not grpc.StatusCode.FAILED_PRECONDITION or time.monotonic() > until:
                raise
        time.sleep(PAUSE_S)


def road_edges(network: Network, places: Places) -> list[RoadEdge]:
    """Every edge, with its district."""
    district_of = places.district_of()
    return [
        RoadEdge(
            edge_id=edge.edge_id,
            length_m=edge.length_m,
            free_speed_mps=edge.speed_mps,
            next_edge_ids=edge.next_ids,
            district_id=district_of.get(edge.edge_id, ""),
        )
        for edge in network.edges.values()
    ]
