"""Tools with which a team tests its service, on every level: docs/testing.md shows each.

They import no test runner, so a team in another repository may use any. No product code uses them.
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
