"""Methods of water networks and their leaks, and what a minute of pressures brings."""

from __future__ import annotations

from collections.abc import Sequence

from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import water_pb2 as pb
from typing_extensions import override

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.events import microseconds
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Log, Streams, View, Window, off_loop, rpc
from citybrain.services.urban import devices, isolation, leaks, views, water_network
from citybrain.services.urban.device_calls import DeviceCalls
from citybrain.services.urban.watching import Seen, Watched, Watching


class WaterCalls(DeviceCalls):
    """Water networks and their leaks."""

    networks = Streams("network", leaks.Network, leaks.evolve_network, district=leaks.network_district)
    leaks = Streams("leak", leaks.LeakState, leaks.evolve, district=leaks.district_of)
    leak_list = View(views.LEAK_EVENTS, views.leak_key, views.leak, row=Kept)
    watching = Watching()
    log = Log()

    @rpc
    def RegisterWaterNetwork(self, request: pb.RegisterWaterNetworkRequest) -> pb.RegisterWaterNetworkResponse:
        """Makes a network known, if EPANET can run it."""
        try:
            layout = off_loop(water_network.layout, request.inp)
        except water_network.Unreadable as problem:
            raise BadRequest([("inp", f"EPANET cannot read it: {problem}")]) from None
        valves = request.valves or isolation.everywhere(layout)
        remarks = ["no valves are given: each pipe is taken to have one at each end"] if not request.valves else []
        return self.networks.handle(
            request.network_id,
            lambda state: leaks.register(state, request, layout),
            lambda _after, _: pb.RegisterWaterNetworkResponse(
                junctions=len(layout.demand_lps), pipes=sum(link.closable for link in layout.links), valves=len(valves),
                remarks=remarks,
            ),
        )  # fmt: skip

    @rpc
    def PlanIsolation(self, request: pb.PlanIsolationRequest) -> pb.PlanIsolationResponse:
        """How pipes would be cut off."""
        registered = leaks.existing_network(self.networks.load(request.network_id), request.network_id)
        one = off_loop(self.watching.get, registered)
        return pb.PlanIsolationResponse(isolation=off_loop(leaks.planned, registered, one.layout, list(request.pipe_ids)))

    @rpc
    def GetLeak(self, request: pb.GetLeakRequest) -> pb.GetLeakResponse:
        """A leak."""
        return pb.GetLeakResponse(leak=leaks.existing(self.leaks.load(request.leak_id), request.leak_id))

    @rpc
    def ListLeaks(self, request: pb.ListLeaksRequest) -> pb.ListLeaksResponse:
        """Newest first, in pages."""
        rows = [one for _, row in self.leak_list.scan() if (one := views.leak_of(row))]
        asked = [one for one in rows if request.network_id in ("", one.network_id)]
        page, more = self.paging.page(request, asked, lambda one: (microseconds(one.found_at), one.leak_id), newest_first=True)
        return pb.ListLeaksResponse(leaks=page, next_page_token=more)

    @rpc
    def ReportLookedAt(self, request: pb.ReportLookedAtRequest) -> pb.ReportLookedAtResponse:
        """A crew has looked: water is lost, and is cut off; or the sensor is wrong. What it went for is done."""
        leak, now = leaks.existing(self.leaks.load(request.leak_id), request.leak_id), self._now()
        one = self._watched(leak.network_id)
        found = leaks.seen(leak, one.layout, request)
        found.order_id = leaks.order_id(request.leak_id, "found")
        plan = self._plan(one.registered, found.candidates) if request.water_is_lost else None
        after, told = self.leaks.handle(
            request.leak_id,
            lambda state: leaks.looked_at(state, request, found, plan, now),
            lambda after, events: (leaks.existing(after, request.leak_id), list(events)),
        )
        if told:
            # Not that of the leak as it was read: of a report that is made again, that is the one that shuts it off.
            self._finish(leaks.order_id(request.leak_id, "suspected"), request.finding)
        return pb.ReportLookedAtResponse(leak=after)

    @rpc
    def ReportIsolated(self, request: pb.ReportIsolatedRequest) -> pb.ReportIsolatedResponse:
        """Valves are closed, or stuck."""
        state = self.leaks.load(request.leak_id)
        leak, now = leaks.existing(state, request.leak_id), self._now()
        replan = None
        if request.stuck:
            one = self._watched(leak.network_id)
            pipes = [each.pipe_id for each in leak.candidates]
            replan = off_loop(leaks.planned, one.registered, one.layout, pipes, leaks.stuck_of(state, request))
        return self.leaks.handle(
            request.leak_id,
            lambda state: leaks.isolate(state, request, replan, now),
            lambda after, _: pb.ReportIsolatedResponse(leak=after.leak),
        )

    @rpc
    def ReportRestored(self, request: pb.ReportRestoredRequest) -> pb.ReportRestoredResponse:
        """The pipe is mended. Its work order is done."""
        now = self._now()
        leak = self.leaks.handle(
            request.leak_id,
            lambda state: leaks.restore(state, request, now),
            lambda after, _: leaks.existing(after, request.leak_id),
        )
        self._finish(leak.order_id, request.outcome)
        return pb.ReportRestoredResponse(leak=leak)

    # -- what a minute brings ---------------------------------------------------------------------------------------------

    @override
    def _take_pressures(self, window: Window) -> None:
        """Compares the pressures of a minute with the models, and tells what is lost where."""
        going_on = self.leak_list.derived(views.leaks_going_on)
        wrong = self.anomaly_list.derived(views.going_on)
        for network_id, sensors in self.device_list.derived(views.sensors).items():
            registered = self.networks.load(network_id).registered
            if registered is None or not any(name in window.states for name in sensors):
                continue
            leak = going_on.get(network_id)
            # The newest word on it: a crew may just have closed its valves.
            leak = self.leaks.load(leak.leak_id).leak if leak is not None else None
            try:
                seen = off_loop(self.watching.see, registered, window.start, window.states, sensors, leak, wrong)
            except water_network.Unreadable as problem:
                self.log.error("a water network cannot be computed", network=network_id, error=problem)
                continue
            self._tell_seen(registered, seen, leak, window.end)

    def _tell_seen(self, registered: ev.WaterNetworkRegistered, seen: Seen, leak: pb.Leak | None, now_us: int) -> None:
        now = self._now()
        if seen.outdated:
            begun = microseconds(registered.starts_at)
            order_id = f"wo-{leaks.leak_id(registered.network_id, begun).removeprefix('leak-')}"
            task = f"register the model of {registered.network_id} anew, with today's levels: it has run for 31 days"
            self._open(order_id, "maintenance", registered.network_id, None, registered.district_id, task)
        if seen.suspected is not None:
            may_be = seen.suspected
            may_be.order_id = leaks.order_id(may_be.leak_id, "suspected")
            self.leaks.handle(may_be.leak_id, lambda state: leaks.suspect(state, may_be), lambda _after, _: None)
        if seen.leak is not None:
            found = seen.leak
            found.order_id = leaks.order_id(found.leak_id, "found")
            plan = self._plan(registered, found.candidates)
            self.leaks.handle(found.leak_id, lambda state: leaks.find(state, found, plan, now), lambda _after, _: None)
        if leak is not None and seen.relocated is not None and seen.relocated[1]:
            steps, candidates = seen.relocated
            plan = self._plan(registered, candidates)
            self.leaks.handle(
                leak.leak_id, lambda state: leaks.locate(state, candidates, steps, plan, now), lambda _after, _: None
            )
        if leak is not None and seen.gone:
            self._retract_leak(leak, "the pressures are again as the model expects them")
        self._tell_anomalies(seen.wrong, seen.right, now_us)

    def _plan(self, registered: ev.WaterNetworkRegistered, candidates: Sequence[pb.LeakCandidate]) -> pb.Isolation | None:
        one = off_loop(self.watching.get, registered)
        try:
            return (
                off_loop(leaks.planned, registered, one.layout, [each.pipe_id for each in candidates]) if candidates else None
            )
        except Refused:
            # Some valves are missing: the crew sees to it, and the work order says so.
            return None

    def _watched(self, network_id: str) -> Watched:
        registered = leaks.existing_network(self.networks.load(network_id), network_id)
        watched: Watched = off_loop(self.watching.get, registered)
        return watched

    def _retract_leak(self, leak: pb.Leak, reason: str) -> None:
        now = self._now()
        events = self.leaks.handle(leak.leak_id, lambda state: leaks.retract(state, reason, now), lambda _after, events: events)
        if events:
            self._void(leak.order_id, f"the leak is retracted: {reason}")

    @override
    def _correct_pressures(self, request: dev.CorrectReadingsRequest, answer: dev.CorrectReadingsResponse) -> None:
        """Computes the leak of a sensor's network anew, where its steps hold the readings that are corrected."""
        device = devices.existing(self.devices.load(request.device_id), request.device_id)
        leak = self.leak_list.derived(views.leaks_going_on).get(device.network_id)
        if not device.network_id or leak is None:
            return
        one, now = self._watched(device.network_id), self._now()
        told = self.leaks.handle(
            leak.leak_id,
            lambda state: leaks.correct(state, one.registered.sensor_sigma_m, request, now),
            lambda _after, events: list(events),
        )
        if any(isinstance(event, ev.LeakRetracted) for event in told):
            answer.retracted_ids.append(leak.leak_id)
            self._void(leak.order_id, f"the leak is retracted: {request.reason}")
        elif told:
            answer.standing_ids.append(leak.leak_id)
