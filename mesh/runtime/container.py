"""nameko's container, with what its workers need here: a context of their own, bounded admission, nothing that can kill it.

A worker's life is nameko's: dependencies given, `worker_setup`, the method, its result handled, `worker_result`,
`worker_teardown`. What differs: it begins in the coroutine that admits it and wakes without a turn of the loop, and a provider
that fails around the method is answered to the caller instead of ending the container for everybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from citybrain.mesh.errors import Overloaded, ServiceError, Unavailable
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.runtime.greenlets import begin, wait
from citybrain.mesh.runtime.nameko import DependencyProvider, ServiceContainer, WorkerContext
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.shares import Asker, Shares
from citybrain.observability.logs import logger
from citybrain.observability.words import counted

# What a worker raises is answered and logged by the kit, with its trace; nameko would log it a second time.
logging.getLogger("nameko").setLevel(logging.CRITICAL)

# Of the calls that run and wait in a service, for those from outside.
CALL_SHARES = {"method": 3 / 4, "reading": 3 / 4, "outside": 7 / 8}
Method = Callable[..., Any]
HandleResult = Callable[[WorkerContext, Any, Any], tuple[Any, Any]]


class Slots:
    """How many may work at once, and how many more may wait for a place."""

    def __init__(self, limit: int, waiting_limit: int) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._waiting_limit = waiting_limit
        self.limit = limit
        self.taken = 0
        self.waiting = 0

    async def take(self, refusal: Callable[[], Overloaded] | None) -> None:
        """Waits for a place; raises `refusal()` where too many wait already, if there is one."""
        if refusal is not None and self._slots.locked() and self.waiting >= self._waiting_limit:
            raise refusal()
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.taken += 1

    def give_back(self) -> None:
        """The next one may come."""
        self.taken -= 1
        self._slots.release()


@dataclass(slots=True)
class _Outcome:
    """How a worker's method ended, and who waits for it."""

    result: Any = None
    error: BaseException | None = None
    done: bool = False
    waiter: asyncio.Future[None] | None = None

    def settle(self, result: Any, error: BaseException | None) -> None:
        if not self.done:
            self.result, self.error, self.done = result, error, True
            # The caller may have gone: an answer nobody waits for must not raise here.
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)


class _Workers:
    """In the place of nameko's pool: knows when nobody works any more."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.count = 0
        self._loop = loop
        self._none_left: asyncio.Future[None] | None = None

    def ended(self) -> None:
        self.count -= 1
        if self.count == 0 and self._none_left is not None and not self._none_left.done():
            self._none_left.set_result(None)

    def waitall(self) -> None:
        """Called by nameko's `stop`, after the entrypoints and before the dependencies are stopped."""
        while self.count:
            self._none_left = self._loop.create_future()
            wait(self._none_left)


