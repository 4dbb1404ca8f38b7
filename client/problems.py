"""What went wrong with a call, out of the details that the city sends with its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a call failed. `reason`: for programs, in capitals; empty: the city gave none. `message`: for people."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    # Field of the request → what is wrong with it.
    fields: Mapping[str, str] = field(default_factory=dict)
    # After how many seconds to try again; None: waiting alone does not help.
    retry_after_s: float | None = None


def problem_of(error: grpc.RpcError) -> Problem:
    """The problem behind an error of gRPC."""
    code = error.code()
    reason, fields, after = "", dict[str, str](), None
    for item in error.trailing_metadata() or ():
        for packed in status_pb2.Status.FromString(item.value).details if item.key == _DETAILS else ():
            info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
            if packed.Unpack(info):
                reason = info.reason
            elif packed.Unpack(request):
                fields = {one.field: one.description for one in request.field_violations}
            elif packed.Unpack(retry):
                after = retry.retry_delay.ToTimedelta().total_seconds()
    return Problem(code, error.details() or "", reason, fields, after)
