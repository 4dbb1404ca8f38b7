"""What the standard `OTEL_*` variables say of sending, for spans and metrics alike."""

from __future__ import annotations

import os
from typing import Literal

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
