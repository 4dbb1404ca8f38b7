"""What stands in the log of a type of events, as the catalogue of a running city tells it, and where such events are parked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from citybrain.catalogue.v1 import catalogue_service_pb2 as pb
from citybrain.catalogue.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.cli import groups
from citybrain.cli.configuration import City
from citybrain.local.calling import channel, tls_at, token_here
from citybrain.local.problems import Problem

_ASK_S = 5.0
_ODD = {
    "late": "came more than a minute after they had happened",
    "ahead": "were recorded before they happened: two clocks differ",
    "out_of_order": "happened before one that stood there already",
    "unreadable": "cannot be read: their bytes are no such event",
}


@dataclass(frozen=True, slots=True)
class InTheLog:
    """`unknown`: why nothing is known; empty: `found` is right, and None says that there was never such an event.

    `parked`: how many are parked, by consumer group, in the processes on this machine.
    """

    found: pb.EventType | None = None
    unknown: str = ""
    parked: dict[str, int] = field(default_factory=dict)


def in_the_log(name: str, settings: City) -> InTheLog:
    """What the catalogue says of a type, by its full name, now."""
    asked = settings.asked
    try:
        with channel(asked, token_here(settings), tls=tls_at(asked, settings)) as opened:
            stub = CatalogueServiceStub(opened)  # type: ignore[no-untyped-call]
            answer = stub.ListEventTypes(pb.ListEventTypesRequest(type=name), timeout=_ASK_S)
    except Problem as problem:
        return InTheLog(unknown=str(problem))
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return InTheLog(unknown=f"no city answers at {asked}: `city up` starts one, --gateway names another")
        return InTheLog(unknown=f"{asked} said: {error.details()}")
    return InTheLog(next(iter(answer.types), None), parked=_parked(name, settings))


def _parked(name: str, settings: City) -> dict[str, int]:
    try:
        events, _ = groups.parked(settings, "")
    except Problem:
        # The city runs on another machine, where `city events parked` tells.
        return {}
    return dict(Counter(event.group for event in events if event.type == name))


def lines(log: InTheLog) -> Iterator[str]:
    """For people."""
    if log.unknown:
        yield f"not known: {log.unknown}"
        return
    found = log.found
    if found is None:
        yield "none so far"
        return
    yield f"{found.count} since {_moment(found.first_recorded_at)}, the last one {_moment(found.last_recorded_at)}"
    yield ", ".join(f"{day.date}: {day.count}" for day in found.days)
    if found.HasField("lateness"):
        half, most = _span(found.lateness.half), _span(found.lateness.nearly_all)
        yield f"half were recorded within {half} after they had happened, 99 of 100 within {most}"
    else:
        yield "city time is driven, so nothing is said of lateness"
    odd = [f"{count} {words}" for one, words in _ODD.items() if (count := getattr(found.quality, one))]
    yield from odd or ["nothing about them is odd"]
    for group, count in sorted(log.parked.items()):
        yield f"{count} parked in {group}: `city events parked {group}` tells why"


def plain(log: InTheLog) -> dict[str, Any]:
    """For programs; the counts as the gateway has them in JSON."""
    found = None if log.found is None else json_format.MessageToDict(log.found)
    return {"in_the_log": found, "not_known": log.unknown, "parked": log.parked}


def _moment(at: Timestamp) -> str:
    return at.ToDatetime().strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(of: Duration) -> str:
    seconds = of.seconds + of.nanos / 1e9
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
