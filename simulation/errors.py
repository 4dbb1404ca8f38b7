"""What can go wrong on the simulation's side; each is shown to people as one line."""

from __future__ import annotations


class SimulationError(Exception):
    """Something outside of the city stopped the simulation. The text says what, and what to do about it."""


class ScenarioError(SimulationError):
    """A scenario, places or calls file cannot be used. The text names the file, and the line or the field."""


class GatewayLost(SimulationError):
    """The gateway did not answer for longer than the simulation waits."""
