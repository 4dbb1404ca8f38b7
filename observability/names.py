"""The names of span attributes, span events, services and metrics. People search traces and draw dashboards by them.

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

CITY_SERVICE = "city.service"
"""Attribute of every metric: the service it tells of. Many services may share a process, and then its resource too."""

STATUS_CODE = "rpc.response.status_code"
"""How a call ended, as gRPC names it: OK, NOT_FOUND … CANCELLED: nobody waited for it any more."""

ERROR_TYPE = "error.type"
"""The class of the error with which an event was not handled; missing: it was."""

CALL_DURATION = "rpc.server.call.duration"
"""Metric, histogram of seconds: calls that a service got, with `rpc.method` and `rpc.response.status_code`.

A stream is counted when it ends."""

HANDLING_DURATION = "messaging.process.duration"
"""Metric, histogram of seconds: events that a service's methods heard, with `messaging.consumer.group.name`.

Where a method failed, with `error.type` too."""

EVENTS_APPENDED = "city.events.appended"
"""Metric, counter: events that a service wrote, with `event.type`."""

GROUP_LAG = "city.group.lag"
"""Metric, gauge: positions of the log that a consumer group has yet to look at (`messaging.consumer.group.name`)."""

GROUP_PARKED = "city.group.parked"
"""Metric, gauge: events of a consumer group that wait for a person."""

TASKS = "city.tasks"
"""Metric, gauge: tasks of a service that wait for people, with `city.authority`."""

TASKS_AGE = "city.tasks.age"
"""Metric, gauge of seconds of city time: for how long the oldest such task has waited, with `city.authority`."""

AUTHORITY = "city.authority"
"""The authority that is asked now; empty: whoever is on duty."""

GROUP_STILL = "city.group.still"
"""Metric, gauge of seconds: for how long a consumer group has done nothing though there is work."""
