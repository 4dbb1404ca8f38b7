"""Things that wait for people, in `city status`: how many, and the oldest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from citybrain.mesh.v1 import mesh_service_pb2 as pb
from rich.text import Text


def waits(statuses: Iterable[pb.GetStatusResponse]) -> Iterator[tuple[str, pb.WaitsForPeople]]:
    """Each service where something waits, once: its processes read the same rows, and one may be a moment behind."""
    found: dict[str, pb.WaitsForPeople] = {}
    for status in statuses:
        for service in status.services:
            known = found.get(service.name)
            if service.waits.count and (known is None or service.waits.count > known.count):
                found[service.name] = service.waits
    yield from sorted(found.items())


def lines(statuses: Iterable[pb.GetStatusResponse]) -> Iterator[Text]:
    """A line for each service, for people."""
    for service, one in waits(statuses):
        number = f"{one.count:,} wait for people" if one.count > 1 else "1 waits for people"
        since = one.since.ToJsonString()[:19]
        text = Text("! ", "yellow").append(f"{service}: {number}", "bold")
        yield text.append(f"  the oldest is {one.oldest}, since {since}: {one.reason}")
