"""A simulation of a proposal: the same traffic with today's plans and with those proposed, seed by seed.

What is proposed comes from the gateway, and what was found goes back there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from citybrain.traffic.v1 import plans_pb2 as pb

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.gateway_client import Gateway
from citybrain.simulation.network import Network
from citybrain.simulation.output import Tell
from citybrain.simulation.plans import proposed
from citybrain.simulation.registering import TRAFFIC
from citybrain.simulation.scenario import Scenario
from citybrain.simulation.street import Street


def verify(
    gateway: Gateway,
    proposal_id: str,
    scenario: Scenario,
    network: Network,
    seeds: Iterable[int],
    end: int,
    scale: float,
    tell: Tell,
) -> pb.PlanProposal:
    """Compares a proposal with today's plans and reports it. Returns the proposal as it stands then."""
    asked = pb.GetPlanProposalRequest(proposal_id=proposal_id)
    found = gateway.call(f"{TRAFFIC}/GetPlanProposal", asked, pb.GetPlanProposalResponse, f"proposal-{proposal_id}").proposal
    pairs = []
    for seed in seeds:
        pair = simulated(found, scenario, network, seed, end, scale)
        tell("pair", seed=seed, today_s=pair.today_s, proposed_s=pair.proposed_s)
        pairs.append(pair)
    what = f"{scenario.name}, {len(pairs)} seeds, {(end - scenario.begin) // 60} minutes"
    request = pb.ReportVerificationRequest(proposal_id=proposal_id, pairs=pairs, simulated=what)
    method = f"{TRAFFIC}/ReportVerification"
    answer = gateway.call(method, request, pb.ReportVerificationResponse, f"verified-{proposal_id}-{what}")
    return answer.proposal


def simulated(
    proposal: pb.PlanProposal, scenario: Scenario, network: Network, seed: int, end: int, scale: float
) -> pb.SimulatedPair:
    """One seed, with both. ScenarioError where a signal of the proposal cannot take its plan up."""
    today = _driven((), scenario, network, seed, end, scale)
    others = _driven(proposal.programs, scenario, network, seed, end, scale, proposal.proposal_id)
    return pb.SimulatedPair(
        seed=seed, vehicles=today["vehicles"], today_s=today["mean_time_s"], proposed_s=others["mean_time_s"],
        today_not_arrived=today["unfinished"] + today["undeparted"],
        proposed_not_arrived=others["unfinished"] + others["undeparted"],
    )  # fmt: skip


def _driven(
    programs: Iterable[pb.SignalProgram],
    scenario: Scenario,
    network: Network,
    seed: int,
    end: int,
    scale: float,
    program_id: str = "",
) -> dict[str, Any]:
    with Street(scenario, network, seed, siren=False, scale=scale) as street:
        for program in programs:
            today = street.plans.get(program.signal_id)
            if today is None or not street.take_up(proposed(program, program_id, today)):
                raise ScenarioError(f"{scenario.path}: signal {program.signal_id} cannot change to the plan that is proposed")
        while street.sumo.next_second < end:
            street.advance()
        street.finish()
        return street.others
