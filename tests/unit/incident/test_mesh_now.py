"""What is wrong in the mesh now: a subscription that stands still, one that nobody leads, a clock that is wrong."""

from __future__ import annotations

import pytest
from citybrain.mesh.v1 import mesh_service_pb2 as mesh
from google.protobuf.duration_pb2 import Duration

from citybrain.cli.incident.mesh_now import troubles
from citybrain.cli.incident.story import Incident, findings
from citybrain.mesh.events import timestamp

AT = 1_800_000_000_000_000
LEADS, STANDS_BY = mesh.GROUP_ROLE_LEADS, mesh.GROUP_ROLE_STANDS_BY


def process(
    *, still_s: float = 0, failing: str = "", role: mesh.GroupRole = LEADS, ahead_s: float = 0, driven: bool = False
) -> mesh.GetStatusResponse:
    still = Duration()
    still.FromMilliseconds(round(still_s * 1000))
    group = mesh.ConsumerGroup(name="sagas.hear", role=role, lag=3, still=still, failing=failing)
    services = [mesh.ServiceStatus(name="sagas", groups=[group]), mesh.ServiceStatus(name="identity")]
    return mesh.GetStatusResponse(pid=7, services=services, city_time=timestamp(round(AT + ahead_s * 1e6)), driven=driven)


STILL = "sagas.hear has done nothing for 5 s, and has 3 positions to look at"


@pytest.mark.parametrize(("still_s", "told"), [(4.9, []), (5, [STILL])])
def test_a_subscription_that_stands_still_is_told(still_s: float, told: list[str]) -> None:
    assert [one.text for one in troubles([process(still_s=still_s)], AT)] == told
    # One that stands by has nothing to do.
    assert troubles([process(), process(still_s=still_s, role=STANDS_BY)], AT) == []


def test_a_subscription_that_fails_again_and_again_is_told_with_what_fails() -> None:
    (found,) = troubles([process(failing="IncidentOpened at 7: Poisoned", still_s=60)], AT)
    assert (found.kind, found.text) == ("failed", "sagas.hear fails and is tried again: IncidentOpened at 7: Poisoned")
    assert troubles([process(), process(failing="x", role=STANDS_BY)], AT) == []


def test_a_service_that_nobody_leads_is_told_and_one_without_subscriptions_is_not() -> None:
    (found,) = troubles([process(role=STANDS_BY), process(role=STANDS_BY)], AT)
    assert (found.who, found.text) == ("sagas", "no process leads sagas: 1 subscription and read models hear nothing")
    assert troubles([process(role=STANDS_BY), process()], AT) == []


@pytest.mark.parametrize(("ahead_s", "told"), [(4.9, ""), (5, "5 s ahead"), (-60, "60 s behind")])
def test_a_clock_that_is_wrong_is_told(ahead_s: float, told: str) -> None:
    found = troubles([process(ahead_s=ahead_s)], AT)
    assert [one.who for one in found] == (["sagas, identity"] if told else [])
    assert all(told in one.text for one in found)
    # City time that is driven is at another moment on purpose.
    assert troubles([process(ahead_s=ahead_s, driven=True)], AT) == []


def test_a_fault_that_is_on_is_told_once_for_all_processes_with_what_ends_it() -> None:
    fault = mesh.Fault(
        fault_id="flt-1", kind=mesh.FAULT_KIND_LATENCY, service="traffic", target="GetSignal", share=0.25, seconds=2,
        until=timestamp(AT), who="li", reason="a game day", hits=3,
    )  # fmt: skip
    skewed = mesh.Fault(fault_id="flt-0", kind=mesh.FAULT_KIND_CLOCK_SKEW, service="health", seconds=-60, who="li")
    one, other = process(), process()
    one.faults.extend([fault, skewed])
    other.faults.append(fault)
    clock, slow = troubles([one, other], AT)
    assert (clock.who, slow.who, slow.kind, slow.do) == ("health", "traffic", "failed", "city fault clear flt-1")
    assert clock.text.startswith("the fault flt-0 is on: clock-skew of -60 s of health, until ")
    of = "latency of 2 s of GetSignal in 25.0% of the cases, it has met 6"
    assert slow.text.startswith(f"the fault flt-1 is on: {of}, until ") and slow.text.endswith(", by li: a game day")


def test_it_stands_among_what_is_known_of_the_incident() -> None:
    wrong = troubles([process(role=STANDS_BY)], AT)
    assert findings(Incident("inc-1", troubles=wrong)) == wrong
