"""What all entrypoints share."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

from citybrain.mesh.access.principal import service_subject
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.nameko import Entrypoint
from citybrain.observability.logs import logger
from citybrain.observability.metrics import ServiceMetrics


class CityEntrypoint(Entrypoint):  # type: ignore[misc]
    """An entrypoint of the kit: knows its service, its tracer and its log."""

    container: Container
    method_name: str
    # For timers and windows: why their last work failed; empty: it was done.
    trouble = ""

    @property
    def service(self) -> str:
        """Name of the service this entrypoint belongs to."""
        return self.container.manifest.name

    @property
    def subject(self) -> str:
        """Who acts when this service does something by itself."""
        return service_subject(self.service)

    @property
    def label(self) -> str:
        """`service.method`: names it in consumer groups, request ids and log lines."""
        return f"{self.service}.{self.method_name}"

    @property
    def tracer(self) -> trace.Tracer:
        """The tracer of this service."""
        return self.container.process.tracing.tracer(self.service)

    @property
    def metrics(self) -> ServiceMetrics:
        """The numbers of this service."""
        return self.container.process.metrics.of(self.service)

    @property
    def log(self) -> Any:
        """The logger of this service."""
        return logger(self.service)
