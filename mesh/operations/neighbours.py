"""The other processes on a data folder, and the services in them: who joins is called without a word in a configuration."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from citybrain.mesh.manifest import Manifest
from citybrain.mesh.operations.presence import Present, present

_LOOK_S = 0.5


def served(data: Path) -> Iterator[tuple[Present, Manifest]]:
    """Each service of each process that runs here, with its manifest."""
    for one in present(data):
        if one.runs and one.said["kind"] == "mesh":
            for manifest in one.said["manifests"]:
                yield one, Manifest.model_validate(manifest)


class Neighbours:
    """Where services answer that other processes here serve."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._looked = float("-inf")
        self._found: dict[str, str] = {}

    def address(self, service: str) -> str | None:
        """host:port of a gRPC service; None: nobody here serves it."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._found = {manifest.grpc: one.said["serves"] for one, manifest in served(self._data)}
            self._looked = time.monotonic()
        return self._found.get(service)
