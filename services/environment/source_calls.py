"""Methods of sources of pollution: their life, and the measures that are ordered on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from citybrain.environment.v1 import environment_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.identifiers import uscc
from citybrain.mesh.service import People, View, correlate, rpc
from citybrain.services.environment import source_views, sources, traced
from citybrain.services.environment.station_calls import Key, StationCalls, scanned

NOT_AT_WORK = (pb.SOURCE_STATE_ADMITTED, pb.SOURCE_STATE_CLOSED)
"""Sources in these states emit nothing."""


class SourceCalls(StationCalls):
    """Sources and measures."""

    source_list = View(source_views.SOURCE_EVENTS, source_views.source_key, source_views.source, row=source_views.SourceRow)
    source_cells = View(source_views.PLACE_EVENTS, source_views.cell_key, source_views.in_cell, row=source_views.CellRow)
    people = People()

    @rpc
    def AdmitSource(self, request: pb.AdmitSourceRequest) -> pb.AdmitSourceResponse:
        """Admits a source with its permit, or changes the permit."""
        sources.check(request)
        firm_id = self.people.of("uscc", uscc(request.uscc))
        after = self._change_source(request.source_id, lambda life: sources.admit(life, request, firm_id))
        return pb.AdmitSourceResponse(source=sources.show(after))

    @rpc
    def StartSource(self, request: pb.StartSourceRequest) -> pb.StartSourceResponse:
        """An admitted source begins to work."""
        after = self._change_source(request.source_id, lambda life: sources.start(life, request))
        return pb.StartSourceResponse(source=sources.show(after))

    @rpc
    def CloseSource(self, request: pb.CloseSourceRequest) -> pb.CloseSourceResponse:
        """A source works no more."""
        after = self._change_source(request.source_id, lambda life: sources.close(life, request))
        return pb.CloseSourceResponse(source=sources.show(after))

    @rpc
    def GetSource(self, request: pb.GetSourceRequest) -> pb.GetSourceResponse:
        """One source, with the number of its firm for those who may see it."""
        life = self.lives.load(request.source_id)
        sources.existing(life, request.source_id)
        return pb.GetSourceResponse(source=sources.show(life))

    @rpc
    def ListSources(self, request: pb.ListSourcesRequest) -> pb.ListSourcesResponse:
        """By id, in pages, without the numbers of firms."""

        def asked_for(after: Key | None) -> Iterator[source_views.SourceRow]:
            rows = scanned(self.source_list, str(after[0]) if after else "")
            return (row for _, row in rows if source_views.source_is_asked_for(row, request))

        page, more = self.paging.ordered(request, asked_for, lambda row: (row.id,), default=100)
        return pb.ListSourcesResponse(sources=[source_views.read_source(row) for row in page], next_page_token=more)

    @rpc
    def OrderMeasures(self, request: pb.OrderMeasuresRequest) -> pb.OrderMeasuresResponse:
        """Orders a source to stop a line."""
        if request.exceedance_id:
            correlate(request.exceedance_id)
        after = self._change_source(request.source_id, lambda life: sources.order_measures(life, request))
        return pb.OrderMeasuresResponse(measures=after.measures.get(request.measures_id))

    @rpc
    def LiftMeasures(self, request: pb.LiftMeasuresRequest) -> pb.LiftMeasuresResponse:
        """Ends measures, or bars those that may still come."""
        after = self._change_source(request.source_id, lambda life: sources.lift_measures(life, request))
        return pb.LiftMeasuresResponse(measures=sources.show_lifted(after, request.measures_id))

    def _change_source(self, source_id: str, decide: Callable[[sources.Life], list[Message]]) -> sources.Life:
        return self.lives.handle(source_id, decide, lambda after, _: after)

    def _sources_around(self, place: pb.Place) -> list[pb.Source]:
        """The sources that are at work around a place: by the index of cells, the nearest first, as many as are traced."""
        near = [
            (source_views.apart_m(row, place), row.source_id)
            for prefix in source_views.cells_around(place, 3)
            for _, row in scanned(self.source_cells, prefix, prefix)
        ]
        found: dict[str, pb.Source] = {}
        for _, source_id in sorted(near):
            row = self.source_list.get(source_id)
            if row is not None and row.at_work not in NOT_AT_WORK:
                found[source_id] = source_views.read_source(row)
            if len(found) == traced.MOST_CANDIDATES:
                break
        return list(found.values())

    def _permits(self, known: Iterable[pb.Station]) -> dict[str, pb.Permit]:
        """The permits of the sources whose stacks are measured."""
        ids = sorted({one.source_id for one in known if one.medium == pb.MEDIUM_STACK and one.source_id})
        lives = {source_id: self.lives.load(source_id) for source_id in ids}
        return {source_id: life.source.permit for source_id, life in lives.items() if life.source is not None}

    def _source(self, source_id: str) -> pb.Source:
        return sources.existing(self.lives.load(source_id), source_id)
