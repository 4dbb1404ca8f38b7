"""Urban management (城管): components of the city, devices in the street, work orders.

Its methods stand in one file a subject: `order_calls.py`, `device_calls.py`.
"""

from __future__ import annotations

from citybrain.services.urban.device_calls import DeviceCalls


class UrbanService(DeviceCalls):
    """Everything that urban management answers."""

    name = "urban"
