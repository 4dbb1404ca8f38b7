"""Methods of peaks of crowds, and of the measures that are in force at a place."""

from __future__ import annotations

from functools import partial

from citybrain.tourism.v1 import events_pb2 as ev
from citybrain.tourism.v1 import peaks_pb2 as pk
from citybrain.tourism.v1 import tourism_service_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import Heard, rpc, subscribe
from citybrain.services.tourism import counting, crowds, measures, peaks, places, views
from citybrain.services.tourism.forecast_calls import ForecastCalls


class CrowdCalls(ForecastCalls):
    """Measures, and what a person or the workflow says of a peak."""

    @rpc
    def OrderMeasure(self, request: pk.OrderMeasureRequest) -> pk.OrderMeasureResponse:
        """Puts a measure into force."""
        place = self._known(request.place_id)
        now = self.clock.now()
        has_room = [one for one in place.elsewhere_ids if views.has_room(self.now_list.get(one), now)]
        decide = partial(measures.order, place=place, request=request, has_room=has_room, now=now)
        after = done(self.measures, request.place_id, decide)
        return pk.OrderMeasureResponse(measure=after.force.get(request.measure_id))

    @rpc
    def LiftMeasure(self, request: pk.LiftMeasureRequest) -> pk.LiftMeasureResponse:
        """Ends a measure, or bars the one that may still come."""
        place = self._known(request.place_id)
        after = done(self.measures, request.place_id, partial(measures.lift, place=place, request=request))
        return pk.LiftMeasureResponse(measures=after.force.values())

    @rpc
    def AcknowledgeMeasure(self, request: pk.AcknowledgeMeasureRequest) -> pk.AcknowledgeMeasureResponse:
        """Somebody at the place says that it is carried out."""
        now = self.clock.now()
        after = done(self.measures, request.place_id, partial(measures.acknowledge, request=request, now=now))
        return pk.AcknowledgeMeasureResponse(measure=after.force.get(request.measure_id))

    @rpc
    def EndPeak(self, request: pk.EndPeakRequest) -> pk.EndPeakResponse:
        """A person says that it is over."""
        now = self.clock.now()
        after = done(
            self.places,
            request.place_id,
            lambda state: crowds.end(state.peaks, state.minutes, request.peak_id, request.reason, now),
        )
        return pk.EndPeakResponse(peak=crowds.shown(after.peaks, request.peak_id, after.minutes))

    @rpc
    def RecordPeakReview(self, request: pk.RecordPeakReviewRequest) -> pk.RecordPeakReviewResponse:
        """Puts forecasts beside what was counted."""
        after = done(self.places, request.place_id, lambda state: crowds.review(state.peaks, request))
        return pk.RecordPeakReviewResponse(review=crowds.existing(after.peaks, request.peak_id).review)

    @subscribe(ev.PeakForecast, ev.PeakForecastRetracted)
    def expect_crowds(self, event: Heard) -> None:
        """A forecast begins a peak, says more of one, or takes back what it has expected."""
        told, now = event.data, self.clock.now()
        if isinstance(told, ev.PeakForecast):
            forecast = told.forecast
            expected, below = crowds.expected(forecast)

            def expect(state: counting.State) -> list[Message]:
                # A place that is forecast is registered.
                return (
                    []
                    if state.place is None
                    else crowds.expect(state.peaks, state.place, state.minutes, forecast.capacity, expected, below, now)
                )

            done(self.places, forecast.place_id, expect)
        else:
            assert isinstance(told, ev.PeakForecastRetracted)
            hours_ahead, hour = peaks.AHEAD[told.horizon], microseconds(told.peak_hour)
            done(
                self.places,
                told.place_id,
                lambda state: crowds.take_back(state.peaks, state.minutes, hours_ahead, hour, now),
            )

    def _known(self, place_id: str) -> pb.Place:
        return places.existing(self.places.load(place_id).place, place_id)
