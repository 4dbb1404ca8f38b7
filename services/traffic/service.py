"""Traffic (交通): roads, signals, and priority for those who save lives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.events import microseconds
from citybrain.mesh.service import Follow, Owner, Streams, View, correlate, every, passed, rpc
from citybrain.services.traffic import closures, domain, grants, measured, queues, roads, speeds, views
from citybrain.services.traffic.control import SILENT_S, control
from citybrain.services.traffic.network import Network, check_way, signals_on
from citybrain.services.traffic.plan_calls import PlanCalls
from citybrain.services.traffic.street import observe
from citybrain.services.traffic.transport_calls import TransportCalls
from citybrain.services.traffic.watch import STEP_S


class TrafficService(PlanCalls, TransportCalls):
    """Roads, signals and priority."""

    name = "traffic"
    road_parts = Streams("roads", roads.Part, roads.evolve)
    priorities = Streams("priority", grants.PriorityState, grants.evolve)
    windows = Streams("speeds", measured.LastTold, measured.evolve)
    closed_roads = View(views.CLOSURE_EVENTS, views.closed_key, views.closed, row=views.ClosedRow)
    # The street is kept in memory: so all observations come to the process that leads, which looks at it when none come.
    street_owner = Owner(pb.ReportObservationsRequest)
    grant_list = View(views.GRANT_EVENTS, views.grant_key, views.grant, row=views.GrantRow)

    @rpc
    def PublishRoads(self, request: pb.PublishRoadsRequest) -> pb.PublishRoadsResponse:
        """Publishes a part of the network."""
        return self.road_parts.handle(
            request.edges[0].edge_id,
            lambda state: roads.publish(state, request),
            lambda after, _: pb.PublishRoadsResponse(edges_known=len(after.edges)),
        )

    @rpc
    def CloseRoads(self, request: pb.CloseRoadsRequest) -> pb.CloseRoadsResponse:
        """Closes roads."""
        keepers, now = self.keepers.derived(views.keepers), self.clock.now()
        if request.incident_id:
            correlate(request.incident_id)
        return self.closures.handle(
            request.closure_id,
            lambda state: closures.close(state, request, keepers, now),
            lambda _after, _: pb.CloseRoadsResponse(),
        )

    @rpc
    def ReopenRoads(self, request: pb.ReopenRoadsRequest) -> pb.ReopenRoadsResponse:
        """Ends a closure, or bars the one that may still come."""
        return self.closures.handle(
            request.closure_id,
            lambda state: closures.reopen(state, request),
            lambda after, _: pb.ReopenRoadsResponse(edge_ids=[road.edge_id for road in after.roads]),
            continues=True,
        )

    @rpc
    def ListClosedRoads(self, request: pb.ListClosedRoadsRequest) -> pb.ListClosedRoadsResponse:
        """By road, in pages."""
        roads = [road for road in self.closed_roads.derived(views.closures) if views.is_asked_for(road, request)]
        page, more = self.paging.page(request, roads, views.place_in_list, default=100)
        return pb.ListClosedRoadsResponse(roads=page, next_page_token=more)

    @rpc
    def RegisterSignal(self, request: pb.RegisterSignalRequest) -> pb.RegisterSignalResponse:
        """Makes a signal known, or its new plan, which may be that of a proposal."""
        answer = self.signals.handle(
            request.signal.signal_id,
            lambda state: domain.register_signal(state, request),
            lambda _after, _: pb.RegisterSignalResponse(),
        )
        self._registered(request.signal)
        return answer

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        """A signal, and whom it serves."""
        state = self.signals.load(request.signal_id)
        held_for = domain.held_for(state, self.clock.now() / 1e6)
        return pb.GetSignalResponse(signal=domain.existing(state, request.signal_id), held_for=held_for)

    @rpc
    def ReportObservations(self, request: pb.ReportObservationsRequest) -> pb.ReportObservationsResponse:
        """Takes observations in, and makes the commands that follow."""
        self.street.moment(request.observed_at, "observed_at")
        self.street_owner.give(request, self.observe)
        return pb.ReportObservationsResponse()

    @passed(street_owner)
    def observe(self, request: pb.ReportObservationsRequest) -> None:
        """Takes observations in, where the street is known."""
        at = microseconds(request.observed_at) / 1e6
        newest = at >= self.observed.street.queues_at
        self.observed.street = observe(self.observed.street, request)
        if newest:
            self._control(at + STEP_S)
        before = self.observed.speeds
        self.observed.speeds, told = speeds.fold(before, at, request.speeds)
        if told is not None and told.speeds:
            self.windows.handle("all", lambda state: measured.publish(state, told), lambda _after, _: None)
        self._take_observed(before, self.observed.speeds)
        self.observed.queues, over = queues.fold(self.observed.queues, at, request.queues)
        self._take_queues(over)

    @rpc
    def GrantPriority(self, request: pb.GrantPriorityRequest) -> pb.GrantPriorityResponse:
        """Gives a vehicle priority along its way."""
        network = self._network()
        check_way(network, request)
        signal_ids = signals_on(network, request.edge_ids)
        return self.priorities.handle(
            request.incident_id,
            lambda state: grants.grant(state, request, signal_ids),
            lambda after, _: pb.GrantPriorityResponse(signal_ids=after.grants[request.grant_id].granted.signal_ids),
        )

    @rpc
    def ReleasePriority(self, request: pb.ReleasePriorityRequest) -> pb.ReleasePriorityResponse:
        """Takes priority back. The signals return to their plan with the next observation, or by themselves."""
        return self.priorities.handle(
            request.incident_id, lambda state: grants.release(state, request), lambda _after, _: pb.ReleasePriorityResponse()
        )

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        """What became of a command."""
        return self.signals.handle(
            request.signal_id,
            lambda state: domain.report_signal(state, request),
            lambda _after, _: pb.ReportSignalResponse(),
            continues=True,
        )

    @rpc
    def FollowSignalCommands(self, request: pb.FollowSignalCommandsRequest) -> Follow:
        """Commands for the controllers in the street, and plans that they are to take up."""
        return Follow(purpose="signal commands", types=(ev.SignalCommanded, ev.PlanApproved))

    @every(1)
    def go_on_unseen(self) -> None:
        """Runs a step when no observations come: vehicles fall silent and lose their signals all the same.

        Where none have come for 5 s since the start, nobody knows where vehicles are: then every closed road on a way is told.
        """
        now, seen = self.clock.now() / 1e6, self.observed
        if seen.street.vehicles and now - seen.street.queues_at > 2 * STEP_S:
            self._control(now)
        elif not seen.street.vehicles:
            seen.blind_since = now if seen.blind_since is None else seen.blind_since
            if now - seen.blind_since > SILENT_S:
                self._tell(self._blocked(silent=True))

    # -- control --------------------------------------------------------------------------------------------------------

    def _control(self, now: float) -> None:
        network = self._network()
        states = {signal_id: self.signals.known(signal_id) for signal_id in network.lights}
        step = control(now, network, states, self.grant_list.derived(views.grants), self.observed.street)
        self.observed.street = step.street
        for command in step.commands:
            self._command(command, states[command.signal_id])
        self._tell(step.told)
        self._tell(self._blocked())

    def _blocked(self, *, silent: bool = False) -> list[ev.WayBlocked]:
        given, length_m = self.grant_list.derived(views.grants), self.road_list.derived(views.lengths)
        return closures.blocked(given, self._blocking(), self.observed.street, length_m, silent=silent)

    def _blocking(self) -> list[pb.ClosedRoad]:
        return self.closed_roads.derived(views.blocking)

    def _tell(self, told: Iterable[ev.VehicleLost | ev.VehicleMissing | ev.WayBlocked]) -> None:
        for one in told:
            closure = f" {one.closure_id}" if isinstance(one, ev.WayBlocked) else ""
            self.priorities.handle(
                one.incident_id,
                lambda state, one=one: grants.tell(state, one),  # type: ignore[misc]
                lambda _after, _: None,
                label=f"{type(one).__name__} {one.grant_id}{closure}",
                because=self.priorities.cause(one.incident_id),
            )

    def _command(self, command: ev.SignalCommanded, seen: domain.SignalState) -> None:
        # A signal that is given back belongs to the incident that it served.
        incident_id = command.incident_id or (seen.running.command.incident_id if seen.running is not None else "")
        self.signals.handle(
            command.signal_id,
            lambda state: domain.command(state, seen, command),
            lambda _after, _: None,
            label=command.command_id,
            because=self.priorities.cause(incident_id) if incident_id else None,
        )

    def _network(self) -> Network:
        return replace(
            self.signal_list.derived(views.network),
            length_m=self.road_list.derived(views.lengths),
            closed=frozenset(road.edge_id for road in self._blocking()),
        )
