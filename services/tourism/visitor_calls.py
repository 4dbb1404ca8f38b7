"""Methods of sums over visitors: where they come from and go to, where they live, how long they stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import TypeVar

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import spend_pb2 as spend_pb
from citybrain.tourism.v1 import tourism_service_pb2 as places_pb
from citybrain.tourism.v1 import visitors_pb2 as pb

from citybrain.mesh.events import microseconds
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import Streams, View, rpc
from citybrain.services.tourism import hour_views, hours, places, spend, visitor_views, visitors
from citybrain.services.tourism.anonymous_sums import LEAST
from citybrain.services.tourism.forecast_calls import ForecastCalls
from citybrain.services.tourism.hours import DAY, HOUR
from citybrain.services.tourism.offer_calls import SCANNED

R = TypeVar("R")
"""A row."""


class VisitorCalls(ForecastCalls):
    """What sources tell of visitors, as sums."""

    flows = Streams("flows", visitors.Report, visitors.evolve)
    origins = Streams("origins", visitors.Report, visitors.evolve)
    flow_list = View(visitor_views.FLOW_EVENTS, visitor_views.flow_key, visitor_views.flows, row=Kept)
    origin_list = View(visitor_views.ORIGIN_EVENTS, visitor_views.day_key, visitor_views.of_day, row=Kept)
    spends = Streams("spend", spend.Report, spend.evolve)
    spend_list = View(visitor_views.SPEND_EVENTS, visitor_views.day_key, visitor_views.of_day, row=Kept)

    @rpc
    def ReportFlows(self, request: pb.ReportFlowsRequest) -> pb.ReportFlowsResponse:
        """Takes the flows of an hour in, all of them or none."""
        at = microseconds(request.hour)
        visitors.check_hour(at, self.clock.now())
        known = {place_id: self._registered(place_id) for place_id in sorted(visitors.places_of(request.flows))}
        visitors.check_flows(request.flows, {place_id for place_id, place in known.items() if place is not None})
        for place in known.values():
            self.caller.require_district(place.district_id if place is not None else "")
        key = joined(request.source_id, str(at // HOUR))
        after = done(self.flows, key, partial(visitors.report_flows, request=request))
        return pb.ReportFlowsResponse(revision=len(after.told))

    @rpc
    def ReportOrigins(self, request: pb.ReportOriginsRequest) -> pb.ReportOriginsResponse:
        """Takes in where the visitors of a place on a day live, all or none."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        visitors.check_day(request.day, self.clock.now())
        visitors.check_origins(request.origins)
        report = partial(visitors.report_origins, request=request, district_id=place.district_id)
        after = done(self.origins, joined(request.source_id, request.place_id, request.day), report)
        return pb.ReportOriginsResponse(revision=len(after.told))

    @rpc
    def ReportSpend(self, request: spend_pb.ReportSpendRequest) -> spend_pb.ReportSpendResponse:
        """Takes in what visitors of a place have spent on a day, all or nothing."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        visitors.check_day(request.day, self.clock.now())
        report = partial(spend.report, request=request, district_id=place.district_id)
        after = done(self.spends, joined(request.source_id, request.place_id, request.day), report)
        return spend_pb.ReportSpendResponse(revision=len(after.told))

    @rpc
    def GetSpend(self, request: spend_pb.GetSpendRequest) -> spend_pb.GetSpendResponse:
        """What visitors of a place have spent."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        days = visitors.days_between(request.from_day, request.to_day)
        found = [row.read(ev.SpendReported) for row in of_days(self.spend_list, place.place_id, days[0], days[-1])]
        return spend_pb.GetSpendResponse(
            place_id=place.place_id, district_id=place.district_id, days_asked=len(days), least=LEAST,
            sources=spend.shown(found, days),
        )  # fmt: skip

    @rpc
    def GetFlows(self, request: pb.GetFlowsRequest) -> pb.GetFlowsResponse:
        """Where the people of a place came from and went to."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        begin, end = microseconds(getattr(request, "from")), microseconds(request.to)
        visitors.check_span(begin, end)
        return pb.GetFlowsResponse(
            place_id=place.place_id, district_id=place.district_id, hours_asked=(end - begin) // HOUR, least=LEAST,
            sources=visitors.shown_flows(place.place_id, self._flows(begin // HOUR, end // HOUR)),
        )  # fmt: skip

    @rpc
    def GetOrigins(self, request: pb.GetOriginsRequest) -> pb.GetOriginsResponse:
        """Where the visitors of a place live."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        days = visitors.days_between(request.from_day, request.to_day)
        found = (row.read(ev.OriginsReported) for row in of_days(self.origin_list, place.place_id, days[0], days[-1]))
        return pb.GetOriginsResponse(
            place_id=place.place_id, district_id=place.district_id, days_asked=len(days), least=LEAST,
            sources=visitors.shown_origins(found),
        )  # fmt: skip

    @rpc
    def GetStay(self, request: pb.GetStayRequest) -> pb.GetStayResponse:
        """How long people stayed at a place on a day."""
        place = places.existing(self.places.load(request.place_id).place, request.place_id)
        day = visitors.over(request.day, self.clock.now())
        first = hours.first_hour(day)
        row = self.days_of_hours.get(hour_views.prefix(place.place_id) + day.isoformat())
        means = row.means if row is not None else (float(hours.UNKNOWN),) * DAY
        present = {first + hour: mean for hour, mean in enumerate(means) if mean != hours.UNKNOWN}
        present |= {first + hour: counted.mean for hour, counted in self._counted(place.place_id, day).items()}
        found = visitors.stay(place.place_id, present, self._flows(first, first + DAY), place.stay_minutes)
        stay, none = (found, None) if isinstance(found, pb.Stay) else (None, found)
        return pb.GetStayResponse(place_id=place.place_id, district_id=place.district_id, stay=stay, none=none)

    def _registered(self, place_id: str) -> places_pb.Place | None:
        """A place. The list may not have the newest yet: then its stream is asked."""
        row = self.place_list.get(place_id)
        return row.read(places_pb.Place) if row is not None else self.places.load(place_id).place

    def _flows(self, first: int, end: int) -> Iterator[ev.FlowsReported]:
        """What was told of hours (their numbers since 1970), by hour and source."""
        last, until = visitor_views.hour_prefix(first), visitor_views.hour_prefix(end)
        while rows := [(key, row) for key, row in self.flow_list.scan(last, SCANNED) if key < until]:
            last = rows[-1][0]
            yield from (row.read(ev.FlowsReported) for _, row in rows)


def of_days(listed: View[R], place_id: str, first: str, last_day: str) -> Iterator[R]:
    """The rows of days of a place, in the order of their keys, which begin with both."""
    prefix = visitor_views.place_prefix(place_id)
    day_after = visitors.day_of(last_day, "to_day") + timedelta(days=1)
    last, until = prefix + first, prefix + day_after.isoformat()
    while rows := [(key, row) for key, row in listed.scan(last, SCANNED) if key < until]:
        last = rows[-1][0]
        yield from (row for _, row in rows)
