"""nameko's container, with what its workers need here: a context of their own, bounded admission, nothing that can kill it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from typing import Any

import grpc
from nameko.containers import ServiceContainer, WorkerContext

from citybrain.mesh.errors import Overloaded, ServiceError, Unavailable
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.process import Process

# What a worker raises is answered and logged by the kit, with its trace; nameko would log it a second time.
logging.getLogger("nameko").setLevel(logging.CRITICAL)

HandleResult = Callable[[WorkerContext, Any, Any], tuple[Any, Any]]


class Container(ServiceContainer):  # type: ignore[misc]
    """Hosts one service. Workers are started by `run_worker`, which waits for its turn and returns the method's result."""

    def __init__(self, service_cls: type, config: dict[str, Any]) -> None:
        super().__init__(service_cls, config)
        process: Process = config["process"]
        self.process = process
        self.manifest: Manifest = config["manifest"]
        self._slots = asyncio.Semaphore(process.settings.max_workers)
        self._waiting = 0

    async def run_worker(self, entrypoint: Any, *arguments: object) -> Any:
        """Runs the entrypoint's method in a greenlet and returns what it returned, or raises what it raised.

        The worker goes on when the caller gives up: cancellation is cooperative, and a finished append is an answer for the
        retry. Raises Overloaded where too many wait already.
        """
        if self._slots.locked() and self._waiting >= self.process.settings.max_workers:
            raise Overloaded(f"{self.manifest.name} has {self._waiting} calls waiting: try again later", "TOO_MANY_CALLS")
        self._waiting += 1
        # Counted while it waits too: between two workers nothing may look at rest.
        self.process.activity.begin()
        try:
            await self._slots.acquire()
        except BaseException:
            self.process.activity.end()
            raise
        finally:
            self._waiting -= 1
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def handle_result(_worker: WorkerContext, result: Any, exc_info: Any) -> tuple[Any, Any]:
            # The caller may have gone: an answer nobody waits for must not raise here, that would kill the container.
            if not outcome.done():
                if exc_info is None:
                    outcome.set_result(result)
                else:
                    outcome.set_exception(exc_info[1])
                    outcome.exception()
            return result, exc_info

        data = {"context": contextvars.copy_context(), "finished": self._finished, "outcome": outcome}
        try:
            self.spawn_worker(entrypoint, arguments, {}, context_data=data, handle_result=handle_result)
        except BaseException:
            self._finished()
            raise
        return await asyncio.shield(outcome)

    def _finished(self) -> None:
        self._slots.release()
        self.process.activity.end()

    def _run_worker(self, worker_ctx: WorkerContext, handle_result: HandleResult) -> None:
        context: contextvars.Context = worker_ctx.data.pop("context")
        finished: Callable[[], None] = worker_ctx.data.pop("finished")
        outcome: asyncio.Future[Any] = worker_ctx.data.pop("outcome")
        try:
            context.run(super()._run_worker, worker_ctx, handle_result)
        except Exception as error:
            # A provider failed around the method. nameko would end the container for it; we answer and go on.
            if not outcome.done():
                outcome.set_exception(error)
                outcome.exception()
        except asyncio.CancelledError:
            # What the worker waited for was taken away. The caller is answered; it was not the caller who gave up.
            if not outcome.done():
                outcome.set_exception(Unavailable("the work was cut off: retry with the same request id", "CUT_OFF"))
                outcome.exception()
        finally:
            finished()


def expected(error: BaseException) -> bool:
    """Whether an error is part of a contract, and not a defect."""
    return isinstance(error, ServiceError) and error.code is not grpc.StatusCode.INTERNAL
