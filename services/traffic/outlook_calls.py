"""Methods of the health of junctions, and of forecasts of roads."""

from __future__ import annotations

from functools import partial

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import outlook_pb2 as pb
from citybrain.traffic.v1 import street_pb2 as street

from citybrain.mesh.errors import Refused
from citybrain.mesh.events import microseconds
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Streams, View, at, every, off_loop, rpc
from citybrain.services.traffic import incident_views, junctions, road_forecasts, street_network, street_views
from citybrain.services.traffic.control_calls import ControlCalls
from citybrain.services.traffic.roadside_calls import RoadsideCalls

FRESH_S = 30
"""Queues that were observed longer ago are not those of now."""


class OutlookCalls(ControlCalls, RoadsideCalls):
    """Junctions and roads beside what is usual, and what they will be."""

    junction_hours_told = Streams("junction-health", junctions.LastScored, junctions.evolve)
    forecasts_told = Streams("road-forecasts", road_forecasts.LastLearnt, road_forecasts.evolve)
    junction_hours = View(
        (ev.JunctionHealthScored,), junctions.hour_key, junctions.hour_row, row=junctions.JunctionHourRow
    )  # fmt: skip
    forecast_models = View(road_forecasts.FORECAST_EVENTS, road_forecasts.row_key, road_forecasts.row, row=Kept)

    @rpc
    def GetJunctionHealth(self, request: pb.GetJunctionHealthRequest) -> pb.GetJunctionHealthResponse:
        """One junction, with what is expected of it."""
        row = self.cycle_list.get(request.signal_id)
        before = self.junction_hours.derived(junctions.history).get(request.signal_id, {})
        found = junctions.health(row, self._streets(), before, self.clock.now(), ahead=True) if row is not None else None
        return pb.GetJunctionHealthResponse(health=junctions.existing(found, request.signal_id))

    @rpc
    def ListJunctionHealth(self, request: pb.ListJunctionHealthRequest) -> pb.ListJunctionHealthResponse:
        """The worst first, in pages."""
        asked_for = [one for one in self._healths() if request.district_id in ("", one.district_id)]
        page, more = self.paging.page(request, asked_for, junctions.place_in_list, default=50)
        return pb.ListJunctionHealthResponse(junctions=page, next_page_token=more)

    @rpc
    def GetRoadForecast(self, request: pb.GetRoadForecastRequest) -> pb.GetRoadForecastResponse:
        """Flow and speed of a road, where a forecast beats the naive ones."""
        road = self._road(request.edge_id)
        day, models = self.forecast_models.derived(road_forecasts.by_road).get(request.edge_id, ("", []))
        if not models:
            what = "it is known of fewer than seven days, or no forecast beats that it stays as it is"
            raise Refused(f"nothing is forecast of road {request.edge_id!r}: {what}", "NO_FORECAST")
        row = self.street_now.get(road.part_id)
        now = row.read(street.StreetNow) if row is not None else street.StreetNow()
        state = next((one for one in now.roads if one.edge_id == request.edge_id), None)
        if state is None or self._is_outdated(microseconds(now.to)):
            what = "nothing was measured there in the last 15 minutes"
            raise Refused(f"nothing is forecast of road {request.edge_id!r}: {what}", "NOT_MEASURED")
        found = road_forecasts.forecasts(models, state, microseconds(now.to))
        return pb.GetRoadForecastResponse(forecasts=found, to=now.to, day=day)

    @every(3600)
    def score_junctions(self) -> None:
        """Tells how junctions are, hour by hour: what is usual is learnt from that."""
        now = self.clock.now()
        found = sorted(self._healths(), key=lambda one: one.signal_id)
        for told in junctions.scored(found, now):
            self.junction_hours_told.handle(
                str(told.batch), partial(junctions.tell, told=told), lambda _after, _: None, label=str(told.batch)
            )  # fmt: skip

    @at("04:15")
    def learn_forecasts(self) -> None:
        """Learns forecasts of roads from the days before."""
        now = self.clock.now()
        for part_id in self._parts():
            rows = [row for some in self._road_hours_of(part_id) for row in some]
            for told in off_loop(road_forecasts.learn, part_id, rows, now):
                key = f"{part_id} {told.batch}"
                self.forecasts_told.handle(key, partial(road_forecasts.tell, told=told), lambda _after, _: None, label=key)

    # -- below ------------------------------------------------------------------------------------------------------------

    def _healths(self) -> list[pb.JunctionHealth]:
        """The junctions of which something is known, the worst first."""
        now, before, at_ = self._streets(), self.junction_hours.derived(junctions.history), self.clock.now()
        rows = [row for _, row in self.cycle_list.scan()]
        all_ = (junctions.health(row, now, before.get(row.signal_id, {}), at_, ahead=False) for row in rows)
        return sorted((one for one in all_ if one is not None), key=junctions.place_in_list)

    def _streets(self) -> junctions.Now:
        published, detectors = (
            self.network_parts.derived(street_views.roads),
            self.detector_list.derived(street_views.detectors),
        )
        states = self.street_now.derived(_states)
        fresh = {edge_id: road for edge_id, (ended, road) in states.items() if not self._is_outdated(ended)}
        seen = self.observed.street
        queues = seen.queues if self.clock.now() / 1e6 - seen.queues_at <= FRESH_S else None
        open_ = frozenset(one.edge_id for one in self.open_incidents.derived(incident_views.oldest_first))
        return junctions.Now(street_network.known(published, detectors.values()), fresh, queues, open_)


def _states(rows: list[Kept]) -> dict[str, tuple[int, street.RoadState]]:
    """Road → the end of its newest window (microseconds), and how it was."""
    found = {}
    for row in rows:
        now = row.read(street.StreetNow)
        for road in now.roads:
            found[road.edge_id] = microseconds(now.to), road
    return found
