"""Methods of detectors and of the state of the streets, and the windows of what is measured.

It is long because all that is measured goes through one window of the kit: no two judge one part of the network at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import street_pb2 as pb

from citybrain.mesh.errors import NotFound
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import (
    Clock,
    Paging,
    Reading,
    Readings,
    Service,
    Streams,
    View,
    Window,
    at,
    every,
    off_loop,
    rpc,
    window,
)
from citybrain.services.traffic import (
    areas,
    congestion,
    detectors,
    free_speeds,
    incident_views,
    queues,
    speeds,
    street_network,
    street_views,
    streets,
    views,
)
from citybrain.services.traffic.detector_health import WINDOW_S
from citybrain.services.traffic.detectors import LATE_S, MICROSECONDS

SCANNED = 100
"""So many hours are read at a time."""
HEARTBEAT = "heartbeat"
DETECTOR, OBSERVED, LATE, QUEUE, QUEUES = "detector ", "observed ", "late ", "queue ", "queues"
"""What the names of readings in a window begin with."""


def readings(batch: pb.StreetReadings) -> Iterator[Reading]:
    """The readings of a batch. Late ones belong to the window in which they came: they are put into theirs when it ends."""
    at = microseconds(batch.at)
    if not batch.readings and not batch.observed and not batch.queue_reports:
        yield Reading(HEARTBEAT, at, None)
    if batch.queue_reports:
        yield Reading(QUEUES, at, (0, batch.queue_reports))
    for queue in batch.queues:
        yield Reading(QUEUE + queue.edge_id, at, (queue.vehicles, queue.reports))
    for one in batch.readings:
        start, interval = streets.moment(one)
        if batch.HasField("late_at"):
            yield Reading(LATE + one.detector_id, microseconds(batch.late_at), (start, interval))
        else:
            yield Reading(DETECTOR + one.detector_id, microseconds(one.began_at), (start, interval))
    for seen in batch.observed:
        yield Reading(OBSERVED + seen.edge_id, at, (seen.speed_mps * seen.vehicles, seen.vehicles))


def fold(state: object, value: object) -> object:
    """What came of one name in a window: of an interval the last reading counts, of what was observed the sums."""
    if value is None:
        return None
    assert isinstance(value, tuple)
    first, second = value
    if isinstance(second, pb.MeasuredInterval):
        assert state is None or isinstance(state, dict)
        return {**(state or {}), (first, second.second): second}
    assert state is None or isinstance(state, tuple)
    if isinstance(first, int):
        return queues.merged(state, value) if state is not None else value
    total, seen = state or (0.0, 0)
    return total + first, seen + second


def _known(
    published: Mapping[str, street_network.Road],
    learnt: Mapping[str, tuple[float, int]],
    some: Mapping[str, pb.Detector],
    cycles: Mapping[str, float],
) -> street_network.Known:
    return street_network.known(free_speeds.applied(published, learnt), some.values(), cycles)


class StreetCalls(Service):
    """Detectors, and the state of the streets."""

    detectors = Streams("detector", detectors.DetectorState, detectors.evolve, district=detectors.district_of)
    street_parts = Streams("street", streets.Part, streets.evolve, snapshot_every=50)
    free_flow = Streams("free-flow", free_speeds.Learnt, free_speeds.evolve)
    areas = Streams("area", areas.Area, areas.evolve, snapshot_every=50)
    road_list = View(views.ROAD_EVENTS, views.road_key, views.road, row=views.RoadRow)
    network_parts = View(views.ROAD_EVENTS, views.road_key, street_views.network, row=Kept)
    detector_list = View(street_views.DETECTOR_EVENTS, street_views.detector_key, street_views.detector, row=Kept)
    street_now = View(street_views.STREET_EVENTS, street_views.street_key, street_views.street, row=Kept)
    free_now = View(street_views.FREE_EVENTS, street_views.free_key, street_views.free, row=Kept)
    hours = View(street_views.STREET_EVENTS, free_speeds.hour_key, free_speeds.hour, row=free_speeds.HourRow)
    area_now = View(street_views.AREA_EVENTS, street_views.area_key, street_views.area, row=Kept)
    cycle_list = View(
        incident_views.CYCLE_EVENTS, incident_views.signal_key, incident_views.cycle, row=incident_views.CycleRow
    )  # fmt: skip
    batches = Readings()
    paging = Paging()
    clock = Clock()

    @rpc
    def RegisterDetectors(self, request: pb.RegisterDetectorsRequest) -> pb.RegisterDetectorsResponse:
        """Makes detectors known, or changed: all of them, or none where one cannot be."""
        roads, listed = self.network_parts.derived(street_views.roads), self.detector_list.derived(street_views.detectors)
        lengths = self.road_list.derived(views.lengths)
        for index, one in enumerate(request.detectors):
            detectors.check(index, one, lengths)
        known = street_network.known(roads, listed.values())
        new = {one.detector_id: one for one in request.detectors if not one.retired and one.detector_id not in known.detectors}
        counted = Counter(roads[one.edge_id].part_id for one in known.detectors.values())
        detectors.check_room(Counter(roads[one.edge_id].part_id for one in new.values()), counted)
        changed = 0
        for one in request.detectors:
            district_id = roads[one.edge_id].district_id
            changed += self.detectors.handle(
                one.detector_id,
                partial(detectors.register, detector=one, district_id=district_id),
                lambda _after, events: len(events),
            )
        return pb.RegisterDetectorsResponse(changed=changed)

    @rpc
    def ReportDetectorReadings(self, request: pb.ReportDetectorReadingsRequest) -> pb.ReportDetectorReadingsResponse:
        """Takes readings in, but for those that nobody can place."""
        batches, answer = detectors.sort(request, self.detector_list.derived(street_views.detectors), self.clock.now())
        for batch in batches:
            self.batches.put(batch)
        return answer

    @rpc
    def GetDetector(self, request: pb.GetDetectorRequest) -> pb.GetDetectorResponse:
        """A detector, and whether it fails."""
        detector = detectors.existing(self.detectors.load(request.detector_id), request.detector_id)
        failed = self.street_now.derived(street_views.failed)
        found = next((one for one in failed if one.detector_id == request.detector_id), None)
        return pb.GetDetectorResponse(detector=detector, failed=found)

    @rpc
    def ListFailedDetectors(self, request: pb.ListFailedDetectorsRequest) -> pb.ListFailedDetectorsResponse:
        """By detector, in pages."""
        failed = self.street_now.derived(street_views.failed)
        asked_for = [one for one in failed if request.district_id in ("", one.district_id)]
        page, more = self.paging.page(request, asked_for, street_views.place_of_detector, default=50)
        return pb.ListFailedDetectorsResponse(detectors=page, next_page_token=more)

    @rpc
    def GetRoadState(self, request: pb.GetRoadStateRequest) -> pb.GetRoadStateResponse:
        """How a road was in the newest window."""
        road = self._road(request.edge_id)
        row = self.street_now.get(road.part_id)
        now = row.read(pb.StreetNow) if row is not None else pb.StreetNow()
        found = next((one for one in now.roads if one.edge_id == request.edge_id), None)
        if found is None:
            what = "nothing is measured on it: register a detector (RegisterDetectors), or wait until somebody drives there"
            raise NotFound(f"the state of road {request.edge_id!r} is not known: {what}", "NOT_MEASURED")
        return pb.GetRoadStateResponse(
            road=found, to=now.to, outdated=self._is_outdated(microseconds(now.to)), standard=congestion.STANDARD,
            **{"from": getattr(now, "from")},
        )  # fmt: skip

    @rpc
    def ListCongestedRoads(self, request: pb.ListCongestedRoadsRequest) -> pb.ListCongestedRoadsResponse:
        """The worst first, in pages."""

        def asked_for(after: tuple[int | str, ...] | None) -> Iterator[tuple[int, pb.RoadState]]:
            rows = self.street_now.derived(street_views.worst_first)
            for ended, road in rows[bisect_right(rows, after, key=street_views.place_in_list) if after else 0 :]:
                if not self._is_outdated(ended) and request.district_id in ("", road.district_id):
                    yield ended, road

        page, more = self.paging.ordered(request, asked_for, street_views.place_in_list, default=50)
        return pb.ListCongestedRoadsResponse(roads=[road for _, road in page], next_page_token=more)

    @rpc
    def GetCongestion(self, request: pb.GetCongestionRequest) -> pb.GetCongestionResponse:
        """Of a district, or of the city."""
        row = self.area_now.get(street_views.area_named(request.district_id))
        if row is None:
            where = f"district {request.district_id!r}" if request.district_id else "the city"
            raise NotFound(f"the congestion of {where} is not known: nothing is measured on its roads", "NOT_MEASURED")
        now = row.read(ev.AreaMeasured)
        return pb.GetCongestionResponse(
            area=now.area, to=now.to, outdated=self._is_outdated(microseconds(now.to)), standard=now.standard,
            **{"from": getattr(now, "from")},
        )  # fmt: skip

    @every(60)
    def keep_time(self) -> None:
        """Has every five minutes judged, also those in which nothing comes: then every detector is silent."""
        if not all(one.retired for one in self.detector_list.derived(street_views.detectors).values()):
            self.batches.put(pb.StreetReadings(at=timestamp(self.clock.now())))

    @at("03:30")
    def learn_free_speeds(self) -> None:
        """Learns the speeds in free flow from the days before."""
        roads, now = self.network_parts.derived(street_views.roads), self.clock.now()
        for part_id in sorted({road.part_id for road in roads.values()}):
            found: free_speeds.Found = {}
            for rows in self._hours_of(part_id):
                off_loop(free_speeds.collect, found, rows, now)
            told = free_speeds.learn(part_id, found, roads, now)
            self.free_flow.handle(part_id, partial(free_speeds.tell, told=told), lambda _after, _: None)

    def _road(self, edge_id: str) -> street_network.Road:
        road = self.network_parts.derived(street_views.roads).get(edge_id)
        if road is None:
            raise NotFound(f"road {edge_id!r} is not in the published network: name one that is", "UNKNOWN_ROAD")
        return road

    def _hours_of(self, part_id: str) -> Iterator[list[free_speeds.HourRow]]:
        """The hours of a part, some at a time."""
        last = prefix = free_speeds.prefix(part_id)
        while rows := [(key, row) for key, row in self.hours.scan(last, SCANNED) if key.startswith(prefix)]:
            last = rows[-1][0]
            yield [row for _, row in rows]

    @window(pb.StreetReadings, seconds=WINDOW_S, readings=readings, fold=fold, late_s=LATE_S)
    def five_minutes(self, window: Window) -> None:
        """Judges five minutes; before that, those anew of which something came late."""
        late: dict[int, dict[str, dict[int, pb.MeasuredInterval]]] = {}
        reported: dict[str, dict[int, pb.MeasuredInterval]] = {}
        observed: dict[str, tuple[float, int]] = {}
        queued: dict[str, tuple[int, int]] = {}
        for name, state in sorted(window.states.items()):
            if name.startswith(LATE):
                for (start, second), one in state.items():
                    late.setdefault(start, {}).setdefault(name.removeprefix(LATE), {})[second] = one
            elif name.startswith(DETECTOR):
                reported[name.removeprefix(DETECTOR)] = {second: one for (_, second), one in state.items()}
            elif name.startswith(OBSERVED):
                total, vehicles = state
                observed[name.removeprefix(OBSERVED)] = total / vehicles, vehicles
            elif name.startswith(QUEUE):
                queued[name.removeprefix(QUEUE)] = state
        published, learnt = self.network_parts.derived(street_views.roads), self.free_now.derived(street_views.free_speeds)
        cycles = self.cycle_list.derived(incident_views.cycles)
        known = off_loop(_known, published, learnt, self.detector_list.derived(street_views.detectors), cycles)
        here = {known.roads[edge_id].part_id for edge_id in (*known.on, *observed) if edge_id in known.roads}
        # Of which something is known still: it must not leave the mean of the city because nothing is measured any more.
        here |= self.street_now.derived(street_views.parts_known)
        for start, values in sorted(late.items()):
            came = {known.part_of(name) for name in values} & here
            self._measure(known, came, start, values, {}, label="late ")
            self._measure_areas(here, start, anew=True)
        _, reports = window.states.get(QUEUES, (0, 0))
        self._measure(known, here, window.start, reported, observed, streets.Queued(queued, reports))
        self._measure_areas(here, window.start)

    def _take_observed(self, before: speeds.Speeds, after: speeds.Speeds) -> None:
        """Puts the speeds of a minute that is over among what is measured."""
        minute, seen = speeds.finished(before, after)
        if seen:
            self.batches.put(pb.StreetReadings(at=timestamp(minute * 60 * MICROSECONDS), observed=seen))

    def _take_queues(self, over: queues.Queues | None) -> None:
        """Puts the queues of a minute that is over among what is measured."""
        if over is not None and over.minute is not None:
            at = timestamp(over.minute * 60 * MICROSECONDS)
            self.batches.put(pb.StreetReadings(at=at, queues=queues.told(over), queue_reports=over.reports))

    def _measure(
        self,
        known: street_network.Known,
        parts: Iterable[str],
        start: int,
        reported: Mapping[str, streets.Intervals],
        observed: streets.Observed,
        queued: streets.Queued = streets.NOT_OBSERVED,
        label: str = "",
    ) -> None:
        mine: dict[str, dict[str, streets.Intervals]] = {}
        for name, intervals in reported.items():
            mine.setdefault(known.part_of(name), {})[name] = intervals
        seen: dict[str, dict[str, tuple[float, int]]] = {}
        for edge_id, one in observed.items():
            if edge_id in known.roads:
                seen.setdefault(known.roads[edge_id].part_id, {})[edge_id] = one
        for part_id in sorted(parts):
            judge = partial(
                streets.measure, part_id=part_id, known=known, start=start, reported=mine.get(part_id, {}),
                observed=seen.get(part_id, {}), queued=queued.of(part_id, known),
            )  # fmt: skip
            # Signals are commanded every second: they must not wait for it.
            self.street_parts.handle(part_id, partial(off_loop, judge), lambda _after, _: None, label=f"{label}{start}")

    def _measure_areas(self, parts: Iterable[str], since: int, *, anew: bool = False) -> None:
        loaded = [self.street_parts.load(part_id) for part_id in sorted(parts)]
        for start in streets.windows_of(loaded, since):
            roads = streets.roads_in(loaded, start)
            for district_id in sorted({road.district_id for road in roads} | {""}):
                mine = [road for road in roads if district_id in ("", road.district_id)]
                self.areas.handle(
                    street_views.area_named(district_id),
                    partial(areas.measure, district_id=district_id, start=start, roads=mine, anew=anew),
                    lambda _after, _: None,
                    label=f"{'late ' if anew else ''}{since} {start}",
                )

    def _is_outdated(self, ended: int) -> bool:
        now: int = self.clock.now()
        return now - ended > street_views.OUTDATED_US
