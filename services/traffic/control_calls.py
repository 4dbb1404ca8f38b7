"""Methods of signals that follow the traffic, and the registered signals and their commands."""

from __future__ import annotations

from citybrain.traffic.v1 import area_control_pb2 as pb
from citybrain.traffic.v1 import events_pb2 as ev

from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Owner, Source, Streams, View, passed, rpc
from citybrain.services.traffic import area_control, domain, strategies, street_views, views
from citybrain.services.traffic.conflicts import Lights
from citybrain.services.traffic.observed import Observed
from citybrain.services.traffic.own_plan_calls import OwnPlanCalls
from citybrain.services.traffic.stages import Staged, stage
from citybrain.services.traffic.watch import STEP_S, Watch


class ControlCalls(OwnPlanCalls):
    """Signals, and how those of an area are controlled."""

    signals = Streams("signal", domain.SignalState, domain.evolve, snapshot_every=20)
    control_areas = Streams("control-area", strategies.Area, strategies.evolve)
    signal_list = View(views.SIGNAL_EVENTS, views.signal_key, views.signal, row=views.SignalRow)
    area_list = View(strategies.STRATEGY_EVENTS, strategies.area_key, strategies.row, row=Kept)
    observed = Observed()
    # What is seen before a signal is kept in memory: so all reports of an area come to one process.
    area_owner = Owner(pb.AreaTraffic, of="control-area", key=lambda area: area.area_id)
    # Observations must be of now: a controller refuses a command that was made for another moment.
    street = Source(ahead_s=5, behind_s=60, measured=True)

    @rpc
    def ApplyControlStrategy(self, request: pb.ApplyControlStrategyRequest) -> pb.ApplyControlStrategyResponse:
        """Decides how the signals of an area are controlled."""
        known, adaptive = self.signal_list.derived(views.network).lights, self.area_list.derived(strategies.adaptive)
        return self.control_areas.handle(
            request.area_id,
            lambda area: strategies.apply(area, request, known, adaptive),
            lambda after, _: pb.ApplyControlStrategyResponse(
                signal_ids=after.signal_ids,
                plan_only_signal_ids=[one for one in after.signal_ids if not stage(known[one], {}).can_follow],
            ),
        )

    @rpc
    def ReportSignalTraffic(self, request: pb.ReportSignalTrafficRequest) -> pb.ReportSignalTrafficResponse:
        """Takes in what is seen before signals, and makes the commands that follow."""
        self.street.moment(request.observed_at, "observed_at")
        # Prepared also where the areas are of another process: if that one ends, nobody waits for it here.
        self.signal_list.derived(views.network)
        for area in strategies.by_area(request, self.area_list.derived(strategies.adaptive)):
            self.area_owner.give(area, self.follow_area)
        return pb.ReportSignalTrafficResponse()

    @passed(area_owner)
    def follow_area(self, area: pb.AreaTraffic) -> None:
        """Decides for the signals of an area; where it has no name, their plans run, and it is only counted."""
        at = microseconds(area.observed_at) / 1e6
        lights = self.signal_list.derived(views.network).lights
        came = []
        for seen in area.signals:
            if seen.signal_id not in lights:
                continue
            watch = self._watch(lights[seen.signal_id], area.area_id, at)
            if watch.staged.can_follow and at > watch.reported_at:
                came.append(watch)
                if watch.area_id:
                    self._follow(watch, at, seen)
                else:
                    watch.count(at, seen)
        self._propose_by_itself(came, self.signals.known)

    @rpc
    def GetSignalControl(self, request: pb.GetSignalControlRequest) -> pb.GetSignalControlResponse:
        """How a signal is controlled now, and why."""
        signal_id = request.signal_id
        state = self.signals.load(signal_id)
        domain.existing(state, signal_id)
        area_id = self.area_list.derived(strategies.adaptive).get(signal_id, "")
        strategy = pb.CONTROL_STRATEGY_ADAPTIVE if area_id else pb.CONTROL_STRATEGY_FIXED_PLAN
        answer = pb.GetSignalControlResponse(area_id=area_id, strategy=strategy)
        if area_id and not self.area_owner.here(area_id):
            answer.MergeFrom(area_control.commanded_last(state))
            return answer
        watch = self.observed.watches.get(signal_id) if area_id else None
        if watch is None or watch.area_id != area_id:
            answer.reason = "nothing is reported of what is seen before it" if area_id else "its plan runs"
            return answer
        waiting = watch.model.waiting()
        answer.unseen_lanes.extend(watch.unseen())
        answer.waited_s, answer.foretold_s = round(waiting.seen_s, 1), round(waiting.shown_s, 1)
        answer.foretold_plan_s = round(waiting.plan_s, 1)
        if watch.back is not None and self.clock.now() / 1e6 < watch.back_until:
            given_back = pb.GetSignalControlResponse(
                back_to_plan=watch.back.why, back_until=watch.back.until, reason="it was given back to its plan"
            )
            answer.MergeFrom(given_back)
        elif watch.choice is not None:
            choice = watch.choice
            answer.decided_at.CopyFrom(timestamp(round(choice.at * 1e6)))
            answer.claims.extend(area_control.told(one, worth) for one, worth in choice.claims)
            answer.phase, answer.reason = choice.stage.phase, choice.reason
        return answer

    def _watch(self, lights: Lights, area_id: str, at: float) -> Watch:
        """The watch of a signal; a new one where its plan, its lanes or its area are others than before, or nothing came
        of late.
        """
        watches: dict[str, Watch] = self.observed.watches
        known = watches.get(lights.signal_id)
        if known is not None and known.goes_on(area_id, at) and known.prepared_from(lights):
            return known
        made = watches[lights.signal_id] = Watch.of(self._staged(lights), area_id)
        return made

    def _staged(self, lights: Lights) -> Staged:
        """A signal with its stages, and the speeds in free flow of the roads before it."""
        roads = self.network_parts.derived(street_views.roads)
        return stage(lights, {name: roads[name].free_speed_mps for name in lights.approaches if name in roads})

    def _follow(self, watch: Watch, at: float, seen: pb.SignalTraffic) -> None:
        state = self.signals.known(seen.signal_id)
        if domain.unanswered(state, at + STEP_S):
            # The answer may have come to another process.
            state = self.signals.load(seen.signal_id)
        command, told = watch.look(at, state, seen)
        if told is not None:
            self._record(told, state, f"given back until {told.until.ToSeconds()}")
        if command is not None:
            self.signals.handle(
                seen.signal_id,
                lambda now: domain.command(now, state, command),
                lambda _after, _: None,
                label=command.command_id,
            )

    def _record(self, told: ev.SignalGivenBack, state: domain.SignalState, label: str) -> None:
        self.signals.handle(told.signal_id, lambda _: [told], lambda _after, _: None, label=label)
