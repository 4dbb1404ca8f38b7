"""The contracts of every service that there is, by its manifest: a new service is known to the tests by being there."""

from __future__ import annotations

import importlib
import pkgutil

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from citybrain.mesh.manifest import Manifest, find_manifests
from citybrain.mesh.startup.serve import rooms

MANIFESTS: list[Manifest] = find_manifests(rooms())
MESH_ITSELF = ("citybrain.clock.v1",)
"""Contracts of the mesh that callers outside may call, in a city whose time is driven."""


def load_contracts() -> None:
    """Makes every message and method known to this process."""
    for package in (*sorted({manifest.grpc.rpartition(".")[0] for manifest in MANIFESTS}), *MESH_ITSELF):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            if module.name.endswith("_pb2"):
                importlib.import_module(f"{package}.{module.name}")


def services() -> list[ServiceDescriptor]:
    """The services of all manifests."""
    load_contracts()
    return [descriptor_pool.Default().FindServiceByName(manifest.grpc) for manifest in MANIFESTS]
