"""Traffic (交通): roads, signals, and priority for those who save lives."""

from __future__ import annotations

from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.service import Clock, Follow, Log, Service, Streams, View, every, rpc, server_stream
from citybrain.services.traffic import measured, roads, views
from citybrain.services.traffic import remembered as domain
from citybrain.services.traffic.green_wave import Network
from citybrain.services.traffic.one_second import Facts, control, lost
from citybrain.services.traffic.signal_plan import Plan
from citybrain.services.traffic.telemetry import WINDOW_S, Now, Telemetry


class TrafficService(Service):
    """Roads, signals and priority."""

    name = "traffic"
    road_parts = Streams("roads", roads.Part, roads.evolve)
    signals = Streams("signal", domain.SignalState, domain.evolve_signal)
    priorities = Streams("priority", domain.Priorities, domain.evolve_priorities)
    windows = Streams("speeds", measured.Window, measured.evolve)
    road_list = View(views.ROAD_EVENTS, views.road_key, views.road)
    signal_list = View(views.SIGNAL_EVENTS, views.signal_key, views.signal)
    grant_list = View(views.GRANT_EVENTS, views.grant_key, views.grant)
    telemetry = Telemetry()
    clock = Clock()
    log = Log()

    @rpc
    def PublishRoads(self, request: pb.PublishRoadsRequest) -> pb.PublishRoadsResponse:
        """Publishes a part of the network."""
        return self.road_parts.handle(
            request.edges[0].edge_id,
            lambda now: roads.publish(now, request),
            lambda after, _: pb.PublishRoadsResponse(edges_known=len(after.edges)),
        )

    @rpc
    def RegisterSignal(self, request: pb.RegisterSignalRequest) -> pb.RegisterSignalResponse:
        """Makes a signal known."""
        measured.check(request.signal)
        return self.signals.handle(
            request.signal.signal_id, lambda now: domain.register(now, request), lambda _after, _: pb.RegisterSignalResponse()
        )

    @rpc
    def GetSignal(self, request: pb.GetSignalRequest) -> pb.GetSignalResponse:
        """A signal, and whom it serves."""
        state = self.signals.load(request.signal_id)
        return pb.GetSignalResponse(signal=domain.existing(state, request.signal_id), held_for=state.held_for)

    @rpc
    def ReportObservations(self, request: pb.ReportObservationsRequest) -> pb.ReportObservationsResponse:
        """Takes in what is seen, and commands what follows from it."""
        now = microseconds(request.observed_at) / 1e6
        self.telemetry.take(now, request)
        self._command(self._facts(now))
        if self.telemetry.speeds.due(now):
            window = ev.SpeedsMeasured(
                from_time=timestamp(int((now - WINDOW_S) * 1e6)),
                to_time=request.observed_at,
                speeds=self.telemetry.speeds.means(),
            )
            self.windows.handle("all", lambda state: measured.publish(state, window), lambda _after, _: None)
        return pb.ReportObservationsResponse()

    @rpc
    def GrantPriority(self, request: pb.GrantPriorityRequest) -> pb.GrantPriorityResponse:
        """Gives a vehicle priority along its way."""
        signal_ids = self._network(self._plans()).signals_on(request.edge_ids)
        return self.priorities.handle(
            request.incident_id,
            lambda now: domain.grant(now, request, signal_ids),
            lambda after, _: pb.GrantPriorityResponse(signal_ids=after.granted[request.grant_id].signal_ids),
        )

    @rpc
    def ReleasePriority(self, request: pb.ReleasePriorityRequest) -> pb.ReleasePriorityResponse:
        """Takes it back; its signals return at the next observation, or by themselves."""
        return self.priorities.handle(
            request.incident_id, lambda now: domain.release(now, request), lambda _after, _: pb.ReleasePriorityResponse()
        )

    @rpc
    def ReportSignal(self, request: pb.ReportSignalRequest) -> pb.ReportSignalResponse:
        """What became of a command."""
        if request.report == pb.SIGNAL_REPORT_BACK_IN_PLAN:
            self.telemetry.freed_at[request.signal_id] = self.clock.now() / 1e6
        return self.signals.handle(
            request.signal_id,
            lambda now: domain.report(now, request),
            lambda _after, _: pb.ReportSignalResponse(),
            continues=True,
        )

    @server_stream
    def FollowSignalCommands(self, request: pb.FollowSignalCommandsRequest) -> Follow:
        """Commands for the controllers in the street."""
        return Follow(purpose="signal commands", types=(ev.SignalCommanded,))

    @every(1)
    def look_for_the_silent(self) -> None:
        """A vehicle that says no more where it is keeps no signal."""
        if not self.telemetry.observed.moving:
            return
        for grant, silent_s in lost(self._facts(self.clock.now() / 1e6)):
            self.telemetry.forget(grant.vehicle_id)
            event = ev.VehicleLost(
                incident_id=grant.incident_id, grant_id=grant.grant_id, vehicle_id=grant.vehicle_id, silent_s=silent_s
            )
            self.priorities.handle(
                grant.incident_id,
                lambda now, event=event: [event] if event.grant_id in now.granted else [],  # type: ignore[misc]
                lambda _after, _: None,
                label=grant.grant_id,
                because=self.priorities.cause(grant.incident_id),
            )

    # -- control --------------------------------------------------------------------------------------------------------

    def _facts(self, now: float) -> Facts:
        plans = self._plans()
        street: Now = self.telemetry
        return Facts(
            now=now,
            network=self._network(plans),
            plans={name: plan for name, plan in plans.items() if name in street.shown},
            states={name: self.signals.known(name) for name in street.shown},
            grants=self.grant_list.derived(views.grants),
            observed=street.observed,
            shown=street.shown,
            freed_at=street.freed_at,
        )

    def _command(self, facts: Facts) -> None:
        for command in control(facts):
            based_on = facts.states[command.signal_id].commands
            self.signals.handle(
                command.signal_id,
                lambda now, command=command, based_on=based_on: domain.command(now, command, based_on),  # type: ignore[misc]
                lambda _after, _: None,
                label=command.command_id,
                because=self.priorities.cause(command.incident_id),
            )
            if command.reason != domain.PRIORITY:
                self.telemetry.freed_at[command.signal_id] = facts.now

    def _plans(self) -> dict[str, Plan]:
        return self.signal_list.derived(views.plans)

    def _network(self, plans: dict[str, Plan]) -> Network:
        links = [(link, name) for name, plan in plans.items() for link in plan.signal.links]
        return Network(
            length_m=self.road_list.derived(views.lengths),
            movements={(link.from_edge_id, link.to_edge_id): name for link, name in links},
            ends_at={link.from_edge_id: name for link, name in links},
        )
