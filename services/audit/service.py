"""The audit trail for those who may read it: what every caller did."""

from __future__ import annotations

from citybrain.audit.v1 import audit_service_pb2 as pb

from citybrain.mesh.service import AuditRecords, Service, rpc


class AuditService(Service):
    """Reads only. Records are written by the kit, in every process."""

    name = "audit"
    trail = AuditRecords()

    @rpc
    def ListRecords(self, request: pb.ListRecordsRequest) -> pb.ListRecordsResponse:
        """In the order of the log, in pages."""
        records, more = self.trail.page(request)
        return pb.ListRecordsResponse(records=records, next_page_token=more)
