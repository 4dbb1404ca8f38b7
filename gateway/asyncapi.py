"""The document of the events (AsyncAPI 3.0): a channel for each type, who sends and who receives it, and its fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from citybrain.gateway.catalogue import Catalogue, Event
from citybrain.gateway.schemas import Schemas
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.version import installed_version

_TITLE = "Events of the Hangzhou City Brain (杭州城市大脑)"
_ABOUT = (
    "What happens in the city, as its services tell it. An event comes at least once, in the order of its stream, and never "
    "with a gap. Who listens gets what their token allows: fields above their clearance are missing, and events of other "
    "districts do not come. On Kafka events are CloudEvents in binary mode; from the gateway they come as "
    "`citybrain.events.v1.Event`, with this message as `data`."
)


def asyncapi(manifests: Sequence[Manifest], descriptors: bytes) -> dict[str, Any]:
    """The document. Descriptors with source info have the comments of the contracts."""
    catalogue = Catalogue(manifests, descriptors)
    schemas = Schemas(catalogue.comments)
    messages = {event.type: _message(event, schemas.message(catalogue.message(event))) for event in catalogue.events}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": _TITLE, "version": installed_version() or "0", "description": _ABOUT, "tags": _tags(catalogue)},
        "defaultContentType": "application/json",
        "channels": {
            event.type: {"address": event.type, "messages": {"event": {"$ref": f"#/components/messages/{event.type}"}}}
            for event in catalogue.events
        },
        "operations": {
            f"{action}.{service.name}.{event.type}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{event.type}"},
                "tags": [{"name": service.name}],
            }
            for event in catalogue.events
            for action, services in (("send", (event.publisher,)), ("receive", event.hearers))
            for service in services
        },
        "components": {"messages": messages, "schemas": dict(sorted(schemas.components.items()))},
    }


def _tags(catalogue: Catalogue) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "description": f"{one.title}. Team: {one.team}."} for one in catalogue.manifests
    ]  # fmt: skip


def _message(event: Event, payload: dict[str, Any]) -> dict[str, Any]:
    name = event.type.rpartition(".")[2]
    return {
        "name": event.type,
        "title": name,
        **({"summary": event.meaning} if event.meaning else {}),
        "tags": [{"name": event.publisher.name}],
        "payload": payload,
        "examples": [{"payload": event.example}],
        "x-classification": event.classification,
        **({"x-deprecated": True} if event.deprecated else {}),
    }
