"""What the area controller proposes by itself, from which flows, and when it asks nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from citybrain.roads.v1.roads_pb2 import RoadEdge
from citybrain.traffic.v1 import area_control_pb2 as control
from citybrain.traffic.v1 import events_pb2 as ev
from citybrain.traffic.v1 import plans_pb2 as plans
from citybrain.traffic.v1 import traffic_service_pb2 as pb

from citybrain.mesh.errors import Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.traffic import conflicts, flows_seen, own_proposals
from citybrain.services.traffic.flows_seen import FlowsSeen
from citybrain.services.traffic.own_proposals import Better, better, may_propose
from citybrain.services.traffic.plan_check import problems
from citybrain.services.traffic.service import TrafficService
from citybrain.services.traffic.stages import stage
from tests.unit.traffic.junction import Junction, with_lanes
from tests.unit.traffic.signals import EPOCH, crossing

SECOND = 1_000_000
SIGNAL = with_lanes(crossing())
STAGED = stage(conflicts.prepare(SIGNAL), {})
THROUGH, TURN, SOUTH = "west_0", "west_1", "x-south_2"
MORNING = {THROUGH: 700.0, TURN: 60.0, SOUTH: 150.0}
"""Far from what today's plan is made for: most of them come from the west."""
AS_PLANNED = {THROUGH: 400.0, TURN: 150.0, SOUTH: 450.0}


def counted(flows: Mapping[str, float], seconds: int = 3600, start: int = EPOCH) -> FlowsSeen:
    seen = FlowsSeen()
    for second in range(seconds + 1):
        seen.look(start + second, {lane: flow / 3600 for lane, flow in flows.items()})
    return seen


def found(flows: Mapping[str, float], start: int = EPOCH) -> Better:
    one = better(STAGED, SIGNAL, counted(flows, start=start))
    assert one is not None
    return one


def proposed(one: Better, state: plans.ProposalState = plans.PROPOSAL_STATE_PROPOSED) -> plans.PlanProposal:
    (event,) = own_proposals.propose(plans.PlanProposal(), one, SIGNAL)
    assert isinstance(event, ev.PlanProposed)
    event.proposal.state = state
    return event.proposal


def test_flows_are_counted_over_an_hour_from_the_second_report_on() -> None:
    seen = FlowsSeen()
    assert (seen.is_over, seen.per_hour([THROUGH])) == (False, None)
    # Of what the first report says nobody knows in which time it passed.
    seen.look(EPOCH, {THROUGH: 50.0})
    for second in range(1, 3600):
        seen.look(EPOCH + second, {THROUGH: 0.125})
    assert not seen.is_over
    seen.look(EPOCH + 3600, {THROUGH: 0.125})
    assert seen.is_over
    assert seen.per_hour([THROUGH]) == {THROUGH: 450.0}


def test_a_lane_that_was_not_seen_for_a_fifth_of_the_hour_leaves_all_flows_unknown() -> None:
    def with_turn_seen(seconds: int) -> Mapping[str, float] | None:
        seen = FlowsSeen()
        for second in range(3601):
            more = {TURN: 0.1} if 0 < second <= seconds else {}
            seen.look(EPOCH + second, {THROUGH: 0.1, **more})
        return seen.per_hour([THROUGH, TURN])

    assert with_turn_seen(2880) == {THROUGH: 360.0, TURN: 360.0}
    assert with_turn_seen(2879) is None


def test_what_passes_in_a_gap_between_reports_counts_neither_as_vehicles_nor_as_time() -> None:
    seen = FlowsSeen()
    for second in (0, 10, 20, 31, 41):
        seen.look(EPOCH + second, {THROUGH: 2.0})
    assert seen.seen_s == {THROUGH: 30.0}
    assert seen.per_hour([THROUGH]) is None
    for second in range(51, 602, 10):
        seen.look(EPOCH + second, {THROUGH: 2.0})
    assert seen.per_hour([THROUGH]) == {THROUGH: 720.0}


