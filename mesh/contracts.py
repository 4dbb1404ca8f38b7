"""Contracts by name. One that no code here has loaded is loaded when it is asked for: events may be of any sector."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

# Only contracts are imported, whatever name somebody asks for.
_PACKAGE = re.compile(r"citybrain\.[a-z0-9_]+\.v[0-9]+")
_FILES: list[Path] = []


def look_in(contracts: Path) -> None:
    """Takes contracts from a descriptor set too, which may be written later: those of services from other repositories."""
    if contracts not in _FILES:
        _FILES.append(contracts)


def find_message(name: str) -> Descriptor:
    """The descriptor of a message. KeyError: no contract that is known here has it."""
    pool = descriptor_pool.Default()
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        package = name.rpartition(".")[0]
        if not _PACKAGE.fullmatch(package):
            raise
        _import(package)
        for contracts in _FILES:
            _add(contracts, package)
        return pool.FindMessageTypeByName(name)


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
