"""The runtime of today: nameko's containers on eventlet's asyncio hub, with grpc.aio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from citybrain.local.child import MeshChild
from tests.contract.runtime.calls import CallsContract
from tests.contract.runtime.events import EventsContract
from tests.contract.runtime.life import LifeContract
from tests.contract.runtime.streams import StreamsContract
from tests.contract.runtime.timers import TimersContract

STUBS = Path(__file__).parents[3] / "build" / "tests" / "python"


class Nameko:
    """Joins the suites."""

    @staticmethod
    def launch(
        data: Path, folder: Path, services: Sequence[str], *, driven: bool, port: int, environment: dict[str, str]
    ) -> MeshChild:
        """`city serve` in a process of its own."""
        path = os.pathsep.join(filter(None, [str(folder), str(STUBS), os.environ.get("PYTHONPATH", "")]))
        arguments = [*services, "--folder", str(folder), *(["--driven"] if driven else [])]
        # On a machine that does much else, ten seconds may not be enough to say goodbye to everybody.
        child = MeshChild(data, arguments, {"PYTHONPATH": path, "CITY_DRAIN_S": "30", **environment})
        if port:
            child.address = f"127.0.0.1:{port}"
        return child


class TestCalls(Nameko, CallsContract):
    """Unary calls."""


class TestStreams(Nameko, StreamsContract):
    """Streams of all three kinds."""


class TestEvents(Nameko, EventsContract):
    """Subscriptions and read models."""


class TestTimers(Nameko, TimersContract):
    """City time: timers and windows."""


class TestLife(Nameko, LifeContract):
    """From the start to the end of a worker and of a process."""
