"""Every kind of span of the city, and every attribute: what it is called, what stands on it always, and what it may hold.

Beside `numbers.py`, which lists the metrics, and `log_fields.py`. Tests hold that a mesh that runs writes these spans and no
others, with these attributes and no others, and that each of them is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from citybrain.observability import names

Holds = Literal["name", "id", "number", "words", "stack", "place"]
HOLDS: dict[Holds, str] = {
    "name": "one of a list that stands in code, contracts, manifests or workflows",
    "id": "an id: of an event, a stream, a saga, an incident, a call. Ids of persons in it are random",
    "number": "a number, a moment, or yes and no",
    "words": "a sentence that stands in the code, or the class of an error with its code and reason",
    "stack": "files, lines and functions where an error came up",
    "place": "an address in the network, a path without its query, or the name of a program that calls",
}
"""What may stand in an attribute or in a field of a log line. Nothing that is about a person is among it."""


@dataclass(frozen=True, slots=True)
class SpanKind:
    """A kind of span. `name`: what changes in it stands in braces; `has`: on each such span; `may`: on some."""

    name: str
    kind: Literal["server", "client", "internal", "consumer"]
    about: str
    has: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    # What may happen in it.
    events: tuple[str, ...] = ()

    @property
    def begins(self) -> str:
        """The part of its name that does not change."""
        return self.name.partition("{")[0]


_ANY = (names.INCIDENT_ID,)
_WORK = (names.INCIDENT_ID, names.ERROR_TYPE)
_WROTE = (names.APPENDED, names.EXCEPTION)

SPANS = (
    SpanKind(
        "{rpc.method}", "server", "A call that a service got. How a stream over the log ends, it does not say: it ends before.",
        (names.RPC_METHOD,), (*_ANY, names.STATUS_CODE), (names.APPENDED,),
    ),
    SpanKind(
        "{rpc.method}", "client", "A call to another service, with all its tries.",
        (names.RPC_METHOD, names.STATUS_CODE), _ANY, (names.RETRY,),
    ),
    SpanKind(
        "handle {event.type}", "consumer", "An event that a service heard. It goes on from whatever wrote the event.",
        (names.EVENT_ID, names.EVENT_TYPE, names.CONSUMER_GROUP), _WORK, _WROTE,
    ),
    SpanKind("step {step}", "internal", "A step of a saga: its command, sent once.", (names.SAGA_ID,), _WORK, _WROTE),
    SpanKind("undo {step}", "internal", "The undo of a step.", (names.SAGA_ID,), _WORK, _WROTE),
    SpanKind("window {service.method}", "consumer", "A window of readings, handed to its method.", (), _WORK, _WROTE),
    SpanKind("timer {service.method}", "internal", "A run of a timer.", (), _WORK, _WROTE),
    SpanKind("passed {service.method}", "consumer", "What another process of the service passed on.", (), _WORK, _WROTE),
)  # fmt: skip
"""The spans of services. Those of the gateway are Envoy's: see `OF_GATEWAY`."""

EVENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    names.APPENDED: ((names.EVENT_TYPE, names.EVENT_ID), (names.STREAM,)),
    names.RETRY: ((names.ERROR,), ()),
    names.EXCEPTION: ((names.EXCEPTION_TYPE, names.EXCEPTION_STACK), ()),
}
"""What may happen in a span: the attributes that always stand on it, and those that may."""

ATTRIBUTES: dict[str, Holds] = {
    names.INCIDENT_ID: "id",
    names.RPC_METHOD: "name",
    names.STATUS_CODE: "name",
    names.EVENT_ID: "id",
    names.EVENT_TYPE: "name",
    names.STREAM: "id",
    names.CONSUMER_GROUP: "name",
    names.SAGA_ID: "id",
    names.ERROR: "name",
    names.ERROR_TYPE: "name",
    names.EXCEPTION_TYPE: "name",
    names.EXCEPTION_STACK: "stack",
}
"""Each attribute of a span of a service, or of what happens in it, and what it may hold.

The status of a span says why it failed: words.
"""

OF_GATEWAY: dict[str, Holds] = {
    "canceled": "name",
    "component": "name",
    "downstream_cluster": "name",
    "error": "name",
    "grpc.authority": "place",
    "grpc.content_type": "name",
    "grpc.path": "name",
    "grpc.status_code": "number",
    "grpc.timeout": "number",
    "guid:x-request-id": "id",
    "http.method": "name",
    "http.protocol": "name",
    "http.status_code": "number",
    "http.url": "place",
    "node_id": "name",
    "peer.address": "place",
    "request_size": "number",
    "response_flags": "name",
    "response_size": "number",
    "upstream_address": "place",
    "upstream_cluster": "name",
    "upstream_cluster.name": "name",
    "user_agent": "place",
    "zone": "name",
}
"""The attributes of Envoy's spans, as Envoy names them. Their names are the paths of calls without the query."""

LEFT_OUT = ("grpc.message",)
"""What Envoy writes besides, and nobody keeps: the message of an error is for the caller, and may repeat what somebody
wrote."""


def kind_of(name: str, kind: str) -> SpanKind | None:
    """The kind that a span of a service is of; None: it is not registered."""
    fitting = (one for one in SPANS if one.kind == kind and name.startswith(one.begins))
    return max(fitting, key=lambda one: len(one.begins), default=None)
