"""Plans that people decide on: who may do what in which order, and what a proposal tells of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import plans_pb2 as plans
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.road_safety_pb2 import EFFECT_MEASURE_ACCIDENTS, EFFECT_MEASURE_TRAVEL_TIME, Effect

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import plan_proposals
from citybrain.services.traffic.plan_proposals import compare, foretold
from citybrain.services.traffic.service import TrafficService
from tests.unit.traffic.junction import with_lanes
from tests.unit.traffic.signals import EPOCH, crossing

FLOWS = [plans.LaneFlow(lane_id=lane, vehicles_per_hour=n) for lane, n in (("west_0", 450), ("west_1", 90), ("x-south_2", 360))]
BETTER = [(1, 100.0, 90.0), (2, 104.0, 93.0), (3, 99.0, 90.0)]


@pytest.fixture
def traffic() -> Iterator[Running]:
    with running(TrafficService) as service:
        edges = [RoadEdge(edge_id=edge, length_m=200, free_speed_mps=14) for edge in ("west", "east", "x-north", "x-south")]
        service.fire("PublishRoads", pb.PublishRoadsRequest(edges=edges))
        service.fire("RegisterSignal", pb.RegisterSignalRequest(signal=with_lanes(crossing())))
        service.rest()
        yield service


def propose(traffic: Running, **more: Any) -> plans.PlanProposal:
    asked = {
        "proposal_id": "p1",
        "method": plans.PLAN_METHOD_WEBSTER,
        "signal_ids": ["x"],
        "flows": FLOWS,
        "reason": "mornings",
    }
    answer = traffic.fire("ProposeTiming", plans.ProposeTimingRequest(**{**asked, **more}), caller="analyst")
    traffic.rest()
    found: plans.PlanProposal = answer.proposal
    return found


def verify(traffic: Running, pairs: list[tuple[int, float, float]]) -> plans.PlanProposal:
    told = [plans.SimulatedPair(seed=seed, vehicles=2000, today_s=a, proposed_s=b) for seed, a, b in pairs]
    request = plans.ReportVerificationRequest(proposal_id="p1", pairs=told, simulated="cologne8")
    found: plans.PlanProposal = traffic.fire("ReportVerification", request).proposal
    return found


def decide(traffic: Running, approved: bool = True, who: str = "chief") -> plans.PlanProposal:
    request = plans.DecidePlanRequest(proposal_id="p1", approved=approved, reason="as simulated")
    answer = traffic.fire("DecidePlan", request, caller=who)
    traffic.rest()
    found: plans.PlanProposal = answer.proposal
    return found


def test_a_plan_is_proposed_verified_approved_and_in_force_when_its_signal_runs_it(traffic: Running) -> None:
    proposed = propose(traffic)
    assert (proposed.state, proposed.proposed_by, list(proposed.replaces)) == (
        plans.PROPOSAL_STATE_PROPOSED,
        "analyst",
        ["day"],
    )
    assert proposed.basis[0].endswith("cycle 70 s → 55 s; greens 19, 5, 16 s")
    verified = verify(traffic, BETTER)
    assert verified.state == plans.PROPOSAL_STATE_VERIFIED
    assert verified.forecast.difference_s == -10.0
    approved = decide(traffic)
    assert (approved.state, approved.decision) == (plans.PROPOSAL_STATE_APPROVED, "as simulated")
    (told,) = traffic.events(ev.PlanApproved)
    assert told.data.programs[0] == proposed.programs[0]  # type: ignore[attr-defined]
    # The controller in the street changes over, and registers what it runs.
    signal = with_lanes(crossing())
    signal.program_id = "p1"
    del signal.phases[:]
    signal.phases.extend(pb.SignalPhase(state=p.state, duration_s=p.duration_s) for p in proposed.programs[0].phases)
    traffic.fire("RegisterSignal", pb.RegisterSignalRequest(signal=signal))
    found = traffic.fire("GetPlanProposal", plans.GetPlanProposalRequest(proposal_id="p1")).proposal
    assert (found.state, list(found.in_force)) == (plans.PROPOSAL_STATE_IN_FORCE, ["x"])


def test_who_proposed_does_not_decide_and_nothing_is_approved_that_no_simulation_found_no_worse(traffic: Running) -> None:
    propose(traffic)
    with pytest.raises(Refused, match="no simulation has compared it"):
        decide(traffic)
    assert verify(traffic, [(1, 100.0, 90.0), (2, 100.0, 118.0), (3, 100.0, 95.0)]).state == plans.PROPOSAL_STATE_REFUTED
    with pytest.raises(Refused, match="in the simulation it may be worse"):
        decide(traffic)
    verify(traffic, BETTER)
    with pytest.raises(Refused, match="who proposed a plan does not decide on it"):
        decide(traffic, who="analyst")
    assert decide(traffic, approved=False).state == plans.PROPOSAL_STATE_REJECTED
    with pytest.raises(Refused, match="was decided on"):
        decide(traffic)
    with pytest.raises(Refused, match="was decided on"):
        verify(traffic, BETTER)


def test_the_same_again_changes_nothing_and_other_plans_need_another_id(traffic: Running) -> None:
    propose(traffic)
    propose(traffic)
    verify(traffic, BETTER)
    verify(traffic, BETTER)
    decide(traffic)
    decide(traffic)
    kinds = [kind for kind in (ev.PlanProposed, ev.PlanVerified, ev.PlanApproved) for _ in traffic.events(kind)]
    assert kinds == [ev.PlanProposed, ev.PlanVerified, ev.PlanApproved]
    with pytest.raises(AlreadyDifferent, match="has other plans: use a new id"):
        propose(traffic, method=plans.PLAN_METHOD_SPLITS)


def test_a_plan_by_hand_with_conflicting_greens_is_refused_with_the_pair(traffic: Running) -> None:
    phases = [plans.ProgramPhase(state=state, duration_s=20) for state in ("GrG", "yry", "rGr", "ryr")]
    request = plans.ProposePlanRequest(
        proposal_id="p1", programs=[plans.SignalProgram(signal_id="x", phases=phases)], reason="a trial"
    )
    with pytest.raises(BadRequest, match="letters 0 and 2 conflict and are both green: GrG"):
        traffic.fire("ProposePlan", request)
    del request.programs[0].phases[:]
    good = (("Grr", 20), ("yrr", 3), ("rGr", 9), ("ryr", 3), ("rrG", 20), ("rry", 3))
    request.programs[0].phases.extend(plans.ProgramPhase(state=state, duration_s=s) for state, s in good)
    request.programs.append(request.programs[0])
    with pytest.raises(BadRequest, match="name a signal twice"):
        traffic.fire("ProposePlan", request)
    del request.programs[1:]
    assert traffic.fire("ProposePlan", request).proposal.method == plans.PLAN_METHOD_BY_HAND


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"signal_ids": ["y"]}, Refused, "signal 'y' is not registered"),
        ({"flows": [plans.LaneFlow(lane_id="z", vehicles_per_hour=9)]}, BadRequest, "'z' is before none of these signals"),
        ({"flows": []}, Refused, "no vehicles are in the flows"),
        ({"method": plans.PLAN_METHOD_GREEN_WAVE, "along": ["west", "east"]}, BadRequest, "the speed of the wave"),
    ],
)
def test_what_no_plan_can_be_made_of_is_refused(
    traffic: Running, more: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        propose(traffic, **more)


@pytest.mark.parametrize(
    ("pairs", "said"), [(BETTER[:2], "3 seeds are the least"), ([*BETTER, BETTER[0]], "have a seed twice")]
)
def test_too_few_seeds_and_a_seed_twice_are_refused(traffic: Running, pairs: list[tuple[int, float, float]], said: str) -> None:
    propose(traffic)
    with pytest.raises(BadRequest, match=said):
        verify(traffic, pairs)


def test_proposals_are_listed_by_id_and_state(traffic: Running) -> None:
    propose(traffic, proposal_id="p2")
    propose(traffic)
    verify(traffic, BETTER)
    traffic.rest()

    def listed(**asked: Any) -> list[str]:
        answer = traffic.fire("ListPlanProposals", plans.ListPlanProposalsRequest(**asked))
        return [one.proposal_id for one in answer.proposals]

    assert listed() == ["p1", "p2"]
    assert listed(state=plans.PROPOSAL_STATE_VERIFIED) == ["p1"]
    with pytest.raises(NotFound, match="there is no proposal p3"):
        traffic.fire("GetPlanProposal", plans.GetPlanProposalRequest(proposal_id="p3"))


def test_the_interval_is_that_of_students_t_over_the_seeds() -> None:
    pairs = [plans.SimulatedPair(seed=seed, vehicles=1, today_s=a, proposed_s=b) for seed, a, b in BETTER]
    forecast = foretold(pairs, "here")
    # Differences −10, −11, −9: mean −10, deviation 1; t for two degrees of freedom is 4.303.
    assert (forecast.difference_s, forecast.today_s, forecast.seeds) == (-10.0, 101.0, 3)
    assert forecast.low_s == pytest.approx(-12.484, abs=0.001)
    assert forecast.high_s == pytest.approx(-7.516, abs=0.001)


def in_force(difference_s: float, low_s: float, high_s: float) -> plans.PlanProposal:
    forecast = plans.PlanForecast(difference_s=difference_s, low_s=low_s, high_s=high_s)
    return plans.PlanProposal(proposal_id="p1", state=plans.PROPOSAL_STATE_IN_FORCE, forecast=forecast)


def test_what_was_measured_stands_beside_what_was_foretold() -> None:
    def told(effect_s: float, may_be_nothing: bool = False) -> plans.PlanEffect:
        effect = Effect(measure=EFFECT_MEASURE_TRAVEL_TIME, effect=effect_s, low=effect_s - 2, high=effect_s + 2)
        effect.may_be_nothing = may_be_nothing
        (event,) = compare(in_force(-10, -12, -8), "e1", effect)
        assert isinstance(event, ev.PlanCompared)
        return event.effect

    assert (told(-6).as_foretold, told(-6).effect_s, told(-6).low_s) == (True, -6, -8)
    assert not told(6).as_foretold
    assert told(1, may_be_nothing=True).as_foretold
    with pytest.raises(NotFound, match="no evaluation e1"):
        compare(in_force(-10, -12, -8), "e1", None)
    with pytest.raises(BadRequest, match="is of accidents"):
        compare(in_force(-10, -12, -8), "e1", Effect(measure=EFFECT_MEASURE_ACCIDENTS))
    with pytest.raises(Refused, match="is not in force"):
        compare(plans.PlanProposal(proposal_id="p1"), "e1", Effect(measure=EFFECT_MEASURE_TRAVEL_TIME))


def test_a_signal_that_is_registered_with_another_program_of_that_name_has_not_taken_it_up() -> None:
    programs = [plans.SignalProgram(signal_id="x", phases=[plans.ProgramPhase(state="Grr", duration_s=20)])]
    proposal = plans.PlanProposal(proposal_id="p1", state=plans.PROPOSAL_STATE_APPROVED, programs=programs)
    signal = crossing(start=EPOCH)
    assert plan_proposals.take_up(proposal, signal) == []
    del signal.phases[1:]
    assert len(plan_proposals.take_up(proposal, signal)) == 1
    signal.signal_id = "y"
    assert plan_proposals.take_up(proposal, signal) == []
