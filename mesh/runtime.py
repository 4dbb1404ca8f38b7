"""The only place where a greenlet waits for a coroutine, and where work leaves the event loop for a thread.

Service code runs in greenlets over one asyncio loop (eventlet's asyncio hub, no monkey patching). Waiting is cooperative:
a wait ends when the work is done, when the caller's deadline passes, or when the caller has gone.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import eventlet
import eventlet.event
import eventlet.hubs

from citybrain.mesh.context import current
from citybrain.mesh.errors import DeadlinePassed

T = TypeVar("T")

_threads = ThreadPoolExecutor(2, thread_name_prefix="off-loop")


def use_asyncio_hub() -> asyncio.AbstractEventLoop:
    """Puts eventlet on an asyncio loop in this thread and returns the loop. Call once, before anything else."""
    eventlet.hubs.use_hub("eventlet.hubs.asyncio")
    loop: asyncio.AbstractEventLoop = eventlet.hubs.get_hub().loop
    return loop


def wait(awaitable: Awaitable[T], timeout_s: float | None = None) -> T:
    """Lets the current greenlet wait for an awaitable, at most as long as its call has time.

    Raises DeadlinePassed or Cancelled (before it begins) instead of waiting for nobody.
    """
    left = current().remaining()
    limit = min((limit for limit in (left, timeout_s) if limit is not None), default=None)
    loop = eventlet.hubs.get_hub().loop
    # ensure_future copies this greenlet's context into the task.
    future: asyncio.Future[Any] = asyncio.ensure_future(_limited(awaitable, limit), loop=loop)
    done = eventlet.event.Event()
    future.add_done_callback(lambda _: done.send(None))
    done.wait()
    result: T = future.result()
    return result


async def _limited(awaitable: Awaitable[T], limit: float | None) -> T:
    if limit is None:
        return await awaitable
    try:
        return await asyncio.wait_for(awaitable, limit)
    except TimeoutError:
        raise DeadlinePassed(f"not done within {limit:.3g} s: retry with the same request id and more time") from None


def off_loop(work: Callable[..., T], *arguments: object) -> T:
    """Runs blocking or heavy work in a thread while other calls go on; the current greenlet waits for it."""
    loop = eventlet.hubs.get_hub().loop
    context = contextvars.copy_context()
    result: T = wait(loop.run_in_executor(_threads, lambda: context.run(work, *arguments)))
    return result
