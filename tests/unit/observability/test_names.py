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
}


def test_no_name_changes_unnoticed() -> None:
    assert {name: value for name, value in vars(names).items() if name.isupper()} == CONTRACT


def test_every_name_says_what_it_means() -> None:
    body = ast.parse(Path(str(names.__file__)).read_text(encoding="utf-8")).body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.Assign):
            assert isinstance(after, ast.Expr), f"{ast.unparse(statement)} has no docstring"
            assert isinstance(after.value, ast.Constant)
