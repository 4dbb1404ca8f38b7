"""Kafka and Cassandra on this machine, side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from citybrain.local.cassandra import Cassandra
from citybrain.local.engine_process import EngineProcess, silent
from citybrain.local.kafka import Kafka


class EngineProcesses:
    """Both engines below one folder. Port 0: the port the engine had there before, or a free one."""

    def __init__(self, folder: Path, kafka_port: int = 0, cassandra_port: int = 0) -> None:
        self.kafka = Kafka(folder / "kafka", kafka_port)
        self.cassandra = Cassandra(folder / "cassandra", cassandra_port)

    @property
    def all(self) -> tuple[EngineProcess, ...]:
        """Both engines."""
        return (self.kafka, self.cassandra)

    @classmethod
    def start(
        cls, folder: Path, *, kafka_port: int = 0, cassandra_port: int = 0,
        stays: bool = False, say: Callable[[str], None] = silent,
    ) -> Self:  # fmt: skip
        """Starts both and waits until they answer. They end when this process ends, however that ends, unless it `stays`.

        EngineError: one could not start; then neither runs.
        """
        engines = cls(folder, kafka_port, cassandra_port)
        try:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda engine: engine.start(stays=stays, say=say), engines.all))
        except BaseException:
            engines.stop()
            raise
        return engines

    def stop(self) -> None:
        """Asks both to end and waits until they have."""
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda engine: engine.stop(), self.all))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stops them."""
        self.stop()
