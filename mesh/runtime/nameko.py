"""The only module that imports nameko and eventlet; the rest of the kit imports them from here."""

from __future__ import annotations

import os
import warnings

# The loop and gRPC resolve names. Loading eventlet's own resolver would take a tenth of the start of a process.
os.environ["EVENTLET_NO_GREENDNS"] = "yes"

with warnings.catch_warnings():
    # eventlet warns against new use. docs/decisions/0001 says why this project uses it all the same, and until when. People who
    # run a city cannot change that, so they do not see the warning at each start.
    warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")
    import eventlet
    import eventlet.event
    import eventlet.hubs

from nameko.containers import ServiceContainer, WorkerContext
from nameko.extensions import DependencyProvider, Entrypoint

__all__ = ["DependencyProvider", "Entrypoint", "ServiceContainer", "WorkerContext", "eventlet"]
