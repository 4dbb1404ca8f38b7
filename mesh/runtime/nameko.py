"""The one place where nameko and eventlet come in; everything else of the kit imports them from here."""

from __future__ import annotations

import os
import warnings

# Names are resolved by the loop and by gRPC. What eventlet would bring for that takes a tenth of the start of a process.
os.environ["EVENTLET_NO_GREENDNS"] = "yes"

with warnings.catch_warnings():
    # eventlet advises against new use. docs/decisions/0001 says why this project stands on it all the same, and what would end
    # that; whoever runs a city cannot do anything about it, so it is not said to them on every start.
    warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")
    import eventlet
    import eventlet.event
    import eventlet.hubs

from nameko.containers import ServiceContainer, WorkerContext
from nameko.extensions import DependencyProvider, Entrypoint

__all__ = ["DependencyProvider", "Entrypoint", "ServiceContainer", "WorkerContext", "eventlet"]
