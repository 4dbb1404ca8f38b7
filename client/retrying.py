"""Calls that fail for a while are made again, under the same request id: the city carries each of them out once."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
from typing_extensions import override

from citybrain.client.problems import problem_of

AUTHORIZATION, REQUEST_ID = "authorization", "x-request-id"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
# The city was not there, was too busy, or others were faster. In each case the same call may be made again.
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED})


class Details(NamedTuple):
    """Of one call. The fields are those of gRPC."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


def pauses() -> Iterator[float]:
    """Seconds to wait before each next try: they grow, and differ, so that not all clients come at once."""
    pause = FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(pause * 2, LONGEST_PAUSE_S)


def passes(error: grpc.RpcError) -> bool:
    """Whether the same call may succeed a little later."""
    problem = problem_of(error)
    return problem.code in _AGAIN or (problem.code is grpc.StatusCode.RESOURCE_EXHAUSTED and problem.reason != "QUOTA_USED")


class WithToken(grpc.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    """Adds the token to every stream."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    @override
    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        metadata = (*(client_call_details.metadata or ()), (AUTHORIZATION, f"Bearer {self._token()}"))
        return continuation(_with(client_call_details, metadata, client_call_details.timeout), request)


class Retrying(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    """Adds token, request id and deadline to every call, and makes it again until it is answered or the deadline has come."""

    def __init__(self, token: Callable[[], str], timeout_s: float) -> None:
        self._token = token
        self._timeout_s = timeout_s

    @override
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        details = client_call_details
        given = tuple(details.metadata or ())
        if not any(name == REQUEST_ID for name, _ in given):
            given = (*given, (REQUEST_ID, str(uuid.uuid4())))
        end = time.monotonic() + (self._timeout_s if details.timeout is None else details.timeout)
        token = ""
        for pause in pauses():
            before, token = token, self._token()
            metadata = (*given, (AUTHORIZATION, f"Bearer {token}"))
            call = continuation(_with(details, metadata, max(0.001, end - time.monotonic())), request)
            error = call.exception()
            if error is None:
                return call
            problem = problem_of(error)
            # The token may have ended while a new one was put in its place.
            renewed = problem.code is grpc.StatusCode.UNAUTHENTICATED and self._token() != token and not before
            if not renewed and not passes(error):
                return call
            pause = 0.0 if renewed else max(pause, problem.retry_after_s or 0.0)
            if time.monotonic() + pause >= end:
                return call
            time.sleep(pause)
        raise AssertionError("pauses never end")


def _with(details: Any, metadata: Any, timeout: float | None) -> Details:
    return Details(
        details.method,
        timeout,
        metadata,
        getattr(details, "credentials", None),
        getattr(details, "wait_for_ready", None),
        getattr(details, "compression", None),
    )
