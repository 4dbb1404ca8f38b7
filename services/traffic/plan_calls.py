"""Methods of signal plans that people decide on."""

from __future__ import annotations

from collections.abc import Iterable

from citybrain.traffic.v1 import plans_pb2 as pb
from citybrain.traffic.v1.traffic_service_pb2 import Signal

from citybrain.mesh.errors import BadRequest, Refused
from citybrain.mesh.service import rpc
from citybrain.services.traffic import plan_proposals, timing_methods, views
from citybrain.services.traffic.outlook_calls import OutlookCalls
from citybrain.services.traffic.stages import Staged
from citybrain.services.traffic.timing_methods import Made


class PlanCalls(OutlookCalls):
    """Plans that are proposed, verified, approved, taken up and compared with their forecast."""

    @rpc
    def ProposePlan(self, request: pb.ProposePlanRequest) -> pb.ProposePlanResponse:
        """A person proposes plans."""
        made = Made(tuple(request.programs), (f"by {self.caller.name}",))
        after = self._propose(request.proposal_id, pb.PLAN_METHOD_BY_HAND, made, request.reason)
        return pb.ProposePlanResponse(proposal=after)

    @rpc
    def ProposeTiming(self, request: pb.ProposeTimingRequest) -> pb.ProposeTimingResponse:
        """Plans that a method makes are proposed."""
        staged = [self._to_plan_for(signal_id) for signal_id in request.signal_ids]
        if request.method == pb.PLAN_METHOD_GREEN_WAVE:
            lengths = self.road_list.derived(views.lengths)
            made = timing_methods.green_wave(staged, request.along, lengths, request.speed_mps)
        else:
            known = {lane for one in staged for lane in one.lights.lanes}
            for number, flow in enumerate(request.flows):
                if flow.lane_id not in known:
                    what = f"{flow.lane_id!r} is before none of these signals: name a lane that is"
                    raise BadRequest([(f"flows[{number}].lane_id", what)])
            flows = {flow.lane_id: flow.vehicles_per_hour for flow in request.flows}
            made = timing_methods.by_flows(request.method, staged, flows)
        after = self._propose(request.proposal_id, request.method, made, request.reason)
        return pb.ProposeTimingResponse(proposal=after)

    @rpc
    def ReportVerification(self, request: pb.ReportVerificationRequest) -> pb.ReportVerificationResponse:
        """Takes in what a simulation found."""
        return self.proposals.handle(
            request.proposal_id,
            lambda state: plan_proposals.verify(state, request),
            lambda after, _: pb.ReportVerificationResponse(proposal=after),
        )

    @rpc
    def DecidePlan(self, request: pb.DecidePlanRequest) -> pb.DecidePlanResponse:
        """A person decides."""
        name = self.caller.name
        return self.proposals.handle(
            request.proposal_id,
            lambda state: plan_proposals.decide(state, request, own=name == state.proposed_by),
            lambda after, _: pb.DecidePlanResponse(proposal=after),
        )

    @rpc
    def ComparePlan(self, request: pb.ComparePlanRequest) -> pb.ComparePlanResponse:
        """Puts what was measured beside what was foretold."""
        effect = self.evaluations.load(request.evaluation_id).effect
        return self.proposals.handle(
            request.proposal_id,
            lambda state: plan_proposals.compare(
                plan_proposals.existing(state, request.proposal_id), request.evaluation_id, effect
            ),
            lambda after, _: pb.ComparePlanResponse(proposal=after),
        )

    @rpc
    def GetPlanProposal(self, request: pb.GetPlanProposalRequest) -> pb.GetPlanProposalResponse:
        """A proposal, and what became of it."""
        found = plan_proposals.existing(self.proposals.load(request.proposal_id), request.proposal_id)
        return pb.GetPlanProposalResponse(proposal=found)

    @rpc
    def ListPlanProposals(self, request: pb.ListPlanProposalsRequest) -> pb.ListPlanProposalsResponse:
        """By id, in pages."""
        every = self.proposal_list.derived(plan_proposals.listed)
        asked_for = [one for one in every if request.state in (pb.PROPOSAL_STATE_UNSPECIFIED, one.state)]
        page, more = self.paging.page(request, asked_for, plan_proposals.place_in_list, default=50)
        return pb.ListPlanProposalsResponse(proposals=page, next_page_token=more)

    def _registered(self, signal: Signal) -> None:
        """A signal may be registered with the program of a proposal: then it has taken it up."""
        if self.proposal_list.get(signal.program_id) is None:
            return
        self.proposals.handle(
            signal.program_id,
            lambda state: plan_proposals.take_up(state, signal),
            lambda _after, _: None,
            label=signal.signal_id,
        )

    def _to_plan_for(self, signal_id: str) -> Staged:
        lights = self.signal_list.derived(views.network).lights.get(signal_id)
        if lights is None:
            raise Refused(f"signal {signal_id!r} is not registered: name one that is, or register it", "UNKNOWN_SIGNAL")
        staged = self._staged(lights)
        if not staged.can_follow:
            what = "it has one green phase, is not fixed-time, or its links name no lanes"
            raise Refused(f"no plan can be made for signal {signal_id!r}: {what}", "PLAN_ONLY")
        return staged

    def _propose(self, proposal_id: str, method: pb.PlanMethod, made: Made, reason: str) -> pb.PlanProposal:
        asked = [program.signal_id for program in made.programs]
        signals = {s.signal_id: s for s in _known(self.signals.load(signal_id).signal for signal_id in asked)}
        by = self.caller.name
        return self.proposals.handle(
            proposal_id,
            lambda state: plan_proposals.propose(state, proposal_id, method, made, reason, signals, by),
            lambda after, _: after,
        )


def _known(signals: Iterable[Signal | None]) -> list[Signal]:
    return [signal for signal in signals if signal is not None]
