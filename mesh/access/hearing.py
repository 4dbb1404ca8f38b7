"""Who may hear which types of events, when somebody outside of the mesh asks for them by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor import Descriptor

from citybrain.mesh.access.principal import Principal
from citybrain.mesh.access.rules import clearance_name, events_scope
from citybrain.mesh.contracts import find_message
from citybrain.mesh.errors import BadRequest, Forbidden
from citybrain.mesh.events import classification_of


def require_events(caller: Principal, types: Iterable[str], *, told: Collection[str] = ()) -> None:
    """BadRequest: a type is no type of event that is known here. Forbidden: the caller may not hear its events.

    `told`: types for which the scope of the method is enough.
    """
    names = list(types)
    found: dict[str, Descriptor] = {}
    for name in names:
        try:
            found[name] = find_message(name)
        except KeyError:
            continue
    unknown = [number for number, name in enumerate(names) if name not in found or not _is_event(found[name])]
    if unknown:
        problem = "is no type of event that is known here: `city events list` and the page /docs/events name them"
        raise BadRequest([(f"event_types[{number}]", problem) for number in unknown])
    for name, message in found.items():
        classification = classification_of(name)
        if classification == options_pb2.CLASSIFICATION_PUBLIC:
            continue
        scope = events_scope(message.file.package)
        if name not in told and not caller.holds(scope):
            raise Forbidden(
                f"events of the type {name} need the scope {scope}, which this token has not: ask whoever gives you tokens",
                "NO_SCOPE",
            )
        if classification > caller.clearance:
            raise Forbidden(f"events of the type {name} need the clearance {clearance_name(classification)}", "LOW_CLEARANCE")


def _is_event(message: Descriptor) -> bool:
    """By where its contract stands; and whatever has a classification may be heard."""
    options: Any = message.GetOptions()
    return message.file.name.endswith("/events.proto") or bool(options.Extensions[options_pb2.classification])
