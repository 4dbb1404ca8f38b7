"""A service's methods as plain Python: nothing runs around them, requests are not checked, and they get what they need."""

from __future__ import annotations

import functools
import inspect
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import structlog
from structlog.testing import LogCapture
from typing_extensions import override

from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import WorkerContext
from citybrain.mesh.service import Log
from citybrain.mesh.testing.neighbours import Fake
from citybrain.mesh.testing.parts import Parts, greenlets
from citybrain.mesh.testing.setting import MORNING, Substitute, microseconds_of, parts_of, set_up

S = TypeVar("S")
_END = object()


class CapturedLog:
    """Takes the place of the logger. `lines` has what was logged, as dicts with `event`, `log_level` and the fields."""

    def __init__(self) -> None:
        capture = LogCapture()
        self.lines = capture.entries
        self._logger = structlog.wrap_logger(None, processors=[capture])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)


@contextmanager
def service_factory(
    service: type[S], *neighbours: Fake, contract: str = "", city_time: datetime = MORNING, **given: Any
) -> Iterator[S]:
    """An instance whose methods are called as plain Python: `with service_factory(HealthService, roads={…}) as health:`.

    `given` is as for `running`. Everything else is real and light: streams on a temporary store, views that are folded from it
    after every call, city time that stands still until `clock.advance(…)`, a log that keeps its `lines`. Subscriptions and
    timers do not run; the test calls their methods like any other.
    """
    logs = {
        name: CapturedLog()
        for name, _ in inspect.getmembers(service, lambda member: isinstance(member, Log))
        if name not in given
    }
    with parts_of(set_up(service, neighbours, {**logs, **given}), contract, None, city_time) as (parts, container):

        def begin() -> Any:
            container.dependencies.all.start()
            wait(parts.process.clock.advance(microseconds_of(city_time)))  # type: ignore[attr-defined]
            wait(parts.process.activity.rest())
            return _instance(parts, container)

        try:
            yield greenlets().run(begin)
        finally:
            greenlets().run(container.dependencies.all.stop)


def _instance(parts: Parts, container: Container) -> Any:
    """The instance. It may be used from a plain thread: its work is done in the thread of its providers."""
    outside = _Outside(parts, container.manifest.grpc)
    real = {provider.attr_name for provider in container.dependencies if not isinstance(provider, Substitute)}

    class Instance(container.service_cls):  # type: ignore[misc,name-defined]
        @override
        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if threading.current_thread() is greenlets().thread:
                return found
            if name in real:
                return _Stand(found, outside)
            return outside.method(found) if inspect.ismethod(found) else found

    Instance.__name__ = Instance.__qualname__ = container.service_cls.__name__
    service = Instance()
    worker = WorkerContext(container, service, None)
    for provider in container.dependencies:
        setattr(service, provider.attr_name, provider.get_dependency(worker))
    return service


class _Outside:
    """Carries calls from a plain thread into the thread of the service."""

    def __init__(self, parts: Parts, contract: str) -> None:
        self._parts = parts
        self._contract = contract

    def method(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that does its work in that thread, and returns when everything is at rest."""

        @functools.wraps(function)
        def carried(*arguments: Any, **named: Any) -> Any:
            result = greenlets().run(lambda: self._work(function, *arguments, **named))
            return self._items(result) if inspect.isgenerator(result) else result

        return carried

    def _work(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        ctx.enter(ctx.Call("test", f"{self._contract}/{function.__name__}", str(uuid.uuid4())))
        try:
            result = function(*arguments, **named)
            return wait(result) if inspect.isawaitable(result) else result
        finally:
            wait(self._parts.process.activity.rest())

    def _items(self, generator: Any) -> Iterator[Any]:
        advance = self.method(next)
        while (item := advance(generator, _END)) is not _END:
            yield item


class _Stand:
    """A provider as the test sees it."""

    def __init__(self, provider: Any, outside: _Outside) -> None:
        self._provider = provider
        self._outside = outside

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._provider, name)
        return self._outside.method(found) if callable(found) else found