class Container(ServiceContainer):  # type: ignore[misc]
    """Hosts one service. Workers are started by `run_worker`, which waits for its turn and returns the method's result."""

    def __init__(self, service_cls: type, config: dict[str, Any]) -> None:
        super().__init__(service_cls, config)
        process: Process = config["process"]
        self.process = process
        self.manifest: Manifest = config["manifest"]
        self._worker_pool = _Workers(process.loop)
        limit = process.settings.max_workers
        self.places = Slots(limit, limit)
        self._shares = Shares(2 * limit, CALL_SHARES)
        # Most providers have no hooks around the method: those that do not are not asked on every call.
        self._setups = self._with_hook("worker_setup")
        self._results = self._with_hook("worker_result")
        self._teardowns = self._with_hook("worker_teardown")

    def _with_hook(self, name: str) -> list[Any]:
        return [p for p in self.dependencies if getattr(type(p), name) is not getattr(DependencyProvider, name)]

    async def run_worker(
        self,
        entrypoint: Any,
        *arguments: object,
        patient: bool = False,
        run: Callable[[Method], Any] | None = None,
        asker: Asker | None = None,
    ) -> Any:
        """Runs the entrypoint's method in a greenlet and returns what it returned, or raises what it raised.

        The worker goes on when the caller gives up: cancellation is cooperative, and a finished append is an answer for the
        retry. Raises Overloaded where too many wait already, or where an `asker` from outside has its share of the places; who
        is `patient` (nobody waits for it) waits for a place.
        """
        shared = asker if asker is not None and asker.outside else None
        if shared is not None:
            if full := self._shares.full(shared):
                raise Overloaded(f"{self.manifest.name} has much to do, and {full}: try again later", "TOO_MANY_CALLS")
            self._shares.take(shared)
        # Counted while it waits too: between two workers nothing may look at rest.
        activity = self.process.activity
        activity.begin()
        try:
            await self.places.take(None if patient else self._too_many)
        except BaseException:
            activity.end()
            if shared is not None:
                self._shares.give_back(shared)
            raise

        def finished() -> None:
            self.places.give_back()
            activity.end()
            if shared is not None:
                self._shares.give_back(shared)

        return await self.work(entrypoint, arguments, finished=finished, run=run)

    def _too_many(self) -> Overloaded:
        waiting = self.places.waiting
        return Overloaded(f"{self.manifest.name} has {counted(waiting, 'call')} waiting: try again later", "TOO_MANY_CALLS")

    async def work(
        self,
        entrypoint: Any,
        arguments: tuple[object, ...],
        *,
        finished: Callable[[], None],
        run: Callable[[Method], Any] | None = None,
    ) -> Any:
        """A worker's whole life, without asking for a place; `finished` is called at its very end.

        `run` is given the bound method where calling it once is not what is wanted: a stream that is written while the
        worker lives, a batch of events.
        """
        outcome = _Outcome()
        self._begin_worker(entrypoint, arguments, outcome, finished, run)
        if not outcome.done:
            outcome.waiter = asyncio.get_running_loop().create_future()
            await outcome.waiter
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def spawn_worker(
        self,
        entrypoint: Any,
        args: tuple[object, ...],
        kwargs: dict[str, object],
        context_data: dict[str, Any] | None = None,
        handle_result: HandleResult | None = None,
    ) -> WorkerContext:
        """As nameko's, for entrypoints from elsewhere. Ours use `run_worker`, which bounds how many there are."""
        return self._begin_worker(entrypoint, args, _Outcome(), lambda: None, None, kwargs, context_data, handle_result)

    def _begin_worker(
        self,
        entrypoint: Any,
        args: tuple[object, ...],
        outcome: _Outcome,
        finished: Callable[[], None],
        run: Callable[[Method], Any] | None,
        kwargs: dict[str, object] | None = None,
        context_data: dict[str, Any] | None = None,
        handle_result: HandleResult | None = None,
    ) -> WorkerContext:
        worker = WorkerContext(self, self.service_cls(), entrypoint, args, kwargs, data=context_data)
        self._worker_pool.count += 1

        def life() -> None:
            try:
                self._live(worker, outcome, run, handle_result)
            except asyncio.CancelledError:
                # What the worker waited for was taken away. The caller is answered; it was not the caller who gave up.
                outcome.settle(None, Unavailable("the work was cut off: retry with the same request id", "CUT_OFF"))
            except Exception as error:
                # A provider failed around the method. nameko would end the container for it; we answer and go on.
                if outcome.done:
                    logger(self.manifest.name).error("provider failed after the answer", error=repr(error), exc_info=error)
                outcome.settle(None, error)
            finally:
                self._worker_pool.ended()
                finished()
                # Whatever ended it, nobody waits for ever.
                outcome.settle(None, Unavailable("the work was cut off: retry with the same request id", "CUT_OFF"))

        begin(life)
        return worker

    def _live(
        self,
        worker: WorkerContext,
        outcome: _Outcome,
        run: Callable[[Method], Any] | None,
        handle_result: HandleResult | None,
    ) -> None:
        service = worker.service
        for provider in self.dependencies:
            setattr(service, provider.attr_name, provider.get_dependency(worker))
        for provider in self._setups:
            provider.worker_setup(worker)
        method = getattr(service, worker.entrypoint.method_name)
        result: Any = None
        exc_info: Any = None
        try:
            result = method(*worker.args, **worker.kwargs) if run is None else run(method)
        except Exception as error:
            exc_info = (type(error), error, error.__traceback__)
        if handle_result is not None:
            result, exc_info = handle_result(worker, result, exc_info)
        outcome.settle(result, None if exc_info is None else exc_info[1])
        for provider in self._results:
            provider.worker_result(worker, result, exc_info)
        for provider in self._teardowns:
            provider.worker_teardown(worker)


def expected(error: BaseException) -> bool:
    """Whether an error is part of a contract, and not a defect."""
    return isinstance(error, ServiceError) and error.code is not grpc.StatusCode.INTERNAL
