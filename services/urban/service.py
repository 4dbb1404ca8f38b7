"""Urban management (城管): components of the city, devices in the street, work orders, water networks, the hotline, parking,
indices, forecasts, drainage, facilities, dogs and cases.

Its methods stand in one file a subject: `order_calls.py`, `device_calls.py`, `water_calls.py`,
`hotline_calls.py`, `parking_calls.py`, `outlook_calls.py`,
`drainage_calls.py`, `field_calls.py`, `work_calls.py`,
`place_calls.py`.
"""

from __future__ import annotations

from citybrain.services.urban.place_calls import PlaceCalls


class UrbanService(PlaceCalls):
    """Everything that urban management answers."""

    name = "urban"