def test_a_lane_on_which_more_pass_than_a_lane_carries_is_not_believed() -> None:
    assert counted({THROUGH: 3000.0}).per_hour([THROUGH]) == {THROUGH: 3000.0}
    assert counted({THROUGH: 3001.0}).per_hour([THROUGH]) is None


def test_a_lane_that_never_was_seen_leaves_all_flows_unknown_also_before_any_time_has_passed() -> None:
    assert counted({THROUGH: 90.0}, seconds=0).per_hour([THROUGH]) is None
    assert better(STAGED, SIGNAL, counted({THROUGH: 700.0, TURN: 60.0})) is None


def test_a_plan_is_proposed_when_the_flows_are_others_than_those_of_today_and_says_what_it_rests_on() -> None:
    one = found(MORNING)
    assert one.method == plans.PLAN_METHOD_SPLITS
    (program,) = one.made.programs
    assert [phase.duration_s for phase in program.phases] == [41, 3, 2, 5, 3, 2, 9, 3, 2]
    assert problems(program, SIGNAL, "programs[0]") == []
    assert one.reason == (
        "x: with the flows of 2023-11-15 06:13 to 07:13 vehicles wait 19.9 s instead of 158.3 s by the control delay of the "
        "Highway Capacity Manual, 2099 vehicle minutes less in an hour"
    )
    assert one.made.basis == (
        "counted 2023-11-15 06:13 to 07:13: 910 vehicles an hour; each lane seen for 3600 s of 3600 s at least",
        "x: y 0.39, 0.03, 0.08; lost 15 s; cycle 70 s → 70 s; greens 41, 5, 9 s",
        "x: 158.3 s a vehicle, worst lane F → 19.9 s a vehicle, worst lane D",
    )
    told = proposed(one)
    assert {flow.lane_id: flow.vehicles_per_hour for flow in told.flows} == MORNING
    assert (told.proposed_by, list(told.replaces)) == ("service:traffic", ["day"])


def test_of_both_methods_the_one_with_less_delay_is_proposed() -> None:
    one = found({THROUGH: 900.0, TURN: 90.0, SOUTH: 360.0})
    assert one.method == plans.PLAN_METHOD_WEBSTER
    assert "cycle 70 s → 110 s" in one.made.basis[1]


def test_nothing_is_proposed_where_todays_plan_is_as_good_where_few_come_or_where_no_plan_serves_them() -> None:
    assert better(STAGED, SIGNAL, counted(AS_PLANNED)) is None
    # A seventh of the delay, of 210 vehicles.
    assert better(STAGED, SIGNAL, counted({THROUGH: 105.0, TURN: 30.0, SOUTH: 75.0})) is None
    assert better(STAGED, SIGNAL, counted(dict.fromkeys(MORNING, 0.0))) is None
    assert better(STAGED, SIGNAL, counted({THROUGH: 900.0, TURN: 400.0, SOUTH: 900.0})) is None


def test_a_gain_is_worth_a_proposal_from_a_tenth_and_half_an_hour_of_waiting_on(monkeypatch: pytest.MonkeyPatch) -> None:
    flows = {THROUGH: 450.0, TURN: 90.0, SOUTH: 360.0}

    def then(today_s: float, then_s: float) -> Better | None:
        delays = iter([today_s, then_s, then_s])
        monkeypatch.setattr("citybrain.services.traffic.timing_methods.delay", lambda *_: (next(delays), "C"))
        return better(STAGED, SIGNAL, seen)

    seen = counted(flows)
    monkeypatch.setattr("citybrain.services.traffic.timing_methods._delay", lambda *_: "")
    # Of 900 vehicles two seconds each are half an hour.
    worth = then(20.0, 18.0)
    assert worth is not None
    # Both methods win as much: the one that keeps the cycle is proposed.
    assert worth.method == plans.PLAN_METHOD_SPLITS
    assert then(21.0, 19.0) is None
    assert then(10.0, 8.0625) is None


