"""Names of attributes are a contract: a change here breaks searches and dashboards of others."""

from __future__ import annotations

import ast
from pathlib import Path

from citybrain.observability import names

CONTRACT = {
    "INCIDENT_ID": "incident.id",
    "SAGA_ID": "saga.id",
    "RPC_METHOD": "rpc.method",
    "EVENT_ID": "event.id",
    "EVENT_TYPE": "event.type",
    "STREAM": "event.stream",
    "CONSUMER_GROUP": "messaging.consumer.group.name",
    "APPENDED": "event appended",
    "RETRY": "retry",
    "ERROR": "error.message",
    "EXCEPTION": "exception",
    "EXCEPTION_TYPE": "exception.type",
    "EXCEPTION_STACK": "exception.stacktrace",
    "SERVICE_NAME": "service.name",
    "SERVICE_NAMESPACE": "service.namespace",
    "NAMESPACE": "citybrain",
    "GATEWAY": "gateway",
    "CITY_SERVICE": "city.service",
    "STATUS_CODE": "rpc.response.status_code",
    "ERROR_TYPE": "error.type",
    "CALL_DURATION": "rpc.server.call.duration",
    "HANDLING_DURATION": "messaging.process.duration",
    "EVENTS_APPENDED": "city.events.appended",
    "GROUP_LAG": "city.group.lag",
    "GROUP_PARKED": "city.group.parked",
    "TASKS": "city.tasks",
    "TASKS_AGE": "city.tasks.age",
    "AUTHORITY": "city.authority",
    "GROUP_STILL": "city.group.still",
    "GROUP_AGE": "city.group.age",
    "GROUP_FAILING": "city.group.failing",
    "GROUP_RESTARTS": "city.group.restarts",
    "CLIENT_DURATION": "rpc.client.call.duration",
    "CALL_CLASS": "city.call.class",
    "CALLS_RUNNING": "city.calls.running",
    "CALLS_WAITING": "city.calls.waiting",
    "CALLS_LIMIT": "city.calls.limit",
    "CALLS_REFUSED": "city.calls.refused",
    "STREAMS_OPEN": "city.streams.open",
    "SERVICE_READY": "city.service.ready",
    "SERVICE_LEADS": "city.service.leads",
    "CLOCK": "city.clock.time",
    "WORKFLOW": "city.saga.workflow",
    "STEP": "city.saga.step",
    "STATE": "city.saga.state",
    "SAGAS_STARTED": "city.sagas.started",
    "SAGAS_ENDED": "city.sagas.ended",
    "SAGAS_OPEN": "city.sagas.open",
    "STEP_DURATION": "city.saga.step.duration",
    "STORE_DURATION": "db.client.operation.duration",
    "STORE": "db.system.name",
    "STORE_OPERATION": "db.operation.name",
    "STORE_UNKNOWN": "city.store.unknown",
    "LOG_BEHIND": "city.log.behind",
    "LOG_BEHIND_AGE": "city.log.behind.age",
    "CPU_TIME": "process.cpu.time",
    "CPU_MODE": "cpu.mode",
    "MEMORY": "process.memory.usage",
    "THREADS": "process.thread.count",
    "FILES": "process.unix.file_descriptor.count",
    "UPTIME": "process.uptime",
    "LOOP_DELAY": "city.loop.delay",
}


def test_no_name_changes_unnoticed() -> None:
    assert {name: value for name, value in vars(names).items() if name.isupper()} == CONTRACT


def test_every_name_says_what_it_means() -> None:
    body = ast.parse(Path(str(names.__file__)).read_text(encoding="utf-8")).body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.Assign):
            assert isinstance(after, ast.Expr), f"{ast.unparse(statement)} has no docstring"
            assert isinstance(after.value, ast.Constant)
