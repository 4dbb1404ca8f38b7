"""Errors that a service may raise. The kit turns each into a gRPC status with typed details.

`reason` is a short constant that programs can compare (UPPER_SNAKE_CASE); the message is for people and says what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import grpc
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from typing_extensions import override

from citybrain.event_store.store import LimitExceeded, StoreError, Undecided

__all__ = [
    "AlreadyDifferent",
    "BadRequest",
    "CallFailed",
    "Cancelled",
    "Contended",
    "DeadlinePassed",
    "Forbidden",
    "NoneFree",
    "NotFound",
    "Overloaded",
    "QuotaUsed",
    "Refused",
    "ServiceError",
    "Unauthenticated",
    "Unavailable",
    "listed",
    "shortened",
    "status_of",
]


class ServiceError(Exception):
    """Base of the errors that a caller is told."""

    code = grpc.StatusCode.INTERNAL
    # After how many seconds to try again; None: waiting alone does not help.
    retry_after_s: int | None = None
    # More for programs, beside the reason.
    told: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or type(self).__name__.upper()

    @property
    def for_logs(self) -> str:
        """What log lines and spans say of it. Its message is for the caller: it may repeat what somebody has written."""
        return f"{self.code.name} {self.reason}"

    def details(self) -> list[any_pb2.Any]:
        """google.rpc error details that travel with the status."""
        packed = any_pb2.Any()
        packed.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="citybrain", metadata=self.told))
        if self.retry_after_s is None:
            return [packed]
        again = any_pb2.Any()
        again.Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=self.retry_after_s)))
        return [packed, again]


# An error travels in trailers, and many callers take no more than 8 KiB of those. A message costs up to four times its length
# there, since it is in the details too and may not be ASCII; the text of a violation costs twice its length.
_MOST_MESSAGE_BYTES = 700
_MOST_VIOLATIONS = 10
_MOST_VIOLATION_BYTES = 1500


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names for a message: the first `most` of them, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(shortened(name, 60) for name in known[:most]) + more


def shortened(text: str, most_bytes: int) -> str:
    """The text; if it is longer than `most_bytes`, its beginning and a mark (…)."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most_bytes:
        return text
    return data[: most_bytes - 3].decode("utf-8", "ignore") + "…"


class BadRequest(ServiceError):
    """The request breaks rules of its contract. The first ten are listed, as pairs (field, what is wrong)."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        share = _MOST_VIOLATION_BYTES // min(len(violations) or 1, _MOST_VIOLATIONS)
        self.violations = [
            (shortened(field, share // 2), shortened(problem, share // 2)) for field, problem in violations[:_MOST_VIOLATIONS]
        ]
        told = [f"{field}: {problem}" for field, problem in self.violations]
        fit = 1
        while fit < len(told) and len("; ".join(told[: fit + 1]).encode()) < _MOST_MESSAGE_BYTES - 20:
            fit += 1
        more = [f"and {len(violations) - fit} more"] if len(violations) > fit else []
        super().__init__("; ".join([*told[:fit], *more]), "BAD_REQUEST")

    @override
    def details(self) -> list[any_pb2.Any]:
        """The violations as google.rpc.BadRequest."""
        fields = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=problem) for field, problem in self.violations
        ]
        packed = any_pb2.Any()
        packed.Pack(error_details_pb2.BadRequest(field_violations=fields))
        return [packed, *super().details()]


class NotFound(ServiceError):
    """Something that the request names does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyDifferent(ServiceError):
    """Something that is to be made exists already, with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS


class Unauthenticated(ServiceError):
    """The call brings no token, or one that is not good."""

    code = grpc.StatusCode.UNAUTHENTICATED


class Forbidden(ServiceError):
    """The caller's token does not allow this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Refused(ServiceError):
    """In the present state this must not be done."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class NoneFree(ServiceError):
    """Nothing of what was asked for is free now; it may be later."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(ServiceError):
    """Not now: safe to retry with the same request id."""

    code = grpc.StatusCode.UNAVAILABLE
    retry_after_s = 1


class Contended(ServiceError):
    """Too many writers at once on one stream: safe to retry with the same request id."""

    code = grpc.StatusCode.ABORTED


class Overloaded(ServiceError):
    """More calls wait than the service admits."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    retry_after_s = 1


class QuotaUsed(ServiceError):
    """The caller has used up what they may use on a day. `again_s`: in how many seconds it begins anew."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, again_s: int, told: Mapping[str, str]) -> None:
        super().__init__(message, "QUOTA_USED")
        self.retry_after_s = again_s
        self.told = told


class DeadlinePassed(ServiceError):
    """The caller's deadline passed before the work was done."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(ServiceError):
    """The caller has gone."""

    code = grpc.StatusCode.CANCELLED


class CallFailed(ServiceError):
    """A call to another service failed; carries its status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message, "CALL_FAILED")
        self.code = code


def status_of(error: BaseException) -> status_pb2.Status:
    """The google.rpc.Status that tells a caller of an error. An unexpected error is INTERNAL, without its text."""
    if isinstance(error, LimitExceeded):
        error = BadRequest([("request", f"cannot be kept: {error}")])
    if isinstance(error, Undecided):
        error = Unavailable(str(error), "UNDECIDED")
    if isinstance(error, StoreError):
        error = Unavailable(f"{error.told}: retry with the same request id", "STORE_FAILED")
    if isinstance(error, ServiceError):
        number: int = error.code.value[0]
        return status_pb2.Status(code=number, message=shortened(str(error), _MOST_MESSAGE_BYTES), details=error.details())
    number = grpc.StatusCode.INTERNAL.value[0]
    return status_pb2.Status(code=number, message="an error inside the service; its log has it under this trace")
