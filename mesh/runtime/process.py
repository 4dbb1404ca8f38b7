"""What the services of one process share: the store, the clock, the gRPC server, outgoing calls, tracing, the audit trail."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from citybrain.mesh.runtime.faults import Faults
from citybrain.mesh.runtime.measured import Measured

if TYPE_CHECKING:
    from citybrain.event_store.store import EventStore
    from citybrain.mesh.access.installation import Access
    from citybrain.mesh.access.quotas import Quotas
    from citybrain.mesh.audit.entries import Trail
    from citybrain.mesh.personal.vault import Vault
    from citybrain.mesh.providers.following import OpenStreams
    from citybrain.mesh.runtime.activity import Activity
    from citybrain.mesh.runtime.clock import CityClock
    from citybrain.mesh.runtime.outgoing import Outgoing
    from citybrain.mesh.runtime.server import GrpcServer
    from citybrain.mesh.settings.values import Settings
    from citybrain.mesh.storage.engine import Engine
    from citybrain.mesh.subscriptions.groups import ServiceReadModels
    from citybrain.mesh.subscriptions.tokens import Tokens
    from citybrain.observability.metrics import Metrics
    from citybrain.observability.tracing import Tracing


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
    metrics: Metrics
    tokens: Tokens
    open_streams: OpenStreams
    vault: Vault
    access: Access
    quotas: Quotas
    trail: Trail
    # What people have switched on to exercise.
    faults: Faults = field(default_factory=Faults)
    # The read models of its services, opened on first use.
    read_models: dict[str, ServiceReadModels] = field(default_factory=dict)
    # The events. Each append is counted.
    store: EventStore = field(init=False)

    def __post_init__(self) -> None:
        self.store = Measured(self.engine, self.metrics, self.settings.store)