def test_a_plan_that_must_not_be_shown_is_not_proposed() -> None:
    signal = with_lanes(crossing())
    # The south has had a yellow of two seconds, which nobody may propose.
    for phase, lasts_s in ((7, 2), (8, 3)):
        signal.phases[phase].duration_s = lasts_s
    assert better(stage(conflicts.prepare(signal), {}), signal, counted(MORNING)) is None


def test_no_second_one_is_proposed_while_one_waits_for_a_simulation_a_person_or_its_signal() -> None:
    one = found({THROUGH: 900.0, TURN: 90.0, SOUTH: 360.0}, EPOCH + 2 * 86400)
    assert may_propose(one, SIGNAL, [])
    for state in (plans.PROPOSAL_STATE_PROPOSED, plans.PROPOSAL_STATE_VERIFIED, plans.PROPOSAL_STATE_APPROVED):
        assert not may_propose(one, SIGNAL, [proposed(found(MORNING), state)])
    by_a_person = proposed(found(MORNING))
    by_a_person.proposed_by = "analyst"
    assert may_propose(one, SIGNAL, [by_a_person])
    of_another = proposed(found(MORNING))
    of_another.programs[0].signal_id = "y"
    assert may_propose(one, SIGNAL, [of_another])


@pytest.mark.parametrize("state", [plans.PROPOSAL_STATE_REFUTED, plans.PROPOSAL_STATE_REJECTED])
def test_what_was_refused_is_not_proposed_again_until_flows_or_todays_plan_have_changed(state: plans.ProposalState) -> None:
    refused = proposed(found(MORNING), state)
    days_later = EPOCH + 3 * 86400
    about_the_same = found({THROUGH: 790.0, TURN: 115.0, SOUTH: 100.0}, days_later)
    assert not may_propose(about_the_same, SIGNAL, [refused])
    assert may_propose(found({THROUGH: 900.0, TURN: 60.0, SOUTH: 150.0}, days_later), SIGNAL, [refused])
    other_plan = with_lanes(crossing())
    other_plan.program_id = "night"
    assert may_propose(about_the_same, other_plan, [refused])


def test_flows_are_about_the_same_up_to_a_fifth_or_sixty_vehicles_an_hour() -> None:
    def alike(some: float, others: float) -> bool:
        return own_proposals.alike({"a": some}, {"a": others})

    assert alike(500, 400)
    assert not alike(500, 399)
    assert alike(20, 80)
    assert not alike(20, 81)
    assert not own_proposals.alike({"a": 100.0}, {"b": 100.0})


def test_one_is_proposed_a_day_and_signal_by_the_day_of_hangzhou() -> None:
    # 16:13 UTC is 00:13 of the next day.
    midnight = EPOCH - EPOCH % 86400 + 16 * 3600
    late, early = found(MORNING, midnight - 3601), found(MORNING, midnight - 3600)
    assert (late.proposal_id, early.proposal_id) == ("own-2d711642b726b044-20231114", "own-2d711642b726b044-20231115")
    later = found({THROUGH: 900.0, TURN: 90.0, SOUTH: 360.0}, midnight + 7200)
    assert later.proposal_id == early.proposal_id
    assert not may_propose(later, SIGNAL, [proposed(early, plans.PROPOSAL_STATE_REFUTED)])
    assert own_proposals.propose(proposed(early), later, SIGNAL) == []


def test_no_more_than_twenty_wait_for_people() -> None:
    one = found(MORNING, EPOCH + 86400)
    waiting: list[plans.PlanProposal] = []
    for number in range(own_proposals.MOST_WAITING):
        assert may_propose(one, SIGNAL, waiting)
        waiting.append(proposed(found(MORNING)))
        waiting[-1].programs[0].signal_id = f"other {number}"
    assert not may_propose(one, SIGNAL, waiting)
    waiting[0].state = plans.PROPOSAL_STATE_REFUTED
    assert may_propose(one, SIGNAL, waiting)


