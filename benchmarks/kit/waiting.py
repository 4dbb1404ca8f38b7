"""Waiting until a process has folded what stands in its log."""

from __future__ import annotations

import time
from typing import Any

from citybrain.mesh.v1 import mesh_service_pb2 as mesh


def caught_up(stub: Any, within_s: float) -> None:
    """Waits until the views of a process have folded everything. `stub`: of its MeshService. TimeoutError: they never do."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        status = stub.GetStatus(mesh.GetStatusRequest(), timeout=60)
        groups = [group for service in status.services for group in service.groups if ".view." in group.name]
        if groups and not any(group.lag for group in groups):
            return
        time.sleep(0.2)
    raise TimeoutError("the views never caught up")
