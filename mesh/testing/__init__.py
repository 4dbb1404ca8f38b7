"""What a team tests its service with, on every level: docs/testing.md shows each.

It imports no test runner: a service in another repository is tested with whatever its team tests with. No product code uses it.
"""

from __future__ import annotations

from citybrain.mesh.testing.errors import Misused, NeverCame
from citybrain.mesh.testing.exchange import Stream
from citybrain.mesh.testing.factory import CapturedLog, service_factory
from citybrain.mesh.testing.neighbours import Asked, Fake, fake
from citybrain.mesh.testing.running import Running, running
from citybrain.mesh.testing.sentence import given

__all__ = [
    "Asked",
    "CapturedLog",
    "Fake",
    "Misused",
    "NeverCame",
    "Running",
    "Stream",
    "fake",
    "given",
    "running",
    "service_factory",
]
