"""Contracts by name. One that no code here has loaded is loaded when it is asked for: events may be of any sector."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

D = TypeVar("D", Descriptor, ServiceDescriptor)
# Only contracts are imported, whatever name somebody asks for.
_PACKAGE = re.compile(r"citybrain\.[a-z0-9_]+\.v[0-9]+")
_FILES: list[Path] = []


def look_in(contracts: Path) -> None:
    """Takes contracts from a descriptor set too, which may be written later: those of services from other repositories."""
    if contracts not in _FILES:
        _FILES.append(contracts)


def find_message(name: str) -> Descriptor:
    """The descriptor of a message. KeyError: no contract that is known here has it."""
    return _found(descriptor_pool.Default().FindMessageTypeByName, name)


def find_service(name: str) -> ServiceDescriptor:
    """The descriptor of a gRPC service. KeyError: no contract that is known here has it."""
    return _found(descriptor_pool.Default().FindServiceByName, name)


def services() -> list[str]:
    """The full names of the gRPC services of every contract that can be imported here."""
    import citybrain

    paths = [path for folder in citybrain.__path__ for path in Path(folder).glob("*/v*/*_service_pb2.py")]
    modules = [importlib.import_module(".".join(("citybrain", *path.parts[-3:-1], path.stem))) for path in paths]
    return sorted({one.full_name for module in modules for one in module.DESCRIPTOR.services_by_name.values()})


def _found(find: Callable[[str], D], name: str) -> D:
    try:
        return find(name)
    except KeyError:
        _load(name.rpartition(".")[0])
        return find(name)


def _load(package: str) -> None:
    if _PACKAGE.fullmatch(package):
        _import(package)
        for contracts in _FILES:
            _add(contracts, package)


def _import(package: str) -> None:
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError:
        return
    for module in pkgutil.iter_modules(found.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")


def _add(contracts: Path, package: str) -> None:
    """Adds the files of a package, and those that they need."""
    try:
        known = {file.name: file for file in FileDescriptorSet.FromString(contracts.read_bytes()).file}
    except FileNotFoundError:
        return
    for file in known.values():
        if file.package == package:
            _add_file(file, known)


def _add_file(file: FileDescriptorProto, known: dict[str, FileDescriptorProto]) -> None:
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(file.name)
    except KeyError:
        for needed in file.dependency:
            if needed in known:
                _add_file(known[needed], known)
        pool.AddSerializedFile(file.SerializeToString())
