"""Urban management (城管): components of the city, devices in the street, work orders, water networks, the hotline.

Its methods stand in one file a subject: `order_calls.py`, `device_calls.py`, `water_calls.py`,
`hotline_calls.py`.
"""

from __future__ import annotations

from citybrain.services.urban.hotline_calls import HotlineCalls


class UrbanService(HotlineCalls):
    """Everything that urban management answers."""

    name = "urban"
