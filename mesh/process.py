"""What the services of one process share: the store, the clock, the gRPC server, outgoing calls, tracing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from citybrain.event_store.contract import EventStore
from citybrain.mesh.activity import Activity
from citybrain.mesh.clock import CityClock
from citybrain.mesh.engine import Engine
from citybrain.mesh.following import OpenStreams
from citybrain.mesh.outgoing import Outgoing
from citybrain.mesh.server import GrpcServer
from citybrain.mesh.settings import Settings
from citybrain.mesh.tokens import Tokens
from citybrain.observability.tracing import Tracing

if TYPE_CHECKING:
    from citybrain.mesh.groups import ServiceFile
    from citybrain.mesh.vault import Vault


@dataclass(slots=True)
class Process:
    """Handed to every container as `config["process"]`."""

    settings: Settings
    loop: asyncio.AbstractEventLoop
    engine: Engine
    clock: CityClock
    activity: Activity
    server: GrpcServer
    outgoing: Outgoing
    tracing: Tracing
    tokens: Tokens
    streams: OpenStreams
    vault: Vault
    # The view files of its services, opened on first use.
    files: dict[str, ServiceFile] = field(default_factory=dict)

    @property
    def store(self) -> EventStore:
        """The events."""
        return self.engine.store
