"""What is said twice changes nothing, and what is not said is not made up."""

from __future__ import annotations

from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import field_pb2 as field
from citybrain.urban.v1 import hotline_pb2 as hotline
from citybrain.urban.v1.hotline_pb2 import Contact

from citybrain.mesh.events import timestamp
from citybrain.services.urban import cases, components, dogs, facilities, orders, parking, rivers, tickets
from tests.unit.urban.conftest import HERE

NOW = timestamp(1_000_000)
COMPONENT = parts.RegisterComponentRequest(
    component_id="c1", component_class="other", name="x", position=HERE, district_id="xihu"
)
CASE = field.OpenCaseRequest(matter="占道经营", team="north", position=HERE, district_id="xihu")
OWNER = Contact(name="王建国", phone="+8613800003333")
DOG = field.RegisterDogRequest(tag_id="HZ-1", district_id="xihu", vaccinated_until=timestamp(2_000_000), owner=OWNER)


def known() -> components.State:
    (made,) = components.register(components.State(), COMPONENT, NOW)
    return components.evolve(components.State(), made)


def test_a_component_that_is_registered_or_seen_as_it_is_known_brings_no_event() -> None:
    state = known()
    assert components.register(state, COMPONENT, timestamp(9)) == []
    renamed = parts.RegisterComponentRequest()
    renamed.CopyFrom(COMPONENT)
    renamed.name = "y"
    (event,) = components.register(state, renamed, NOW)
    assert isinstance(event, ev.ComponentRegistered)
    assert not event.first
    intact = parts.ReportComponentRequest(component_id="c1", state=parts.COMPONENT_STATE_INTACT)
    assert components.report(state, intact, "wo-1", NOW) == []


def test_work_for_something_else_mends_no_component() -> None:
    lost = parts.ReportComponentRequest(component_id="c1", state=parts.COMPONENT_STATE_LOST)
    state = known()
    for event in components.report(state, lost, "wo-1", NOW):
        state = components.evolve(state, event)
    assert components.mended(state, "wo-2", "done", NOW) == []
    assert components.mended(components.State(), "", "done", NOW) == []
    assert len(components.mended(state, "wo-1", "done", NOW)) == 1


def test_a_case_is_opened_once_and_is_about_nobody_who_was_not_named() -> None:
    (made,) = cases.open_case(cases.State(), "case-1", CASE, "", NOW)
    assert isinstance(made, ev.CaseOpened)
    assert not made.HasField("party")
    state = cases.evolve(cases.State(), made)
    assert state.case is not None
    assert not state.case.HasField("party")
    assert cases.open_case(state, "case-1", CASE, "", NOW) == []
    assert cases.evolve(cases.State(), ev.CaseDecided(case_id="case-1")) == cases.State()


def test_a_dog_that_is_registered_as_it_is_known_brings_no_event_and_an_erased_owner_is_missing() -> None:
    (made,) = dogs.register(dogs.State(), DOG, "p-1", 0)
    state = dogs.evolve(dogs.State(), made)
    assert dogs.register(state, DOG, "p-1", 0) == []
    made.ClearField("owner")
    erased = dogs.evolve(dogs.State(), made)
    assert erased.dog is not None
    assert not erased.dog.HasField("owner")


def test_a_facility_that_is_registered_as_it_is_known_brings_no_event_and_another_name_plans_no_other_check() -> None:
    asked = field.RegisterFacilityRequest(
        facility_id="b1", kind="bridge", name="x", position=HERE, district_id="xihu", check_days=30
    )
    state = facilities.State()
    assert facilities.evolve(state, ev.FacilityClosed(facility_id="b1")) == state
    for event in facilities.register(state, asked, NOW):
        state = facilities.evolve(state, event)
    assert facilities.register(state, asked, timestamp(9)) == []
    good = field.ReportCheckRequest(facility_id="b1", grade="A", findings="well")
    for event in facilities.check(state, good, "wo-1", NOW):
        state = facilities.evolve(state, event)
    again = facilities.check(state, good, "wo-1", NOW)
    assert [type(one) for one in again] == [ev.FacilityChecked], "checked at the same moment: what is planned stays"


def test_a_bill_is_told_to_be_overdue_once_after_ten_days_and_never_when_it_is_paid() -> None:
    opened = ev.ParkingBillOpened(bill_id="bill-1", payer_id="p-1", opened_at=timestamp(0), fen=500)
    bill = parking.evolve_bill(parking.Bill(), opened)
    due = parking.DUE_DAYS * parking.DAY
    assert parking.remind(bill, due) == [], "the tenth day is in time"
    (overdue,) = parking.remind(bill, due + 1)
    assert parking.remind(parking.evolve_bill(bill, overdue), due + 1) == []
    assert parking.remind(parking.evolve_bill(bill, ev.ParkingBillPaid(bill_id="bill-1")), due + 1) == []
    assert parking.remind(parking.Bill(), due + 1) == []


def test_an_order_of_which_nothing_is_known_stays_unknown() -> None:
    assert orders.evolve(orders.Order(), ev.WorkOrderDone(order_id="wo-1")) == orders.Order()


def test_an_hour_that_is_retracted_is_forgotten() -> None:
    state = rivers.River()
    for water_class in (5, 0):
        for event in rivers.see(state, "r", "xihu", rivers.HOUR, water_class, "wo-1"):
            state = rivers.evolve(state, event)
    assert state.hours == {}


def test_a_call_joins_its_ticket_once_and_a_ticket_is_routed_to_where_it_is_already_without_an_event() -> None:
    asked = hotline.TakeCallRequest(channel="phone", text="路灯不亮", district_id="xihu")
    one = hotline.TicketCall(call_id="call-1", channel="phone", text="路灯不亮", received_at=NOW)
    state = tickets.TicketState()
    assert tickets.evolve(state, ev.TicketRated(ticket_id="tic-1", stars=1)) == state
    for event in tickets.take(state, "tic-1", one, asked, "lamp", ["路灯"], "wo-1"):
        state = tickets.evolve(state, event)
    assert tickets.take(state, "tic-1", one, asked, "lamp", ["路灯"], "wo-1") == []
    assert tickets.reroute(state, hotline.RerouteTicketRequest(ticket_id="tic-1", kind="lamp", reason="x"), "wo-2") == []
