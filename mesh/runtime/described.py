"""What reflection tells: the contracts of the services that run here, and of others that a file names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_reflection.v1alpha import reflection


class Described:
    """Answers reflection. `contracts`: a descriptor set; all services in it are told. It is read again when it changes."""

    def __init__(self, listed: Collection[str], needed: Collection[str], contracts: Path | None) -> None:
        """`listed`: services here that are told; `needed`: more whose contracts must be known."""
        self._listed, self._needed = list(listed), [*listed, *needed]
        self._contracts = contracts
        self._read: tuple[int, int] | None = None
        self._answering: Any = None

    def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        """Answers one stream of questions."""
        answers: AsyncIterator[Any] = self._current().ServerReflectionInfo(requests, context)
        return answers

    def _current(self) -> Any:
        read = None
        if self._contracts is not None:
            stat = self._contracts.stat()
            read = stat.st_mtime_ns, stat.st_ino
        if self._answering is None or read != self._read:
            pool, others = self._pool()
            told = list(dict.fromkeys([*self._listed, *others]))
            self._answering = reflection.aio.ReflectionServicer(told, pool)  # type: ignore[attr-defined]
            self._read = read
        return self._answering

    def _pool(self) -> tuple[descriptor_pool.DescriptorPool, list[str]]:
        if self._contracts is None:
            return descriptor_pool.Default(), []
        pool = descriptor_pool.DescriptorPool()
        known: set[str] = set()

        def add(file: FileDescriptor) -> None:
            if file.name not in known:
                known.add(file.name)
                for needed in file.dependencies:
                    add(needed)
                pool.AddSerializedFile(file.serialized_pb)

        # What runs here comes first: the file may leave some of its services out.
        for service in self._needed:
            add(descriptor_pool.Default().FindServiceByName(service).file)
        others: list[str] = []
        for file in FileDescriptorSet.FromString(self._contracts.read_bytes()).file:
            if file.name not in known:
                known.add(file.name)
                pool.Add(file)
                others += [f"{file.package}.{service.name}" for service in file.service]
        return pool, others
