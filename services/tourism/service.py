"""Tourism (旅游系统): sites and gathering places, how many people are there, how many may be.

Its methods stand in one file a subject: `place_calls.py`.
"""

from __future__ import annotations

from citybrain.services.tourism.place_calls import PlaceCalls


class TourismService(PlaceCalls):
    """Everything that tourism answers."""

    name = "tourism"
