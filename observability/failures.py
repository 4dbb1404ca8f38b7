"""What telemetry says of an error: what it is and where it came up, never what stands in it.

The text of an error that nobody expected may hold whatever the code was working on: `int("138…")` says the number. So it stays
out of log lines and spans. An error whose text is written for those who run the city says so by a property `for_logs`.
"""

from __future__ import annotations

import traceback

FAULTS = ("DATA_LOSS", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNIMPLEMENTED", "UNKNOWN")
"""How a call ends by a fault of the service. Other errors are its caller's, or a limit that holds.

https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ has the same for spans of servers.
"""


def told(error: BaseException) -> str:
    """The class of an error, and its text where that is meant for logs."""
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__} of {', '.join(told(one) for one in error.exceptions)}"
    said = getattr(error, "for_logs", "") or _of_system(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _of_system(error: BaseException | None) -> str:
    """What the operating system says of an error, and of the one inside of an error of urllib."""
    if not isinstance(error, OSError):
        return ""
    return error.strerror or _of_system(getattr(error, "reason", None))


def traced(error: BaseException) -> str:
    """Where an error came up, and those that it came from: as Python prints it, without their texts."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\n".join("".join(traceback.format_tb(one.__traceback__)) + told(one) for one in reversed(chain))
