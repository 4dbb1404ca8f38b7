"""What the tests of the running service share."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.urban.service import UrbanService

HERE = Position(latitude=30.25, longitude=120.15)


@pytest.fixture
def urban() -> Iterator[Running]:
    """The service."""
    with running(UrbanService) as service:
        yield service


def device(device_id: str = "d1", kind: str = "bridge_strain", **more: Any) -> dev.Device:
    """A strain gauge of a bridge, whose baseline is given."""
    asked: dict[str, Any] = {"baseline": dev.Baseline(mean=50, sigma=2), "district_id": "xihu", **more}
    return dev.Device(device_id=device_id, kind=kind, position=HERE, **asked)


def register(urban: Running, *devices: dev.Device) -> None:
    """Makes devices known, and waits until they are."""
    urban.fire("RegisterDevices", dev.RegisterDevicesRequest(devices=devices))
    urban.rest()


def report(urban: Running, value: float, device_id: str = "d1", at: int | None = None) -> dev.ReportReadingsResponse:
    """One reading, of now."""
    moment = timestamp(urban.advance() if at is None else at)
    one = dev.DeviceReading(device_id=device_id, observed_at=moment, value=value)
    answer: dev.ReportReadingsResponse = urban.fire("ReportReadings", dev.ReportReadingsRequest(readings=[one]))
    return answer


def minutes(urban: Running, *values: float, device_id: str = "d1") -> list[int]:
    """A reading a minute; the moments of them."""
    moments = []
    for value in values:
        moments.append(urban.advance(60))
        assert report(urban, value, device_id).accepted == 1
    return moments


def told(urban: Running, *types: Any) -> list[Any]:
    """The events of these types."""
    return [event.data for event in urban.events(*types)]


def over(urban: Running) -> None:
    """Closes the windows that are still open."""
    urban.advance(180)
    urban.rest()


def noise(count: int, mean: float = 50, sigma: float = 2, seed: int = 1) -> list[float]:
    """Values of a device that is well."""
    source = random.Random(seed)
    return [source.gauss(mean, sigma) for _ in range(count)]
