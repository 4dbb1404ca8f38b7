"""States of streams as bytes, for snapshots. A state may hold dataclasses, messages, plain values and collections of these.

Not pickle: reading one back can only make objects of the declared classes, and runs no other code.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import typing
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from citybrain.mesh.events import message_class, type_name
from citybrain.mesh.settings.version import installed_version

_PLAIN = (bool, int, float, str, type(None))
_MANY = {"tuple": tuple, "set": set, "frozenset": frozenset}


class StateError(Exception):
    """A state cannot be kept; the message says which part of it is wrong."""


def pack_state(state: Any) -> bytes:
    """A state as bytes. StateError: something in it cannot be kept."""
    kind: Any = type(state)
    return json.dumps(_pack(state, classes_of(kind)), ensure_ascii=False, separators=(",", ":")).encode()


def unpack_state(kind: type, packed: bytes) -> Any:
    """The state that was packed. `kind`: its class."""
    return _unpack(json.loads(packed), classes_of(kind))


@functools.cache
def code_of(evolve: Callable[..., Any]) -> str:
    """A name for the code that makes states. It changes with every source file in the folder of `evolve`, and every release."""
    try:
        folder = Path(inspect.getfile(inspect.unwrap(evolve))).parent
    except TypeError as error:
        raise StateError(f"{evolve!r} has no source to tell it by: give Streams a plain function as `evolve`") from error
    digest = hashlib.sha256(installed_version().encode())
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def classes_of(kind: type) -> Mapping[str, type]:
    """The dataclasses that a state of a class can hold, by name: the class, and the classes of its fields, at any depth."""
    found: dict[str, type] = {}
    waiting: list[Any] = [kind]
    while waiting:
        hint = waiting.pop()
        waiting += typing.get_args(hint)
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint.__qualname__ not in found:
            found[hint.__qualname__] = hint
            waiting += typing.get_type_hints(hint).values()
    return found


def _pack(value: Any, classes: Mapping[str, type]) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [_pack(item, classes) for item in value]
    if isinstance(value, Message):
        return {"message": type_name(value), "is": b64encode(value.SerializeToString(deterministic=True)).decode()}
    if isinstance(value, bytes):
        return {"bytes": b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"mapping": [[_pack(key, classes), _pack(item, classes)] for key, item in value.items()]}
    for name, many in _MANY.items():
        if type(value) is many:
            return {name: [_pack(item, classes) for item in value]}
    if dataclasses.is_dataclass(value) and classes.get(type(value).__qualname__) is type(value):
        fields = {field.name: _pack(getattr(value, field.name), classes) for field in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, "is": fields}
    raise StateError(
        f"a state holds a {type(value).__qualname__}, which no snapshot can keep: make it of dataclasses whose fields say "
        "what they hold, messages, numbers, texts and collections of these, or give Streams no snapshot_every"
    )


def _unpack(packed: Any, classes: Mapping[str, type]) -> Any:
    if isinstance(packed, list):
        return [_unpack(item, classes) for item in packed]
    if not isinstance(packed, dict):
        return packed
    match packed:
        case {"message": name, "is": data}:
            return message_class(name).FromString(b64decode(data))
        case {"bytes": data}:
            return b64decode(data)
        case {"mapping": items}:
            return {_unpack(key, classes): _unpack(item, classes) for key, item in items}
        case {"class": name, "is": fields}:
            return classes[name](**{field: _unpack(item, classes) for field, item in fields.items()})
    ((name, items),) = packed.items()
    return _MANY[name](_unpack(item, classes) for item in items)
