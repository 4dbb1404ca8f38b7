"""What stands in the log, by type of event, for those who look for data."""

from __future__ import annotations

from citybrain.catalogue.v1 import catalogue_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from citybrain.mesh.events import timestamp
from citybrain.mesh.service import EveryEvent, Paging, Service, rpc
from citybrain.services.catalogue import domain

_PAGE = 100


class CatalogueService(Service):
    """Counts the events of the log, whosever they are. It publishes nothing."""

    name = "catalogue"
    events = EveryEvent(domain.counted, row=domain.TypeRow)
    paging = Paging()

    @rpc
    def ListEventTypes(self, request: pb.ListEventTypesRequest) -> pb.ListEventTypesResponse:
        """By name, in pages."""
        known = self.events.derived(domain.added_up)
        rows = [row for name, row in known.items() if request.type in ("", name)]
        page, more = self.paging.page(request, rows, lambda row: (row.type,), default=_PAGE)
        driven = self.events.driven
        return pb.ListEventTypesResponse(types=[_shown(row, driven=driven) for row in page], next_page_token=more)


def _shown(row: domain.TypeRow, *, driven: bool) -> pb.EventType:
    days = domain.all_days(row)
    quality = pb.Quality(out_of_order=days.out_of_order, unreadable=days.unreadable)
    lateness = None
    if not driven:
        quality.late, quality.ahead = days.late, days.ahead
        lateness = pb.Lateness(half=_duration(domain.within(days, 0.5)), nearly_all=_duration(domain.within(days, 0.99)))
    return pb.EventType(
        type=row.type,
        count=row.count,
        first_recorded_at=timestamp(row.first),
        last_recorded_at=timestamp(row.last),
        days=[pb.DayCount(date=domain.date_of(name), count=row.days[name].count) for name in sorted(row.days, key=int)],
        lateness=lateness,
        quality=quality,
    )


def _duration(microseconds: int) -> Duration:
    return Duration(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)
