"""The audit trail as a service may read it: in pages."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from citybrain.audit.v1 import records_pb2 as pb

from citybrain.mesh.audit.reading import Found, Place, Query, records
from citybrain.mesh.events import microseconds
from citybrain.mesh.providers.paging import page_begin, page_token
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import DependencyProvider

_DEFAULT = 100
# So many parts of the log, of a hundred batches each, are looked at for one page.
_PARTS = 100


class AuditRecords(DependencyProvider):  # type: ignore[misc]
    """The records of all processes; inside a method: `self.trail.page(request)`."""

    container: Container

    def get_dependency(self, worker_ctx: Any) -> AuditRecords:
        """The provider itself: it holds nothing of a call."""
        return self

    def page(self, request: Any) -> tuple[list[pb.Record], str]:
        """The records that a ListRecordsRequest asks for, and the token of the next page.

        A page may be empty although there are more: a search through a long trail comes in parts.
        """
        return wait(self._page(request))

    async def _page(self, request: Any) -> tuple[list[pb.Record], str]:
        process = self.container.process
        since = microseconds(request.since) if request.HasField("since") else 0
        query = Query(request.subject, request.method, request.person_id, since, request.refused)
        begin = page_begin(process.tokens, request)
        size = request.page_size or _DEFAULT
        found: list[pb.Record] = []
        parts, last = 0, Place()
        looking = records(process.store, query, None if begin is None else Place(*begin))  # type: ignore[arg-type]
        async with aclosing(looking):
            async for one in looking:
                if isinstance(one, Found):
                    if len(found) >= size:
                        break
                    found.append(one.record)
                    last = one.place
                else:
                    last = one
                    parts += 1
                    if parts >= _PARTS:
                        break
            else:
                return found, ""
        return found, page_token(process.tokens, request, (last.partition, last.position, last.skip))
