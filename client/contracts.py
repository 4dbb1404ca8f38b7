"""From an event's data to its message, by the contracts in this package."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.message import Message

_PACKAGE = re.compile(r"citybrain\.[a-z0-9_]+\.v[0-9]+")


def message_of(data: PackedAny) -> Message | None:
    """The message; None: no contract of its type is known here."""
    kind = _kind(data.type_url.rpartition("/")[2])
    return None if kind is None else kind.FromString(data.value)


@functools.cache
def _kind(name: str) -> type[Message] | None:
    package = name.rpartition(".")[0]
    try:
        if _PACKAGE.fullmatch(package):
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                if module.name.endswith("_pb2"):
                    importlib.import_module(f"{package}.{module.name}")
        return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    except (ModuleNotFoundError, KeyError):
        return None
