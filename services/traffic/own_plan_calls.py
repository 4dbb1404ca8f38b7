"""Proposals of plans, and those that the area controller makes by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from citybrain.traffic.v1 import plans_pb2 as pb

from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Streams, View
from citybrain.services.traffic import own_proposals, plan_proposals
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.flows_seen import FlowsSeen
from citybrain.services.traffic.street_calls import StreetCalls
from citybrain.services.traffic.watch import Watch


class OwnPlanCalls(StreetCalls):
    """The proposals, and what is made of the flows of signals that are watched."""

    proposals = Streams("plan-proposal", pb.PlanProposal, plan_proposals.evolve)
    proposal_list = View(plan_proposals.PROPOSAL_EVENTS, plan_proposals.key, plan_proposals.row, row=Kept)

    def _propose_by_itself(self, watches: Iterable[Watch], known: Callable[[str], SignalState]) -> None:
        """Proposes a plan for each signal of which an hour was counted, where that is worth it. Then the next hour begins."""
        over = [watch for watch in watches if watch.flows.is_over][: own_proposals.AT_A_TIME]
        for watch in over:
            signal, seen, watch.flows = known(watch.staged.lights.signal_id).signal, watch.flows, FlowsSeen()
            found = own_proposals.better(watch.staged, signal, seen) if signal is not None else None
            if signal is None or found is None:
                continue
            if own_proposals.may_propose(found, signal, self.proposal_list.derived(plan_proposals.listed)):
                self.proposals.handle(
                    found.proposal_id,
                    lambda state, one=found, signal=signal: own_proposals.propose(state, one, signal),  # type: ignore[misc]
                    lambda _after, _: None,
                )
