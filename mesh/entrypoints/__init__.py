"""How work reaches a service: a gRPC call of any kind, an event of the log, a timer, a window of readings,
what another process was told.

Each is a nameko entrypoint; the method it decorates is plain synchronous code.
"""

from __future__ import annotations

from citybrain.mesh.entrypoints.calls import rpc
from citybrain.mesh.entrypoints.passed import passed
from citybrain.mesh.entrypoints.reactions import subscribe
from citybrain.mesh.entrypoints.timers import at, every
from citybrain.mesh.entrypoints.windows import Reading, Window, window

__all__ = ["Reading", "Window", "at", "every", "passed", "rpc", "subscribe", "window"]
