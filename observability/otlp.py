"""What the standard `OTEL_*` variables say of sending, for spans and metrics alike."""

from __future__ import annotations

import functools
import os
import uuid
from typing import Literal

from opentelemetry.sdk.resources import Resource

from citybrain.observability import names

Kind = Literal["TRACES", "METRICS"]
# How many seconds a receiver that does not answer is tried, also when the process ends.
PATIENCE_S = 3


def sends(kind: Kind, endpoint: str) -> bool:
    """Whether anything is sent: there is an endpoint, and no variable says otherwise."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get(f"OTEL_{kind}_EXPORTER") == "none"
    return bool(endpoint) and not off


def timeout_s(kind: Kind) -> int | None:
    """For how long one try to send may last; None: as a variable says."""
    own = "OTEL_EXPORTER_OTLP_TIMEOUT" in os.environ or f"OTEL_EXPORTER_OTLP_{kind}_TIMEOUT" in os.environ
    return None if own else PATIENCE_S


def resource(service: str, *, instance: bool = False) -> Resource:
    """What stands on all spans or metrics of a service. `instance`: also an id of this process's own."""
    own = {names.SERVICE_NAME: service, names.SERVICE_NAMESPACE: names.NAMESPACE}
    return _surroundings().merge(Resource(own | {"service.instance.id": str(uuid.uuid4())} if instance else own))


@functools.cache
def _surroundings() -> Resource:
    """What the SDK says of this process and the variables of its environment. Kept: it looks through all installed packages."""
    return Resource.create({})
