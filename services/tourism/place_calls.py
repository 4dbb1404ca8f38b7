"""Methods, windows and timers of places and of the people who are there."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import partial

from citybrain.tourism.v1 import tourism_service_pb2 as pb

from citybrain.mesh.kept import Kept
from citybrain.mesh.long_streams import done
from citybrain.mesh.service import Caller, Clock, Paging, Readings, Service, Source, Streams, View, Window, every, rpc, window
from citybrain.services.tourism import counting, crowds, measures, places, telemetry, views

Key = tuple[int | str, ...]
"""What a list is ordered by."""


class PlaceCalls(Service):
    """Places, their counts and levels."""

    places = Streams("place", counting.State, counting.evolve, snapshot_every=500, district=counting.district_of)
    place_list = View(views.PLACE_EVENTS, views.place_key, views.place, row=Kept)
    places_in_district = View(views.PLACE_EVENTS, views.listed_key, views.listed, row=views.ListedRow)
    now_list = View(views.NOW_EVENTS, views.now_key, views.now, row=views.NowRow)
    force_list = View(measures.EVENTS, measures.key, measures.row, row=measures.ForceRow)
    measures = Streams("measures", measures.State, measures.evolve, snapshot_every=500, district=measures.district_of)
    batches = Readings()
    # Half of what is kept: a count that comes later changes nothing that anybody acts on.
    counters = Source(ahead_s=60, behind_s=1800, measured=True)
    paging = Paging()
    clock = Clock()
    caller = Caller()

    @rpc
    def RegisterPlace(self, request: pb.RegisterPlaceRequest) -> pb.RegisterPlaceResponse:
        """Registers a place, or changes it."""
        register = partial(counting.register, place=request.place)
        known = places.existing(done(self.places, request.place.place_id, register).place, request.place.place_id)
        return pb.RegisterPlaceResponse(place=known, capacity=places.capacity(known))

    @rpc
    def GetPlace(self, request: pb.GetPlaceRequest) -> pb.GetPlaceResponse:
        """One place, with who is there now, its peaks, and what is in force."""
        state = self.places.load(request.place_id)
        place = places.existing(state.place, request.place_id)
        row = self.now_list.get(request.place_id)
        now = None if row is None else views.read_now(row, place, self.clock.now())
        force = self.measures.load(request.place_id).force.values()
        return pb.GetPlaceResponse(
            place=place, capacity=places.capacity(place), now=now, peaks=crowds.show(state.peaks, state.minutes), measures=force
        )

    @rpc
    def ListPlaces(self, request: pb.ListPlacesRequest) -> pb.ListPlacesResponse:
        """By id, in pages. Reads the rows of its page."""
        page, more = self._page_of_places(request, request.district_id or self.caller.district)
        return pb.ListPlacesResponse(places=page, next_page_token=more)

    @rpc
    def ListComfort(self, request: pb.ListComfortRequest) -> pb.ListComfortResponse:
        """By id, in pages. Reads the rows of its page."""
        page, more = self._page_of_places(request, request.in_district)
        now = self.clock.now()

        def has_room(place_id: str) -> bool:
            return views.has_room(self.now_list.get(place_id), now)

        shown = [
            measures.put_into(
                views.comfort(one, self.now_list.get(one.place_id), now), self.force_list.get(one.place_id), has_room
            )
            for one in page
        ]
        return pb.ListComfortResponse(places=shown, next_page_token=more)

    @rpc
    def ListFullestPlaces(self, request: pb.ListFullestPlacesRequest) -> pb.ListFullestPlacesResponse:
        """The fullest first, in pages."""
        district = request.district_id or self.caller.district

        def asked_for(after: Key | None) -> Iterator[views.NowRow]:
            rows = self.now_list.derived(views.fullest_first).get(district, [])
            begin = bisect_right(rows, (-float(after[0]), str(after[1])), key=views.order_of) if after else 0
            return iter(rows[begin:])

        page, more = self.paging.ordered(request, asked_for, lambda row: (repr(row.share), row.place_id))
        now = self.clock.now()
        shown = [views.read_now(row, self._place(row.place_id), now) for row in page]
        return pb.ListFullestPlacesResponse(places=shown, next_page_token=more)

    @rpc
    def ReportCounts(self, request: pb.ReportCountsRequest) -> pb.ReportCountsResponse:
        """Takes a batch in, all of it or nothing; what is of a minute that is over has that computed anew."""
        known = self._places_of(request.counts)
        for place in known.values():
            self.caller.require_district(place.district_id)
        places.check(request.counts, known)
        moments = [
            self.counters.moment(one.counted_at, f"counts[{number}].counted_at") for number, one in enumerate(request.counts)
        ]
        now = self.clock.now()
        late = [telemetry.is_late(moment, now) for moment in moments]
        self.batches.put(request)
        self._count_late([one for one, is_late in zip(request.counts, late, strict=True) if is_late])
        return pb.ReportCountsResponse(late=sum(late))

    @window(
        pb.ReportCountsRequest,
        seconds=60,
        readings=telemetry.readings,
        fold=telemetry.fold,
        late_s=telemetry.LATE_S,
    )
    def minute(self, counted: Window) -> None:
        """Counts each place in a minute that is over."""
        for place_id in sorted(counted.states):
            self._count(place_id, counted.start // telemetry.MINUTE, counted.states[place_id])

    @every(60)
    def find_silent_places(self) -> None:
        """Says of which places nothing comes any more."""
        now = self.clock.now()
        for row in self.now_list.derived(views.counted):
            if counting.is_silent(row.minute, now):
                done(self.places, row.place_id, partial(counting.stop, now=now))

    def _count_late(self, counts: Iterable[pb.Count]) -> None:
        """Puts late counts into their minutes."""
        found: dict[tuple[str, int], telemetry.Values] = {}
        for one in telemetry.readings(pb.ReportCountsRequest(counts=counts)):
            key = one.key, one.at // telemetry.MINUTE
            found[key] = telemetry.fold(found.get(key), one.value)
        for (place_id, minute), values in sorted(found.items()):
            self._count(place_id, minute, values)

    def _count(self, place_id: str, minute: int, values: telemetry.Values) -> None:
        after = done(self.places, place_id, partial(counting.count, minute=minute, values=values), label=str(minute))
        turn = 0
        # Meanwhile another call may have counted a minute on what has not been made anew yet: then there is another turn.
        while later := counting.stale(after, minute):
            for number in later:
                after = done(
                    self.places, place_id, partial(counting.make_anew, minute=number), label=f"{minute}.{turn}.{number}"
                )
            turn += 1

    def _places_of(self, counts: Iterable[pb.Count]) -> dict[str, pb.Place]:
        """The places of counts, as far as they are known.

        The list may not have the newest yet: then their streams are asked.
        """
        asked: dict[str, set[str]] = {}
        for one in counts:
            asked.setdefault(one.place_id, set()).add(one.counter_id)
        found = {}
        for place_id, counters in sorted(asked.items()):
            row = self.place_list.get(place_id)
            place = None if row is None else row.read(pb.Place)
            if place is None or not counters <= {one.counter_id for one in place.counters}:
                place = self.places.load(place_id).place
            if place is not None:
                found[place_id] = place
        return found

    def _place(self, place_id: str) -> pb.Place:
        row = self.place_list.get(place_id)
        return pb.Place() if row is None else row.read(pb.Place)

    def _page_of_places(
        self, request: pb.ListPlacesRequest | pb.ListComfortRequest, district: str
    ) -> tuple[list[pb.Place], str]:
        if not district:
            rows, more = self.paging.scan(request, self.place_list, default=50)
            return [row.read(pb.Place) for _, row in rows], more
        listed, more = self.paging.scan(request, self.places_in_district, default=50, prefix=views.in_district(district))
        return [self._place(row.id) for _, row in listed], more
