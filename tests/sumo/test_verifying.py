"""A proposal is compared with today's plans in the same traffic, and what was found is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from citybrain.traffic.v1 import plans_pb2 as pb

from citybrain.simulation.errors import ScenarioError
from citybrain.simulation.network import read_network
from citybrain.simulation.scenario import open_scenario
from citybrain.simulation.verifying import verify

pytestmark = pytest.mark.sumo

SIGNAL = "252017285"
GREEN_A, GREEN_B = "rrrrGGggrrrrGGgg", "GGggrrrrGGggrrrr"
YELLOW_A, YELLOW_B = GREEN_A.replace("G", "y").replace("g", "y"), GREEN_B.replace("G", "y").replace("g", "y")


class FakeGateway:
    """Answers with a proposal, and keeps what is reported."""

    def __init__(self, proposal: pb.PlanProposal) -> None:
        self.proposal = proposal
        self.reported: list[pb.ReportVerificationRequest] = []

    def call(self, method: str, request: Any, answer: Any, _name: str) -> Any:
        if method.endswith("GetPlanProposal"):
            assert request.proposal_id == self.proposal.proposal_id
        else:
            self.reported.append(request)
        return answer(proposal=self.proposal)


def proposal(*phases: tuple[str, float]) -> pb.PlanProposal:
    made = [pb.ProgramPhase(state=state, duration_s=seconds) for state, seconds in phases]
    return pb.PlanProposal(proposal_id="p1", programs=[pb.SignalProgram(signal_id=SIGNAL, phases=made)])


def driven(scenario_path: Callable[[str], Path], asked: pb.PlanProposal, seeds: range) -> list[pb.SimulatedPair]:
    scenario = open_scenario(scenario_path("cologne8"))
    gateway: Any = FakeGateway(asked)
    verify(gateway, "p1", scenario, read_network(scenario.net_file), seeds, scenario.begin + 900, 1.0, lambda *_, **__: None)
    (reported,) = gateway.reported
    assert reported.simulated == f"cologne8, {len(seeds)} seeds, 15 minutes"
    return list(reported.pairs)


def test_each_seed_is_driven_with_both_and_a_plan_that_starves_a_road_is_found_to_be_worse(
    scenario_path: Callable[[str], Path],
) -> None:
    unfair = proposal((GREEN_A, 200), (YELLOW_A, 3), (GREEN_B, 5), (YELLOW_B, 3))
    first, second = driven(scenario_path, unfair, range(1, 3))
    assert (first.seed, second.seed) == (1, 2)
    assert first.vehicles == second.vehicles > 300
    assert first.proposed_s > first.today_s + 2
    assert second.proposed_s > second.today_s + 2
    # The same plan is no other: the traffic is the same.
    (same,) = driven(scenario_path, proposal((GREEN_A, 33), (YELLOW_A, 3), (GREEN_B, 33), (YELLOW_B, 3)), range(1, 2))
    assert same.proposed_s == same.today_s == first.today_s


def test_a_plan_that_a_signal_cannot_change_to_is_said_with_the_signal(scenario_path: Callable[[str], Path]) -> None:
    with pytest.raises(ScenarioError, match=f"signal {SIGNAL} cannot change to the plan"):
        driven(scenario_path, proposal(("G" * 16, 20)), range(1, 2))
