"""Tourism (旅游系统): sites and gathering places, how many people are there, how many may be; offers of the twelve elements.

Its methods stand in one file a subject: `place_calls.py`, `offer_calls.py`.
"""

from __future__ import annotations

from citybrain.services.tourism.offer_calls import OfferCalls


class TourismService(OfferCalls):
    """Everything that tourism answers."""

    name = "tourism"
