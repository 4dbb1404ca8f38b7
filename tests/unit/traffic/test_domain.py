"""Signals and grants as their events tell them."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from citybrain.traffic.v1 import traffic_service_pb2 as pb
from citybrain.traffic.v1.events_pb2 import SignalCommanded, SignalInterval, SignalReported, VehicleLost, VehicleMissing
from google.protobuf.message import Message

from citybrain.mesh.errors import AlreadyDifferent, BadRequest, NotFound, Refused
from citybrain.services.traffic import domain, grants
from citybrain.services.traffic.domain import SignalState
from citybrain.services.traffic.grants import PriorityState
from tests.unit.traffic.signals import crossing

STARTED, REFUSED, BACK = pb.SIGNAL_REPORT_STARTED, pb.SIGNAL_REPORT_REFUSED, pb.SIGNAL_REPORT_BACK_IN_PLAN


def commanded(second: float, vehicle: str = "v", hold_s: float = 60) -> SignalCommanded:
    """Five seconds of change, a hold (none without a vehicle), five seconds of return."""
    hold = [SignalInterval(state="GGr", duration_s=hold_s, purpose="priority")] if vehicle else []
    change = SignalInterval(state="rrr", duration_s=5, purpose="all red")
    return SignalCommanded(
        signal_id="x", command_id=domain.command_id("x", second), vehicle_id=vehicle, incident_id="i" if vehicle else "",
        intervals=[change, *hold, change],
    )  # fmt: skip


def said(command: SignalCommanded, report: pb.SignalReport) -> SignalReported:
    return SignalReported(signal_id="x", command_id=command.command_id, report=report)


def signal(*events: Message) -> SignalState:
    return reduce(domain.evolve, events, SignalState())


def test_a_command_alone_holds_nothing() -> None:
    state = signal(commanded(1000))
    assert domain.held_for(state, 1001) == ""
    assert domain.unanswered(state, 1001)


def test_a_started_command_holds_until_its_hold_ends() -> None:
    command = commanded(1000)
    state = signal(command, said(command, STARTED))
    assert not domain.unanswered(state, 1001)
    assert domain.held_for(state, 1064.9) == "v"
    assert domain.held_for(state, 1065) == ""
    assert domain.last_hold_ended(state, 1064) is None
    assert domain.last_hold_ended(state, 1070) == 1065
    assert state.hold_began == 1005


def test_a_refused_command_leaves_the_signal_as_it_was() -> None:
    first, second = commanded(1000), commanded(1030, "w")
    before = signal(first, said(first, STARTED))
    assert reduce(domain.evolve, [second, said(second, REFUSED)], before) == before


def test_a_command_without_an_answer_is_waited_for_no_longer_than_five_seconds() -> None:
    state = signal(commanded(1000))
    assert domain.unanswered(state, 1004.9)
    assert not domain.unanswered(state, 1005)


def test_a_command_that_started_after_all_counts_though_it_was_made_anew() -> None:
    late, anew = commanded(1000), commanded(1005, "w")
    state = signal(late, anew, said(late, STARTED))
    assert domain.held_for(state, 1006) == "v"
    assert domain.unanswered(state, 1006)
    assert domain.held_for(domain.evolve(state, said(anew, STARTED)), 1006) == "w"


def test_reports_about_commands_that_others_followed_change_nothing() -> None:
    first, second = commanded(1000), commanded(1010, "")
    state = signal(first, second, said(second, STARTED))
    assert domain.evolve(state, said(first, STARTED)) == state
    assert domain.evolve(state, said(first, BACK)) == state
    request = pb.ReportSignalRequest(signal_id="x", command_id=first.command_id, report=BACK)
    registered = domain.evolve(state, domain.register_signal(SignalState(), _register())[0])
    assert domain.report_signal(registered, request) == []


def test_a_hold_that_was_broken_off_ended_when_the_return_began() -> None:
    hold, back = commanded(1000), commanded(1020, "")
    state = signal(hold, said(hold, STARTED), back, said(back, STARTED))
    assert domain.last_hold_ended(state, 1021) == 1020
    in_plan = domain.evolve(state, said(back, BACK))
    assert (in_plan.running, domain.last_hold_ended(in_plan, 1100)) == (None, 1020)


def test_a_hold_that_had_not_begun_when_it_was_broken_off_was_none() -> None:
    hold, back = commanded(1000), commanded(1003, "")
    state = signal(hold, said(hold, STARTED), back, said(back, STARTED))
    assert domain.last_hold_ended(state, 1004) is None


def test_a_score_played_to_its_end_held_for_its_whole_hold() -> None:
    hold = commanded(1000)
    state = signal(hold, said(hold, STARTED), said(hold, BACK))
    assert (state.running, state.hold_ended, state.hold_began) == (None, 1065, None)


def test_commands_for_the_same_vehicle_that_follow_each_other_are_one_hold() -> None:
    first, second = commanded(1000), commanded(1030, hold_s=30)
    state = signal(first, said(first, STARTED), second, said(second, STARTED))
    assert state.hold_began == 1005
    assert domain.last_hold_ended(domain.evolve(state, said(second, BACK)), 1200) == 1065


def test_back_in_plan_without_a_started_is_believed() -> None:
    back = commanded(1000, "")
    assert signal(back, said(back, BACK)) == SignalState()


def test_a_crash_between_any_two_events_forgets_nothing() -> None:
    first, second, back = commanded(1000), commanded(1030, "w"), commanded(1040, "")
    events: list[Message] = [
        *domain.register_signal(SignalState(), _register()),
        first, said(first, STARTED), second, said(second, REFUSED), back, said(back, STARTED), said(back, BACK),
    ]  # fmt: skip
    whole = signal(*events)
    for cut in range(len(events)):
        stored = [type(e).FromString(e.SerializeToString()) for e in events[:cut]]
        assert reduce(domain.evolve, events[cut:], signal(*stored)) == whole
    rebuilt = signal(*[type(e).FromString(e.SerializeToString()) for e in events[:3]])
    assert rebuilt.running is not None
    assert (rebuilt.running.command, rebuilt.running.begins, rebuilt.running.hold) == (first, 1000, (1005, 1065))


def test_a_command_is_not_written_where_the_signal_changed_since_it_was_made() -> None:
    seen, command = SignalState(), commanded(1000)
    assert domain.command(seen, seen, command) == [command]
    assert domain.command(signal(commanded(999)), seen, command) == []


def _register(**options: Any) -> pb.RegisterSignalRequest:
    return pb.RegisterSignalRequest(signal=crossing(**options))


def test_the_same_registration_again_changes_nothing_and_a_new_plan_is_taken() -> None:
    state = signal(*domain.register_signal(SignalState(), _register()))
    assert domain.register_signal(state, _register()) == []
    assert len(domain.register_signal(state, _register(plan_phases_only=True))) == 1


def test_a_signal_under_control_keeps_its_registration() -> None:
    command = commanded(1000)
    state = signal(*domain.register_signal(SignalState(), _register()), command, said(command, STARTED))
    assert domain.register_signal(state, _register()) == []
    with pytest.raises(Refused):
        domain.register_signal(state, _register(plan_phases_only=True))


def test_a_signal_whose_parts_do_not_fit_is_refused_field_by_field() -> None:
    request = _register()
    request.signal.phases[1].state = "yr"
    request.signal.links[2].index = 3
    request.signal.conflicts[0].other_index = 9
    with pytest.raises(BadRequest) as refused:
        domain.register_signal(SignalState(), request)
    assert [field for field, _ in refused.value.violations] == [
        "signal.phases[1].state", "signal.links[2].index", "signal.conflicts[0]",
    ]  # fmt: skip


def test_a_report_of_an_unknown_signal_is_refused_and_the_same_report_is_taken_once() -> None:
    command = commanded(1000)
    request = pb.ReportSignalRequest(signal_id="x", command_id=command.command_id, report=STARTED)
    with pytest.raises(NotFound):
        domain.report_signal(SignalState(), request)
    state = signal(*domain.register_signal(SignalState(), _register()), command)
    reported = domain.report_signal(state, request)
    assert reported == [said(command, STARTED)]
    assert domain.report_signal(domain.evolve(state, reported[0]), request) == []


# -- grants ------------------------------------------------------------------------------------------------------------------


def ask(grant_id: str = "g", vehicle: str = "v") -> pb.GrantPriorityRequest:
    return pb.GrantPriorityRequest(
        incident_id="i", grant_id=grant_id, vehicle_id=vehicle, edge_ids=["a", "b"], stops=[pb.PlannedStop(route_index=1)]
    )


def end(grant_id: str = "g") -> pb.ReleasePriorityRequest:
    return pb.ReleasePriorityRequest(incident_id="i", grant_id=grant_id, reason="handed over")


def after(state: PriorityState, *events: Message) -> PriorityState:
    return reduce(grants.evolve, events, state)


def test_a_grant_holds_until_it_is_released() -> None:
    held = after(PriorityState(), *grants.grant(PriorityState(), ask(), ["x"]))
    granted = held.grants["g"].granted
    assert (granted.vehicle_id, list(granted.edge_ids), list(granted.signal_ids)) == ("v", ["a", "b"], ["x"])
    assert granted.stops[0].route_index == 1
    (released,) = grants.release(held, end())
    assert (released.vehicle_id, released.reason) == ("v", "handed over")  # type: ignore[attr-defined]
    assert after(held, released).grants == {}


def test_the_same_grant_again_changes_nothing_and_another_under_its_id_is_refused() -> None:
    held = after(PriorityState(), *grants.grant(PriorityState(), ask(), ["x"]))
    assert grants.grant(held, ask(), ["x"]) == []
    with pytest.raises(AlreadyDifferent):
        grants.grant(held, ask(vehicle="w"), ["x"])


def test_a_release_that_comes_first_bars_the_grant_and_only_that() -> None:
    (released,) = grants.release(PriorityState(), end())
    assert released.vehicle_id == ""  # type: ignore[attr-defined]
    barred = after(PriorityState(), released)
    assert grants.release(barred, end()) == []
    with pytest.raises(Refused):
        grants.grant(barred, ask(), [])
    assert len(grants.grant(barred, ask("another"), [])) == 1


def test_a_lost_vehicle_is_noted_only_while_its_grant_stands() -> None:
    held = after(PriorityState(), *grants.grant(PriorityState(), ask(), []))
    lost = VehicleLost(incident_id="i", grant_id="g", vehicle_id="v", silent_s=6)
    assert grants.tell(held, lost) == [lost]
    assert after(held, lost).grants["g"].lost
    missing = VehicleMissing(incident_id="i", grant_id="g", vehicle_id="v", silent_s=61)
    gone = after(held, lost, missing)
    assert gone.grants["g"].missing
    # Lost once more, it was found between.
    assert not after(gone, lost).grants["g"].missing
    assert grants.tell(after(held, *grants.release(held, end())), lost) == []
