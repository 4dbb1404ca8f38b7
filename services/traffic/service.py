"""Traffic (交通): roads, signals, and priority for those who save lives."""

from __future__ import annotations

from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.service import Service, Streams, rpc
from citybrain.services.traffic import roads


class TrafficService(Service):
    """Roads, signals and priority."""

    name = "traffic"
    road_parts = Streams("roads", roads.Part, roads.evolve)

    @rpc
    def PublishRoads(self, request: pb.PublishRoadsRequest) -> pb.PublishRoadsResponse:
        """Publishes a part of the network."""
        return self.road_parts.handle(
            request.edges[0].edge_id,
            lambda now: roads.publish(now, request),
            lambda after, _: pb.PublishRoadsResponse(edges_known=len(after.edges)),
        )
