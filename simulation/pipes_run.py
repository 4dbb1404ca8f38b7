"""A water company, played at a city: the model of its network without the leak, its pressure sensors, the crew at its valves.

Times are seconds of the run; the hour 0 of the model is at second `midnight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.events.v1.event_pb2 import Event
from citybrain.urban.v1 import devices_pb2, places_pb2, water_pb2

from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.moments import city_time
from citybrain.simulation.pipes import NOISE_M, STEP_S, Pipes, net3
from citybrain.simulation.rhythm import AtRest

URBAN = "citybrain.urban.v1.UrbanService"
HUB = "citybrain.district_hub.v1.DistrictHubService"
DISTRICTS = {"gongshu": "拱墅区", "linping": "临平区"}
"""The network lies in the first; its eastern part in the second."""
# Where the plane of the model is taken to lie on the earth: its unit is about 150 m.
_LONGITUDE, _LATITUDE, _EACH = 120.12, 30.28, 0.0014
_BORDER_X = 28.0
_LATE_S = 150


class PipesRun:
    """One network under a name of its own. `coordinates`: of each node of the model, in its plane."""

    def __init__(self, gateway: Gateway, network_id: str, coordinates: dict[str, tuple[float, float]]) -> None:
        self._gateway = gateway
        self.rhythm = AtRest(gateway)
        self.network_id = network_id
        self._coordinates = coordinates

    def begin(self, sensors: list[str], nodes: list[str], midnight: int) -> water_pb2.RegisterWaterNetworkResponse:
        """Makes districts, network and sensors known."""
        call = self._gateway.call
        for district, name in DISTRICTS.items():
            request = hub.RegisterDistrictRequest(district_id=district, name=name)
            call(f"{HUB}/RegisterDistrict", request, hub.RegisterDistrictResponse, f"district/{district}/{midnight}")
        west, east = DISTRICTS
        model = water_pb2.RegisterWaterNetworkRequest(
            network_id=self.network_id, inp=net3().read_text(encoding="latin-1"), starts_at=city_time(midnight), step_s=STEP_S,
            sensor_sigma_m=NOISE_M, district_id=west,
            districts=[water_pb2.NetworkDistrict(district_id=east, node_ids=[n for n in nodes if self.district(n) == east])],
        )  # fmt: skip
        known = call(
            f"{URBAN}/RegisterWaterNetwork", model, water_pb2.RegisterWaterNetworkResponse, f"network/{self.network_id}"
        )
        devices = [
            devices_pb2.Device(
                device_id=self.device(node), kind="water_pressure", position=self._position(node),
                district_id=self.district(node), network_id=self.network_id, node_id=node,
            )
            for node in sensors
        ]  # fmt: skip
        request_devices = devices_pb2.RegisterDevicesRequest(devices=devices)
        call(f"{URBAN}/RegisterDevices", request_devices, devices_pb2.RegisterDevicesResponse, f"devices/{self.network_id}")
        return known

    def play(self, pipes: Pipes, midnight: int, begin_s: int, end_s: int, act: Callable[[int, Event], None]) -> Iterator[int]:
        """Plays a part of the run of a model, and gives its second after each quarter of an hour.

        `act`: what somebody outside does at an event.
        """
        for second, shown in pipes.steps():
            if not begin_s < second <= end_s:
                continue
            now = midnight + second
            self._gateway.advance(now)
            readings = [
                devices_pb2.DeviceReading(device_id=self.device(node), observed_at=city_time(now), value=value)
                for node, value in shown.items()
            ]
            request = devices_pb2.ReportReadingsRequest(readings=readings)
            self._gateway.call(
                f"{URBAN}/ReportReadings", request, devices_pb2.ReportReadingsResponse, f"pressures/{self.network_id}/{now}"
            )
            # So long the city may wait for what comes late.
            self._gateway.advance(now + _LATE_S)
            self.rhythm.settle(now, act)
            yield second

    def device(self, node: str) -> str:
        """The id of the sensor at a node."""
        return f"{self.network_id}.{node}"

    def district(self, node: str) -> str:
        """The district in which a node lies."""
        west, east = DISTRICTS
        return east if self._coordinates[node][0] > _BORDER_X else west

    def _position(self, node: str) -> places_pb2.Position:
        x, y = self._coordinates[node]
        return places_pb2.Position(latitude=_LATITUDE + y * _EACH, longitude=_LONGITUDE + x * _EACH)
