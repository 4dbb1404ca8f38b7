"""Greenlets over one asyncio loop: where a worker begins, where it waits, and where work leaves the loop for a thread.

Service code runs in greenlets (eventlet's asyncio hub, no monkey patching). A worker begins at once, inside the coroutine that
starts it, and runs until its first wait. The future it waits for wakes it directly. So a call costs no extra turn of the loop.
Waiting is cooperative: it ends when the work is done, when the caller's deadline passes, or when the caller has gone.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import greenlet

from citybrain.mesh.errors import DeadlinePassed
from citybrain.mesh.runtime.context import current_or_none
from citybrain.mesh.runtime.nameko import eventlet

T = TypeVar("T")
_KEPT = 64
_threads = ThreadPoolExecutor(2, thread_name_prefix="off-loop")


def use_asyncio_hub() -> asyncio.AbstractEventLoop:
    """Puts eventlet on an asyncio loop in this thread and returns the loop. Call once, before anything else."""
    eventlet.hubs.use_hub("eventlet.hubs.asyncio")
    loop: asyncio.AbstractEventLoop = eventlet.hubs.get_hub().loop
    return loop


def begin(work: Callable[[], None]) -> None:
    """Runs `work` in a greenlet and a copy of this context; returns when it is done, or waits for the first time.

    To be called on the loop. `work` must not raise: nobody would get the error.
    """
    worker = _idle.workers.pop() if _idle.workers else greenlet.greenlet(_work_on)
    worker.gr_context = contextvars.copy_context()
    worker.switch(work)


class _Idle(threading.local):
    """Greenlets of this thread that have done their work, to be used again. For a new one the kernel maps and unmaps a stack:
    60 µs a call were measured while other threads ran, five times the cost of the rest of a worker."""

    def __init__(self) -> None:
        self.workers: list[greenlet.greenlet] = []


_idle = _Idle()


def _work_on(work: Callable[[], None]) -> None:
    me = greenlet.getcurrent()
    while True:
        work()
        if len(_idle.workers) >= _KEPT or me.parent is None:
            return
        _idle.workers.append(me)
        # Goes back to the code that runs on the loop now: the coroutine that began this work, or the callback that woke it.
        work = me.parent.switch()


def wait(awaitable: Awaitable[T], timeout_s: float | None = None, *, to_its_end: bool = False) -> T:
    """Lets the current greenlet wait for an awaitable, at most as long as its call has time.

    Raises DeadlinePassed or Cancelled, and cancels the awaitable then. A future that is done costs nothing.
    `to_its_end`: for work that must not be broken off in the middle; only the next wait then raises.
    """
    call = current_or_none()
    limit = timeout_s
    if call is not None:
        try:
            left = call.remaining()
        except BaseException:
            if isinstance(awaitable, Coroutine):
                awaitable.close()
            raise
        if left is not None and (limit is None or left < limit):
            limit = left
    hub = eventlet.hubs.get_hub()
    loop: asyncio.AbstractEventLoop = hub.loop
    future: asyncio.Future[T] = asyncio.ensure_future(awaitable, loop=loop)
    if future.done():
        return future.result()
    expired: list[float] = []
    timer = None if limit is None or to_its_end else loop.call_later(limit, _expire, future, expired, limit)
    future.add_done_callback(functools.partial(_wake, greenlet.getcurrent()))
    if call is not None and not to_its_end:
        call.waits_for.add(future)
    try:
        hub.switch()
    finally:
        if timer is not None:
            timer.cancel()
        if call is not None:
            call.waits_for.discard(future)
    if future.cancelled():
        if expired:
            raise DeadlinePassed(f"not done within {limit:.3g} s: retry with the same request id and more time")
        if call is not None and call.ended is not None:
            raise call.ended
    return future.result()


def _wake(waiting: greenlet.greenlet, _done: asyncio.Future[Any]) -> None:
    waiting.switch()


def _expire(future: asyncio.Future[Any], expired: list[float], limit: float) -> None:
    if not future.done():
        expired.append(limit)
        future.cancel()


def off_loop(work: Callable[..., T], *arguments: object) -> T:
    """Runs blocking or heavy work in a thread while other calls go on; the current greenlet waits for it."""
    loop: asyncio.AbstractEventLoop = eventlet.hubs.get_hub().loop
    context = contextvars.copy_context()
    return wait(loop.run_in_executor(_threads, functools.partial(context.run, work, *arguments)))
