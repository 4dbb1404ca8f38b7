"""What contracts say of who may call: methods that are closed to callers outside, and districts that are not marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool


def closed(contracts: FileDescriptorSet) -> list[str]:
    """The methods without a scope: only services of the mesh may call them, and no route leads there."""
    return [method.full_name for method in _methods(contracts) if not _scope(method)]


def unmarked(contracts: FileDescriptorSet) -> list[str]:
    """One line per field `district_id` of a request that is not marked as the district of its message."""
    found: dict[str, str] = {}
    for method in _methods(contracts):
        for field in method.input_type.fields:
            options: Any = field.GetOptions()
            if field.name == "district_id" and not options.Extensions[options_pb2.district]:
                found[field.full_name] = (
                    f"{field.full_name} names a district in a request: mark it (citybrain.options.v1.district) = true, so that "
                    "callers of another district are refused"
                )
    return list(found.values())


def _scope(method: MethodDescriptor) -> str:
    options: Any = method.GetOptions()
    return str(options.Extensions[options_pb2.scope])


def _methods(contracts: FileDescriptorSet) -> Iterator[MethodDescriptor]:
    pool = DescriptorPool()
    for file in contracts.file:
        pool.Add(file)
    for file in contracts.file:
        if file.package.startswith("citybrain."):
            for service in pool.FindFileByName(file.name).services_by_name.values():
                yield from service.methods
