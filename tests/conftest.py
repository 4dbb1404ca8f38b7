"""Shared by all tests: a mesh process to talk to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from citybrain.mesh.child import MeshChild

TRAP = Path(__file__).parent / "mesh" / "trap"


def run_trap(data: Path) -> MeshChild:
    """A process that runs only the trap service; not started yet."""
    path = os.pathsep.join(filter(None, [str(TRAP), os.environ.get("PYTHONPATH", "")]))
    return MeshChild(data, ["trap", "--folder", str(TRAP)], {"PYTHONPATH": path})


@pytest.fixture(scope="session")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshChild]:
    """A trap process that all tests share: they must not end it."""
    with run_trap(tmp_path_factory.mktemp("trap")) as child:
        yield child


@pytest.fixture(scope="session")
def channel(trap: MeshChild) -> Iterator[grpc.Channel]:
    """A channel to the shared trap."""
    with grpc.insecure_channel(trap.address) as opened:
        yield opened


@pytest.fixture
def own_trap(tmp_path: Path) -> Iterator[MeshChild]:
    """A trap process that a test may stop or kill."""
    with run_trap(tmp_path / "data") as child:
        yield child


@pytest.fixture
def own_channel(own_trap: MeshChild) -> Iterator[grpc.Channel]:
    """A channel to the test's own trap."""
    with grpc.insecure_channel(own_trap.address) as opened:
        yield opened
