"""Tourism (旅游系统): sites and gathering places, how many people are there, how many may be; offers of the twelve elements;
peaks that are forecast.

Its methods stand in one file a subject: `place_calls.py`, `offer_calls.py`, `forecast_calls.py`.
"""

from __future__ import annotations

from citybrain.services.tourism.forecast_calls import ForecastCalls


class TourismService(ForecastCalls):
    """Everything that tourism answers."""

    name = "tourism"
