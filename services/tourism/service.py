"""Tourism (旅游系统): sites and gathering places, how many are there and may be, what is done where that is too many; offers of
the twelve elements; peaks that are forecast; sums over visitors; what is said.

Its methods stand in one file a subject: `place_calls.py`, `offer_calls.py`, `forecast_calls.py`, `crowd_calls.py`,
`visitor_calls.py`, `opinion_calls.py`.
"""

from __future__ import annotations

from citybrain.services.tourism.crowd_calls import CrowdCalls
from citybrain.services.tourism.opinion_calls import OpinionCalls


class TourismService(OpinionCalls, CrowdCalls):
    """Everything that tourism answers."""

    name = "tourism"
