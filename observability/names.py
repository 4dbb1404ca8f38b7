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
"""Why something was tried again, as gRPC names it: UNAVAILABLE …"""

EXCEPTION = "exception"
"""Span event: the work of this span failed (`exception.type`, `exception.stacktrace`; the error's text stays out)."""

EXCEPTION_TYPE = "exception.type"
"""The class of an error."""

EXCEPTION_STACK = "exception.stacktrace"
"""Where an error came up, and those that it came from, without their texts."""

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
"""How a call ended, as gRPC names it: OK, NOT_FOUND … CANCELLED: nobody waited for it any more. On spans and metrics."""

ERROR_TYPE = "error.type"
"""The class of the error with which an event was not handled, or other work of a span failed; missing: it did not fail."""

CALL_DURATION = "rpc.server.call.duration"
"""Metric, histogram of seconds: calls that a service got, with `rpc.method`, `city.call.class` and
`rpc.response.status_code`.

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

GROUP_AGE = "city.group.age"
"""Metric, gauge of seconds: how long ago the oldest event was recorded that a consumer group has read and not handled yet."""

GROUP_FAILING = "city.group.failing"
"""Metric, gauge: 1 while an event of a consumer group fails and is tried again, or the group itself begins again; else 0."""

GROUP_RESTARTS = "city.group.restarts"
"""Metric, counter: how often the subscription of a consumer group was begun again because it had stalled."""

CLIENT_DURATION = "rpc.client.call.duration"
"""Metric, histogram of seconds: calls that a service made, tries included, with `rpc.method` and `rpc.response.status_code`."""

CALL_CLASS = "city.call.class"
"""The class of a method: read, command or stream. Objectives are stated for each, and quotas too."""

CALLS_RUNNING = "city.calls.running"
"""Metric, gauge: how many workers of a service are at work now: calls, events and timers."""

CALLS_WAITING = "city.calls.waiting"
"""Metric, gauge: how many wait for a place to work in a service: its admission queue."""

CALLS_LIMIT = "city.calls.limit"
"""Metric, gauge: how many workers of a service may be at work at once. As many more calls may wait."""

CALLS_REFUSED = "city.calls.refused"
"""Metric, counter: calls that were not let in, with `rpc.response.status_code` and the reason as `error.type`."""

STREAMS_OPEN = "city.streams.open"
"""Metric, gauge: how many streams are open in the process."""

SERVICE_READY = "city.service.ready"
"""Metric, gauge: 1 while a service takes calls, else 0. Missing: no process of it tells anything."""

SERVICE_LEADS = "city.service.leads"
"""Metric, gauge: 1 where a process leads a service, else 0. The one that leads hears events, folds and fires timers."""

CLOCK = "city.clock.time"
"""Metric, gauge of seconds since 1970: the clock that city time is taken from. Where it is driven, that of the machine."""

WORKFLOW = "city.saga.workflow"
"""The workflow of a saga."""

STEP = "city.saga.step"
"""The step of a workflow, as its definition names it."""

STATE = "city.saga.state"
"""Where a saga stands: running, undoing, needs human; at its end completed, undone, terminated. How a step ended: done …"""

SAGAS_STARTED = "city.sagas.started"
"""Metric, counter: sagas that began, with `city.saga.workflow`."""

SAGAS_ENDED = "city.sagas.ended"
"""Metric, counter: sagas that ended, with `city.saga.workflow` and `city.saga.state`."""

SAGAS_OPEN = "city.sagas.open"
"""Metric, gauge: sagas that have not ended, with `city.saga.workflow` and `city.saga.state`. Every process of sagas has all."""

STEP_DURATION = "city.saga.step.duration"
"""Metric, histogram of seconds of city time: from the beginning of a step to its end, with workflow, step and state."""

STORE_DURATION = "db.client.operation.duration"
"""Metric, histogram of seconds: appends to the event store, with `db.system.name` and `db.operation.name`.

An append that wrote nothing has `error.type` too: Conflict (others were faster), Undecided (its outcome is not known) …"""

STORE = "db.system.name"
"""The engine of the event store, as `store` in the configuration names it."""

STORE_OPERATION = "db.operation.name"
"""What was asked of the event store: append."""

STORE_UNKNOWN = "city.store.unknown"
"""Metric, counter: writes whose outcome was unknown, and which were sent again until it was known."""

LOG_BEHIND = "city.log.behind"
"""Metric, gauge: events that this process has written to streams and not yet published in the log."""

LOG_BEHIND_AGE = "city.log.behind.age"
"""Metric, gauge of seconds: how long ago the oldest such event was recorded."""

CPU_TIME = "process.cpu.time"
"""Metric, counter of seconds: processor time of the process, with `cpu.mode`: user or system."""

CPU_MODE = "cpu.mode"
"""Whose processor time it is: user or system."""

MEMORY = "process.memory.usage"
"""Metric, gauge of bytes: the memory of the process that is in RAM."""

THREADS = "process.thread.count"
"""Metric, gauge: threads of the process."""

FILES = "process.unix.file_descriptor.count"
"""Metric, gauge: files and sockets that the process has open."""

UPTIME = "process.uptime"
"""Metric, gauge of seconds: for how long the process has run."""

LOOP_DELAY = "city.loop.delay"
"""Metric, histogram of seconds: how much later than asked for the event loop of the process goes on after a pause."""
