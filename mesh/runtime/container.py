"""nameko's container, changed: each worker has a context of its own, admission is bounded, and no error can end the container.

A worker does the same steps as in nameko: dependencies are given, `worker_setup`, the method, its result is handled,
`worker_result`, `worker_teardown`. Two things differ. A worker begins inside the coroutine that admits it, and wakes without a
turn of the loop. And if a provider fails around the method, the caller gets the error; nameko would end the container.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc

from citybrain.mesh.access.rules import scopes_of
from citybrain.mesh.errors import Overloaded, ServiceError, Unavailable
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.runtime.greenlets import begin, wait
from citybrain.mesh.runtime.nameko import DependencyProvider, ServiceContainer, WorkerContext
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.shares import Asker, Shares
from citybrain.observability.logs import logger
from citybrain.observability.words import counted

# The kit answers and logs errors of workers, with their trace; nameko would log them a second time.
logging.getLogger("nameko").setLevel(logging.CRITICAL)

# For calls from outside: the parts of a service's places (running and waiting) that they may take.
CALL_SHARES = {"caller": 1 / 2, "method": 3 / 4, "reading": 3 / 4, "outside": 7 / 8}
Method = Callable[..., Any]
HandleResult = Callable[[WorkerContext, Any, Any], tuple[Any, Any]]


class Slots:
    """Places for workers: `limit` may work at once, and `waiting_limit` more may wait for a place."""

    def __init__(self, limit: int, waiting_limit: int) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._waiting_limit = waiting_limit
        self.limit = limit
        self.taken = 0
        self.waiting = 0

    async def take(self, refusal: Callable[[], Overloaded] | None) -> None:
        """Waits for a place. Raises `refusal()` if too many wait already; None: never refuses."""
        if refusal is not None and self._slots.locked() and self.waiting >= self._waiting_limit:
            raise refusal()
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.taken += 1

    def give_back(self) -> None:
        """Gives a place back, so that the next worker may begin."""
        self.taken -= 1
        self._slots.release()


@dataclass(slots=True)
class _Outcome:
    """How a worker's method ended, and the future of its caller, if one waits."""

    result: Any = None
    error: BaseException | None = None
    done: bool = False
    waiter: asyncio.Future[None] | None = None

    def settle(self, result: Any, error: BaseException | None) -> None:
        if not self.done:
            self.result, self.error, self.done = result, error, True
            # The caller may have gone; then its future is done, and must not be set.
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)


class _Workers:
    """Takes the place of nameko's pool: counts workers, and knows when none is left."""

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
        # Most providers have no hooks around the method, and are not asked at each call.
        self._setups = self._with_hook("worker_setup")
        self._results = self._with_hook("worker_result")
        self._teardowns = self._with_hook("worker_teardown")

    def take_scopes(self) -> None:
        """Lets the service's own token hold the scopes of the services that it calls. To be called after `setup`."""
        called = {name for provider in self.dependencies for name in getattr(provider, "calls", ())}
        self.process.outgoing.tokens.grant(self.manifest.name, scopes_of(called))

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

        The worker goes on when the caller gives up: cancellation is cooperative, and a retry gets the answer of a finished
        append. Raises Overloaded if too many wait already, or if an `asker` from outside has its share of the places.
        `patient`: waits for a place however many wait already, since no caller waits for the answer.
        """
        shared = asker if asker is not None and asker.outside else None
        if shared is not None:
            if full := self._shares.full(shared):
                raise Overloaded(f"{self.manifest.name} has much to do, and {full}: try again later", "TOO_MANY_CALLS")
            self._shares.take(shared)
        # Counted also while it waits for a place: the process must not look at rest between two workers.
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
        """Runs a worker from beginning to end, without asking for a place. `finished` is called at the very end.

        `run` gets the bound method, for work that is more than one call of it: a stream that is written while the worker lives,
        or a batch of events.
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
        """As nameko's, for entrypoints that are not ours. Ours use `run_worker`, which limits how many workers there are."""
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
                # What the worker waited for was cancelled, and not by its caller: so the caller still gets an answer.
                outcome.settle(None, Unavailable("the work was cut off: retry with the same request id", "CUT_OFF"))
            except Exception as error:
                # A provider failed around the method. nameko would end the container; we answer and go on.
                if outcome.done:
                    logger(self.manifest.name).error("provider failed after the answer", exc_info=error)
                outcome.settle(None, error)
            finally:
                self._worker_pool.ended()
                finished()
                # However the worker ended, the caller must not wait for ever.
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
