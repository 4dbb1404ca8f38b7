"""A service that says of each second how much of every channel came in it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from citybrain.counting.v1 import counting_service_pb2 as pb
from citybrain.counting.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.mesh.service import Reading, Readings, Service, Streams, Window, rpc, window


def readings(batch: pb.ReportReadingsRequest) -> Iterable[Reading]:
    """The values of a batch."""
    return (Reading(one.channel, one.at, one.value) for one in batch.readings)


def evolve(told: int, event: Message) -> int:
    """One more."""
    return told + 1


class CountingService(Service):
    """See the module."""

    name = "counting"
    batches = Readings()
    seconds = Streams("seconds", int, evolve)

    @rpc
    def ReportReadings(self, request: pb.ReportReadingsRequest) -> pb.ReportReadingsResponse:
        """Keeps a batch."""
        self.batches.put(request)
        return pb.ReportReadingsResponse()

    @window(pb.ReportReadingsRequest, seconds=1, readings=readings, fold=lambda sum_, value: (sum_ or 0) + value)
    def second(self, window: Window) -> None:
        """One event for a second."""
        text = json.dumps({"late": window.late, "ahead": window.ahead, "sums": window.states})
        counted = ev.Counted(second=str(window.start), text=text)
        self.seconds.handle("all", lambda told: [counted], lambda after, _: None)
