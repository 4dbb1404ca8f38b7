"""Work that events ask for: it is opened once, whatever happened to the window or timer that told the event."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.urban.v1 import devices_pb2 as dev
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import urban_service_pb2 as pb
from citybrain.urban.v1 import water_pb2 as water

from citybrain.mesh.events import timestamp
from citybrain.mesh.testing import Running, running
from citybrain.services.urban import orders, views
from citybrain.services.urban.service import UrbanService
from tests.unit.urban.conftest import HERE, device, told
from tests.unit.urban.test_field import facility
from tests.unit.urban.test_orders import got, opened

ANOMALY = dev.Anomaly(
    anomaly_id="ano-00000000000a", device_id="d1", kind="bridge_strain", position=HERE, district_id="xihu",
    order_id="wo-00000000000a", chart=dev.Chart(rule="EWMA"),
)  # fmt: skip
FOUND = ev.AnomalyFound(anomaly=ANOMALY, device_id="d1", district_id="xihu")
LEAK = water.Leak(
    leak_id="leak-00000000000a", network_id="net", district_id="xihu", order_id="wo-00000000000b", state=water.LEAK_STATE_FOUND
)


def test_an_event_whose_window_was_interrupted_is_worked_on(urban: Running) -> None:
    facility(urban)
    urban.tell(
        FOUND,
        ev.FacilityCheckMissed(facility_id="b1", district_id="xihu", order_id="wo-00000000000c"),
        ev.DrainageOutlookChanged(network_id="west", district_id="xihu", order_id="wo-00000000000d", outlook={"level": 100}),
        ev.DrainageOutlookChanged(network_id="east", district_id="xihu", order_id="wo-00000000000e", outlook={"level": 80}),
    )
    urban.rest()
    assert {one.order_id: (one.kind, one.subject_id) for one in told(urban, ev.WorkOrderOpened)} == {
        "wo-00000000000a": ("bridge", ANOMALY.anomaly_id),
        "wo-00000000000c": ("bridge", "b1"),
        "wo-00000000000d": ("drainage", "west"),
    }
    urban.fire("ask_for_work", FOUND)
    assert len(told(urban, ev.WorkOrderOpened)) == 3


@pytest.mark.parametrize("retracted", [False, True])
def test_what_is_retracted_before_somebody_is_sent_needs_no_work(retracted: bool) -> None:
    found = ev.LeakFound(leak=LEAK, leak_id=LEAK.leak_id, network_id="net", district_id="xihu")
    gone = ev.AnomalyRetracted(anomaly_id=ANOMALY.anomaly_id, device_id="d1", retracted_at=timestamp(1))
    given: dict[str, Any] = {
        "devices": {"d1": [ev.DeviceRegistered(device=device()), FOUND, *[gone] * retracted]},
        "leaks": {LEAK.leak_id: [found, *[ev.LeakRetracted(leak_id=LEAK.leak_id)] * retracted]},
    }
    with running(UrbanService, **given) as urban:
        urban.fire("ask_for_work", FOUND)
        urban.fire("ask_for_work", found)
        urban.rest()
        assert len(told(urban, ev.WorkOrderOpened)) == (0 if retracted else 2)


def test_somebody_is_told_of_an_order_at_moments_that_are_looked_up_and_forgotten_when_it_has_ended(urban: Running) -> None:
    order_id = opened(urban)
    urban.rest()
    order = got(urban, order_id)
    keys = [
        (view, views.moment_key(moment) + order_id)
        for view, moment in zip(
            ("to_remind", "to_put_up", "to_put_up_further"), orders.moments(order.opened_at, order.deadline), strict=True
        )
    ]
    known = [[urban.row(*key) is not None for key in keys]]
    for hours in (6, 6.1, 12):
        urban.advance(hours * 3600)
        urban.rest()
        known.append([urban.row(*key) is not None for key in keys])
    assert known == [[True] * 3, [False, True, True], [False, False, True], [False] * 3]
    again = opened(urban)
    urban.rest()
    urban.fire("FinishWorkOrder", pb.FinishWorkOrderRequest(order_id=again, outcome="x"))
    urban.rest()
    order = got(urban, again)
    moments = orders.moments(order.opened_at, order.deadline)
    assert urban.row("to_remind", views.moment_key(moments[0]) + again) is None
    assert urban.row("to_put_up", views.moment_key(moments[1]) + again) is None
    assert urban.row("to_put_up_further", views.moment_key(moments[2]) + again) is None


def test_the_moments_of_an_order_are_those_at_which_it_is_pressed() -> None:
    for begin, end in ((1_000_000, 4_000_001), (0, 7_200_000_000)):
        one = pb.WorkOrder(order_id="wo-1", state=pb.ORDER_STATE_WAITING, opened_at=timestamp(begin), deadline=timestamp(end))
        state, told_at = orders.Order(one), list[int]()
        for moment in orders.moments(one.opened_at, one.deadline):
            assert orders.press(state, moment - 1) == []
            (event,) = orders.press(state, moment)
            state = orders.evolve(state, event)
            told_at.append(moment)
        assert told_at == sorted(told_at)
