"""Work orders and components while the service runs."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import urban_service_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.testing import Running
from tests.unit.urban.conftest import HERE, told


def opened(urban: Running, kind: str = "bin", district_id: str = "xihu") -> str:
    request = pb.OpenWorkOrderRequest(kind=kind, subject_id="s1", district_id=district_id, task="empty it")
    return str(urban.fire("OpenWorkOrder", request).order.order_id)


def got(urban: Running, order_id: str) -> pb.WorkOrder:
    order: pb.WorkOrder = urban.fire("GetWorkOrder", pb.GetWorkOrderRequest(order_id=order_id)).order
    return order


def test_an_order_is_reminded_of_after_half_its_time_and_goes_up_twice_when_it_is_late(urban: Running) -> None:
    order_id = opened(urban)
    urban.fire("AssignWorkOrder", pb.AssignWorkOrderRequest(order_id=order_id, team="north"))
    urban.rest()
    counts: list[int] = []
    for hours in (5.9, 0.2, 5.8, 0.2, 11.8, 0.3, 40):
        urban.advance(hours * 3600)
        urban.rest()
        counts.append(len(told(urban, ev.WorkOrderReminded, ev.WorkOrderEscalated)))
    assert counts == [0, 1, 1, 2, 2, 3, 3]
    assert [event.level for event in told(urban, ev.WorkOrderEscalated)] == [1, 2]
    assert (got(urban, order_id).escalations, got(urban, order_id).reminded) == (2, True)


def test_overdue_orders_of_a_district_are_listed_longest_first_in_pages(urban: Running) -> None:
    orders = [opened(urban, kind) for kind in ("bin", "gas", "bridge")]
    opened(urban, "gas", "gongshu")
    urban.rest()
    asked = pb.ListOverdueOrdersRequest(district_id="xihu", page_size=1)
    assert not urban.fire("ListOverdueOrders", asked).orders
    urban.advance(5 * 3600)
    urban.rest()
    first = urban.fire("ListOverdueOrders", asked)
    second = urban.fire(
        "ListOverdueOrders",
        pb.ListOverdueOrdersRequest(district_id="xihu", page_size=1, page_token=first.next_page_token),
    )
    assert [one.order_id for one in (*first.orders, *second.orders)] == [orders[1], orders[2]]
    assert not second.next_page_token
    urban.fire("FinishWorkOrder", pb.FinishWorkOrderRequest(order_id=orders[1], outcome="closed"))
    urban.rest()
    assert [one.order_id for one in urban.fire("ListOverdueOrders", asked).orders] == [orders[2]]


def test_the_mean_time_to_repair_counts_what_was_done_and_not_what_was_void(urban: Running) -> None:
    orders = [opened(urban) for _ in range(3)]
    urban.advance(6 * 3600)
    urban.fire("FinishWorkOrder", pb.FinishWorkOrderRequest(order_id=orders[0], outcome="emptied"))
    urban.fire("FinishWorkOrder", pb.FinishWorkOrderRequest(order_id=orders[2], outcome="was empty", void=True))
    urban.advance(8 * 3600)
    urban.fire("FinishWorkOrder", pb.FinishWorkOrderRequest(order_id=orders[1], outcome="emptied"))
    urban.rest()
    (times,) = urban.fire("GetRepairTimes", pb.GetRepairTimesRequest(district_id="xihu")).times
    assert times == pb.RepairTime(kind="bin", done=2, in_time=1, mean_hours=10)
    assert not urban.fire("GetRepairTimes", pb.GetRepairTimesRequest(district_id="xihu2")).times


def test_an_order_that_has_ended_takes_nothing_more(urban: Running) -> None:
    order_id = opened(urban)
    finish = pb.FinishWorkOrderRequest(order_id=order_id, outcome="emptied")
    urban.fire("FinishWorkOrder", finish, request_id="r1")
    assert urban.fire("FinishWorkOrder", finish, request_id="r1").order.state == pb.ORDER_STATE_DONE
    with pytest.raises(Refused, match="has ended"):
        urban.fire("FinishWorkOrder", finish)
    with pytest.raises(Refused, match="has ended"):
        urban.fire("AssignWorkOrder", pb.AssignWorkOrderRequest(order_id=order_id, team="north"))
    with pytest.raises(NotFound):
        got(urban, "wo-00000000000a")
    with pytest.raises(BadRequest, match="kind"):
        opened(urban, "magic")


def component(urban: Running, component_id: str = "c1", name: str = "manhole cover") -> parts.Component:
    request = parts.RegisterComponentRequest(
        component_id=component_id, component_class="public_utility", name=name, position=HERE, district_id="xihu"
    )
    found: parts.Component = urban.fire("RegisterComponent", request).component
    return found


def seen(urban: Running, state: parts.ComponentState, component_id: str = "c1") -> parts.Component:
    request = parts.ReportComponentRequest(component_id=component_id, state=state, note="open")
    found: parts.Component = urban.fire("ReportComponent", request).component
    return found


def test_a_lost_cover_gets_one_work_order_and_is_intact_when_that_is_done(urban: Running) -> None:
    assert component(urban).state == parts.COMPONENT_STATE_INTACT
    lost = seen(urban, parts.COMPONENT_STATE_LOST)
    assert seen(urban, parts.COMPONENT_STATE_DAMAGED).order_id == lost.order_id
    assert component(urban, name="cast-iron cover").order_id == lost.order_id
    (order,) = told(urban, ev.WorkOrderOpened)
    assert (order.order_id, order.task) == (lost.order_id, "manhole cover is lost: open")
    urban.fire("FinishWorkOrder", pb.FinishWorkOrderRequest(order_id=lost.order_id, outcome="a new one"))
    after = urban.fire("GetComponent", parts.GetComponentRequest(component_id="c1")).component
    assert (after.state, after.order_id, after.name) == (parts.COMPONENT_STATE_INTACT, "", "cast-iron cover")


def test_a_component_that_is_seen_intact_needs_no_work_any_more(urban: Running) -> None:
    component(urban)
    lost = seen(urban, parts.COMPONENT_STATE_LOST)
    assert seen(urban, parts.COMPONENT_STATE_INTACT).order_id == ""
    assert got(urban, lost.order_id).state == pb.ORDER_STATE_DONE
    assert seen(urban, parts.COMPONENT_STATE_DAMAGED).order_id not in ("", lost.order_id)


def test_work_outside_the_city_is_refused(urban: Running) -> None:
    there = Position(latitude=31.2, longitude=121.5)
    request = pb.OpenWorkOrderRequest(kind="bin", subject_id="s1", district_id="xihu", task="empty it", position=there)
    with pytest.raises(BadRequest, match=r"position: 31.2, 121.5 is outside of the city"):
        urban.fire("OpenWorkOrder", request)


def test_components_are_listed_by_id_and_state_in_pages(urban: Running) -> None:
    for name in ("c3", "c1", "c2"):
        component(urban, name)
    seen(urban, parts.COMPONENT_STATE_DAMAGED, "c1")
    seen(urban, parts.COMPONENT_STATE_DAMAGED, "c3")
    urban.rest()
    asked: dict[str, Any] = {"district_id": "xihu", "state": parts.COMPONENT_STATE_DAMAGED, "page_size": 1}
    first = urban.fire("ListComponents", parts.ListComponentsRequest(**asked))
    second = urban.fire("ListComponents", parts.ListComponentsRequest(page_token=first.next_page_token, **asked))
    assert [one.component_id for one in (*first.components, *second.components)] == ["c1", "c3"]
    assert not second.next_page_token


def test_a_component_of_another_district_is_listed_and_counted_there_alone(urban: Running) -> None:
    def listed(district_id: str = "", state: int = 0) -> list[str]:
        urban.rest()
        asked = parts.ListComponentsRequest(district_id=district_id, page_size=1)
        asked.state = state  # type: ignore[assignment]
        found: list[str] = []
        while True:
            page = urban.fire("ListComponents", asked)
            found += [one.component_id for one in page.components]
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token

    def counted(district_id: str) -> tuple[int, int]:
        row = urban.row("component_counts", district_id)
        return (0, 0) if row is None else (row.count, row.intact)

    for name in ("c1", "c2", "c3"):
        component(urban, name)
    component(urban, "c3", name="another cover")
    seen(urban, parts.COMPONENT_STATE_LOST, "c1")
    seen(urban, parts.COMPONENT_STATE_DAMAGED, "c1")
    assert (listed("xihu"), listed(), counted("xihu")) == (["c1", "c2", "c3"], ["c1", "c2", "c3"], (3, 2))
    for name in ("c1", "c2"):
        request = parts.RegisterComponentRequest(
            component_id=name, component_class="public_utility", name="x", position=HERE, district_id="gongshu"
        )
        urban.fire("RegisterComponent", request)
    assert (listed("xihu"), listed("gongshu"), listed("gong")) == (["c3"], ["c1", "c2"], [])
    assert (listed("gongshu", parts.COMPONENT_STATE_DAMAGED), listed("xihu", parts.COMPONENT_STATE_DAMAGED)) == (["c1"], [])
    assert (counted("xihu"), counted("gongshu")) == ((1, 1), (2, 1))
    seen(urban, parts.COMPONENT_STATE_INTACT, "c1")
    assert (listed("gongshu", parts.COMPONENT_STATE_INTACT), counted("gongshu")) == (["c1", "c2"], (2, 2))
    assert listed("", parts.COMPONENT_STATE_DAMAGED) == []


def test_a_component_of_no_known_class_is_refused(urban: Running) -> None:
    request = parts.RegisterComponentRequest(component_id="c1", component_class="x", name="x", position=HERE, district_id="y")
    with pytest.raises(BadRequest, match="component_class"):
        urban.fire("RegisterComponent", request)
    with pytest.raises(NotFound):
        seen(urban, parts.COMPONENT_STATE_LOST)
