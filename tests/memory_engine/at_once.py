"""What memory answers is decided when it is asked, in that order, and told a turn of the loop later, as by any other engine."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def at_once(work: Callable[P, T]) -> Callable[P, asyncio.Future[T]]:
    @functools.wraps(work)
    def begin(*arguments: P.args, **named: P.kwargs) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        try:
            loop.call_soon(_tell, done, done.set_result, work(*arguments, **named))
        except Exception as error:
            loop.call_soon(_tell, done, done.set_exception, error)
        return done

    return begin


def _tell(done: asyncio.Future[T], tell: Callable[..., None], what: object) -> None:
    # Who stopped waiting is told nothing; what was done is done.
    if not done.done():
        tell(what)
