"""The names of span attributes, span events and services. People search traces and draw dashboards by them.

So a name that is here never changes, and a new meaning gets a new name.
"""

from __future__ import annotations

INCIDENT_ID = "incident.id"
"""The incident a span belongs to. The same key carries it as W3C baggage from call to call."""

SAGA_ID = "saga.id"
"""The saga for which a step or an undo was run."""

RPC_METHOD = "rpc.method"
"""Full method of a call, given or received: `package.Service/Method`."""

EVENT_ID = "event.id"
"""The event that was handled or appended."""

EVENT_TYPE = "event.type"
"""Full name of the event's message."""

STREAM = "event.stream"
"""The stream an event stands in: `service/kind-key`."""

CONSUMER_GROUP = "messaging.consumer.group.name"
"""The consumer group that handles an event: `service.method`."""

APPENDED = "event appended"
"""Span event: the work of this span wrote an event (`event.id`, `event.type`, `event.stream`)."""

RETRY = "retry"
"""Span event: a call was not answered and is tried again under the same request id (`error.message`)."""

ERROR = "error.message"
"""Why something was tried again or failed, in words."""

SERVICE_NAME = "service.name"
"""Resource attribute: which service a span belongs to, also where many services share a process."""

SERVICE_NAMESPACE = "service.namespace"
"""Resource attribute: the system that all services belong to."""

NAMESPACE = "citybrain"
"""Value of `service.namespace`."""

GATEWAY = "gateway"
"""`service.name` of the spans Envoy writes."""