def test_a_signal_that_follows_the_traffic_is_counted_too() -> None:
    cross = Junction(SIGNAL, EPOCH + 700, {THROUGH: 0.2, SOUTH: 0.1})
    cross.run(301)
    assert cross.watch.flows.seen_s == dict.fromkeys(MORNING, 300.0)
    flows = cross.watch.flows.per_hour(STAGED.lights.lanes)
    assert flows is not None
    assert flows[THROUGH] == pytest.approx(720, rel=0.15)


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(flows_seen, "WINDOW_S", 200.0)
    with running(TrafficService) as service:
        edges = [RoadEdge(edge_id=edge, length_m=200, free_speed_mps=14) for edge in ("west", "east", "x-north", "x-south")]
        service.fire("PublishRoads", pb.PublishRoadsRequest(edges=edges))
        service.fire("RegisterSignal", pb.RegisterSignalRequest(signal=SIGNAL))
        service.rest()
        yield service


def report(traffic: Running, flows: Mapping[str, float], unseen: str = "", signals: Sequence[str] = ("x",)) -> int:
    """Ten seconds pass, and what is seen in them is reported. Returns how many plans are proposed by then."""
    lanes = [
        control.LaneTraffic(lane_id=lane, coming=[1.0], passed=-1.0 if lane == unseen else flow / 360)
        for lane, flow in flows.items()
    ]
    seen = [control.SignalTraffic(signal_id=name, state="rrG", since_s=[20, 20, 20], lanes=lanes) for name in signals]
    request = control.ReportSignalTrafficRequest(observed_at=timestamp(traffic.advance(10)), signals=seen)
    traffic.fire("ReportSignalTraffic", request)
    return len(traffic.events(ev.PlanProposed))


def hour(traffic: Running, flows: Mapping[str, float], unseen: str = "") -> int:
    proposed = [report(traffic, flows, unseen) for _ in range(21)]
    traffic.rest()
    return proposed[-1]


def test_a_signal_is_watched_and_its_proposal_goes_the_way_of_all_others(traffic: Running) -> None:
    assert hour(traffic, AS_PLANNED) == 0
    assert hour(traffic, MORNING, unseen=TURN) == 0
    # Once the lane has been without fault for a minute, and the next time nothing more.
    assert hour(traffic, MORNING) == 1
    assert hour(traffic, MORNING) == 1
    (told,) = traffic.events(ev.PlanProposed)
    proposal_id = told.data.proposal.proposal_id  # type: ignore[attr-defined]
    proposal = traffic.fire("GetPlanProposal", plans.GetPlanProposalRequest(proposal_id=proposal_id)).proposal
    assert "vehicle minutes less in an hour" in proposal.reason
    assert proposal.basis[0].startswith("counted ")
    decide = plans.DecidePlanRequest(proposal_id=proposal_id, approved=True, reason="as simulated")
    with pytest.raises(Refused, match="no simulation has compared it"):
        traffic.fire("DecidePlan", decide, caller="chief")
    pairs = [plans.SimulatedPair(seed=seed, vehicles=900, today_s=100 + seed, proposed_s=90) for seed in (1, 2, 3)]
    verified = plans.ReportVerificationRequest(proposal_id=proposal_id, pairs=pairs, simulated="x")
    traffic.fire("ReportVerification", verified)
    assert traffic.fire("DecidePlan", decide, caller="chief").proposal.state == plans.PROPOSAL_STATE_APPROVED
    answer = traffic.fire("GetSignalControl", control.GetSignalControlRequest(signal_id="x"))
    assert (answer.strategy, answer.reason) == (control.CONTROL_STRATEGY_FIXED_PLAN, "its plan runs")
    assert traffic.events(ev.SignalCommanded) == []


def test_after_one_report_a_few_signals_are_judged_and_the_others_after_the_next(
    traffic: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_proposals, "AT_A_TIME", 1)
    other = with_lanes(crossing(), {0: THROUGH, 1: TURN, 2: SOUTH})
    other.signal_id = "y"
    traffic.fire("RegisterSignal", pb.RegisterSignalRequest(signal=other))
    traffic.rest()
    proposed = [report(traffic, MORNING, signals=("x", "y")) for _ in range(23)]
    assert proposed[-4:] == [0, 1, 2, 2]
