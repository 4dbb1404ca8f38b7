"""The road network, published in parts; each part keeps the name of its first edge."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import RoadsPublished
from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the network, as it was published last."""

    edges: tuple[RoadEdge, ...] = ()


def evolve(part: Part, event: Message) -> Part:
    """The part after an event."""
    return Part(tuple(event.edges)) if isinstance(event, RoadsPublished) else part


def publish(part: Part, request: pb.PublishRoadsRequest) -> list[Message]:
    """Publishes a part, unless it is known in this form already."""
    return [] if part.edges == tuple(request.edges) else [RoadsPublished(edges=request.edges)]
