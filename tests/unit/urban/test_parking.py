"""Parking: what a stay costs, how full a lot is told to be, and what is paid later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import parking_pb2 as pb
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.storage.state_packing import pack_state, unpack_state
from citybrain.mesh.testing import Running
from citybrain.services.urban import outlook_views as views
from citybrain.services.urban import parking
from citybrain.services.urban.parking_fee import fee
from tests.unit.urban.conftest import HERE, told

PRICE = {"free": 30, "unit": 30, "unit_fen": 250, "day_fen": 3000}
PLATE = "浙A12345"


@pytest.mark.parametrize(
    ("minutes", "fen"),
    [(0, 0), (30, 0), (31, 500), (60, 500), (61, 750), (360, 3000), (1440, 3000), (1441, 3250), (2880, 6000)],
)
def test_a_stay_costs_started_units_and_at_most_the_limit_of_each_day(minutes: int, fen: int) -> None:
    assert fee(minutes, **PRICE) == fen


def test_without_a_limit_a_day_costs_its_units() -> None:
    assert fee(1440, free=0, unit=60, unit_fen=100, day_fen=0) == 2400


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_who_stays_longer_pays_no_less(one: int, other: int) -> None:
    assert fee(min(one, other), **PRICE) <= fee(max(one, other), **PRICE)


def test_a_level_is_reached_at_its_value_and_left_five_per_cent_below() -> None:
    assert [parking.level(0, share) for share in (0.799, 0.8, 0.9, 1.0, 1.1)] == [0, 80, 90, 100, 100]
    assert [parking.level(90, share) for share in (0.899, 0.85, 0.849, 0.75, 0.749)] == [90, 90, 80, 80, 0]
    assert parking.level(100, 0.96) == 100
    level, changes = 0, 0
    for share in [0.899, 0.901] * 50:
        after = parking.level(level, share)
        changes += after != level
        level = after
    assert (level, changes) == (90, 2)


def lot(urban: Running, bays: int = 10, **more: Any) -> pb.ParkingLot:
    price = pb.ParkingPrice(free_minutes=30, unit_minutes=30, unit_fen=250, day_fen=3000)
    request = pb.RegisterParkingRequest(
        lot_id="p1", name="湖滨", bays=bays, price=price, position=HERE, district_id="xihu", **more
    )
    found: pb.ParkingLot = urban.fire("RegisterParking", request).lot
    return found


def come(urban: Running, visit: str) -> pb.ParkingLot:
    found: pb.ParkingLot = urban.fire("ReportArrival", pb.ReportArrivalRequest(lot_id="p1", visit_id=visit)).lot
    return found


def go(urban: Running, visit: str, plate: str = "") -> pb.ReportDepartureResponse:
    request = pb.ReportDepartureRequest(lot_id="p1", visit_id=visit, plate=plate)
    answer: pb.ReportDepartureResponse = urban.fire("ReportDeparture", request)
    return answer


def test_a_lot_that_fills_and_empties_tells_its_levels_without_flapping(urban: Running) -> None:
    lot(urban)
    for n in range(10):
        come(urban, f"v{n}")
    assert [one.new_level for one in told(urban, ev.ParkingLevelChanged)] == [80, 90, 100]
    for _ in range(5):
        go(urban, f"v{_}")
        come(urban, f"w{_}")
    assert len(told(urban, ev.ParkingLevelChanged)) == 3 + 2 * 5
    shown = urban.fire("GetParking", pb.GetParkingRequest(lot_id="p1")).lot
    assert (shown.occupied, shown.level, shown.arrivals_today, shown.turnover_today) == (10, 100, 15, 1.5)


def test_a_large_lot_at_the_border_of_a_level_tells_it_once(urban: Running) -> None:
    lot(urban, bays=1000)
    for occupied in (899, 901) * 5:
        urban.fire("CountParked", pb.CountParkedRequest(lot_id="p1", occupied=occupied))
    assert [one.new_level for one in told(urban, ev.ParkingLevelChanged)] == [80, 90]


def test_a_car_that_is_reported_twice_counts_once(urban: Running) -> None:
    lot(urban)
    assert [come(urban, "v1").occupied for _ in range(2)] == [1, 1]
    urban.advance(31 * 60)
    first = go(urban, "v1", PLATE)
    assert (first.fen, first.lot.occupied, first.bill_id != "") == (500, 0, True)
    assert go(urban, "v1", PLATE) == first
    assert come(urban, "v1").occupied == 0
    assert len(told(urban, ev.ParkingBillOpened)) == 1


def test_who_leaves_then_pays_is_billed_and_after_ten_days_it_is_told_once(urban: Running) -> None:
    lot(urban)
    bills = []
    for visit in ("v1", "v2"):
        come(urban, visit)
    urban.advance(3600)
    bills = [go(urban, visit, PLATE).bill_id for visit in ("v1", "v2")]
    with pytest.raises(BadRequest, match="fen"):
        urban.fire("PayParking", pb.PayParkingRequest(bill_id=bills[0], fen=1))
    for _ in range(2):
        assert urban.fire("PayParking", pb.PayParkingRequest(bill_id=bills[0], fen=500)).paid
    assert [one.in_time for one in told(urban, ev.ParkingBillPaid)] == [True]
    with pytest.raises(NotFound):
        urban.fire("PayParking", pb.PayParkingRequest(bill_id="bill-00000000000a", fen=1))
    urban.rest()
    urban.advance(9 * 86_400)
    urban.fire("remind_of_bills")
    assert told(urban, ev.ParkingBillOverdue) == []
    urban.advance(2 * 86_400)
    urban.rest()
    assert [one.bill_id for one in told(urban, ev.ParkingBillOverdue)] == [bills[1]]
    urban.fire("PayParking", pb.PayParkingRequest(bill_id=bills[1], fen=500))
    assert [one.in_time for one in told(urban, ev.ParkingBillPaid)] == [True, False]


def test_a_number_plate_is_sealed_and_two_cars_of_one_plate_are_one_payer(urban: Running) -> None:
    lot(urban)
    for visit in ("v1", "v2"):
        come(urban, visit)
    urban.advance(3600)
    for visit in ("v1", "v2"):
        go(urban, visit, PLATE)
    events = urban.events(ev.ParkingBillOpened)
    assert all(PLATE.encode() not in event.stored.data for event in events)
    assert len({one.payer_id for one in told(urban, ev.ParkingBillOpened)}) == 1


def test_what_cannot_be_is_refused(urban: Running) -> None:
    with pytest.raises(NotFound):
        come(urban, "v1")
    lot(urban)
    with pytest.raises(Refused, match="by hand"):
        go(urban, "v9", PLATE)
    with pytest.raises(BadRequest, match="occupied"):
        urban.fire("CountParked", pb.CountParkedRequest(lot_id="p1", occupied=11))
    with pytest.raises(BadRequest, match="visit_id"):
        come(urban, PLATE)


def test_a_count_replaces_what_was_known_and_an_unknown_car_leaves_one_of_those(urban: Running) -> None:
    lot(urban)
    come(urban, "v1")
    urban.fire("CountParked", pb.CountParkedRequest(lot_id="p1", occupied=5))
    assert go(urban, "unknown").lot.occupied == 4
    assert go(urban, "v1").lot.occupied == 3


def test_more_cars_that_leave_than_were_counted_hide_none_that_come_later(urban: Running) -> None:
    lot(urban)
    for n in range(5):
        come(urban, f"v{n}")
    urban.fire("CountParked", pb.CountParkedRequest(lot_id="p1", occupied=3))
    assert [go(urban, f"v{n}").lot.occupied for n in range(5)] == [2, 1, 0, 0, 0]
    assert come(urban, "w1").occupied == 1
    urban.rest()
    assert urban.row("lot_list", "p1").occupied == 1


def test_a_car_that_nobody_saw_come_takes_none_of_those_that_did(urban: Running) -> None:
    lot(urban)
    come(urban, "v1")
    assert go(urban, "unknown").lot.occupied == 1
    urban.rest()
    assert urban.row("lot_list", "p1").occupied == 1


def test_cars_that_are_never_said_to_leave_are_forgotten_one_by_one_and_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MOST_INSIDE", 5)
    state = parking.Lot(pb.ParkingLot(lot_id="p1", bays=10, price=pb.ParkingPrice(unit_minutes=30)))
    for n in range(21):
        state = parking.evolve(state, ev.CarArrived(lot_id="p1", visit_id=f"v{n}"))
        assert len(state.inside) <= 10
    assert parking.occupied(state) == 21


def test_lots_are_listed_and_those_with_a_free_bay_alone(urban: Running) -> None:
    price = pb.ParkingPrice(free_minutes=30, unit_minutes=30, unit_fen=250)
    for lot_id, bays, district_id in (("p3", 1, "xihu"), ("p1", 1, "xihu"), ("p2", 2, "gongshu"), ("p4", 9, "xihu")):
        urban.fire(
            "RegisterParking",
            pb.RegisterParkingRequest(lot_id=lot_id, name="x", bays=bays, price=price, position=HERE, district_id=district_id),
        )
    for lot_id, occupied in (("p1", 0), ("p2", 1), ("p3", 1)):
        urban.fire("CountParked", pb.CountParkedRequest(lot_id=lot_id, occupied=occupied))
    urban.rest()

    def listed(**more: Any) -> list[str]:
        found, asked = list[str](), pb.ListParkingRequest(page_size=1, **more)
        while True:
            page = urban.fire("ListParking", asked)
            found += [one.lot_id for one in page.lots]
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token

    assert (listed(), listed(district_id="xihu"), listed(free=True)) == (
        ["p1", "p2", "p3", "p4"], ["p1", "p3", "p4"], ["p1", "p2"],
    )  # fmt: skip
    shown = urban.fire("ListParking", pb.ListParkingRequest(district_id="gongshu")).lots[0]
    assert (shown.occupied, shown.price.unit_fen) == (1, 250)
    urban.advance(25 * 3600)
    assert listed(free=True) == [], "nothing is known of them any more"


def test_the_turnover_of_days_says_how_often_how_long_and_for_how_much(urban: Running) -> None:
    lot(urban)
    urban.advance(8 * 3600)
    for visit in ("v1", "v2", "v3"):
        come(urban, visit)
    urban.advance(31 * 60)
    go(urban, "v1")
    urban.advance(31 * 60)
    go(urban, "v2", PLATE)
    go(urban, "unknown")
    urban.advance(2 * 86_400)
    come(urban, "v4")
    price = pb.ParkingPrice(unit_minutes=30)
    other = pb.RegisterParkingRequest(lot_id="p2", name="x", bays=1, price=price, position=HERE, district_id="xihu")
    urban.fire("RegisterParking", other)
    urban.fire("ReportArrival", pb.ReportArrivalRequest(lot_id="p2", visit_id="v5"))
    urban.rest()
    answer = urban.fire("GetTurnover", pb.GetTurnoverRequest(lot_id="p1"))
    first, last = answer.days
    assert (first.arrivals, first.turnover, first.stays, first.mean_minutes, first.fen) == (3, 0.3, 2, 46.5, 1250)
    assert (last.arrivals, last.stays, last.day.seconds - first.day.seconds, answer.bays) == (1, 0, 2 * 86_400, 10)
    assert len(urban.fire("GetTurnover", pb.GetTurnoverRequest(lot_id="p1", days=1)).days) == 1


def test_a_bill_is_open_then_overdue_and_paid_late_and_shows_no_number_plate(urban: Running) -> None:
    lot(urban)
    come(urban, "v1")
    urban.advance(3600)
    bill_id = go(urban, "v1", PLATE).bill_id

    def bill() -> pb.ParkingBill:
        found: pb.ParkingBill = urban.fire("GetParkingBill", pb.GetParkingBillRequest(bill_id=bill_id)).bill
        return found

    assert (bill().state, bill().fen, bill().due_at.seconds - bill().opened_at.seconds) == (pb.BILL_STATE_OPEN, 500, 864_000)
    assert PLATE not in str(bill())
    urban.rest()
    urban.advance(11 * 86_400)
    urban.rest()
    assert bill().state == pb.BILL_STATE_OVERDUE
    urban.fire("PayParking", pb.PayParkingRequest(bill_id=bill_id, fen=500))
    assert (bill().state, bill().paid_late) == (pb.BILL_STATE_PAID, True)
    with pytest.raises(NotFound):
        urban.fire("GetParkingBill", pb.GetParkingBillRequest(bill_id="bill-00000000000a"))


# -- nobody is let in ---------------------------------------------------------------------------------------------------------


def close_entry(urban: Running, key: str, *lots: str) -> list[bool]:
    request = pb.CloseParkingEntryRequest(closure_id=key, lot_ids=lots or ("p1",), reason="the lake is full")
    closed = [one.entry_closed for one in urban.fire("CloseParkingEntry", request).lots]
    urban.rest()
    return closed


def open_entry(urban: Running, key: str) -> list[bool]:
    request = pb.OpenParkingEntryRequest(closure_id=key, lot_ids=["p1"], reason="there is room")
    opened = [one.entry_closed for one in urban.fire("OpenParkingEntry", request).lots]
    urban.rest()
    return opened


def with_room(urban: Running) -> list[str]:
    return [one.lot_id for one in urban.fire("ListParking", pb.ListParkingRequest(free=True)).lots]


def test_an_entry_that_is_closed_is_shown_to_nobody_as_free_until_the_last_closure_is_over(urban: Running) -> None:
    lot(urban)
    come(urban, "v1")
    urban.rest()
    assert with_room(urban) == ["p1"]
    assert close_entry(urban, "c1") == close_entry(urban, "c1") == close_entry(urban, "c2") == [True]
    assert with_room(urban) == []
    assert go(urban, "v1").lot.occupied == 0, "who is inside leaves as before"
    assert (open_entry(urban, "c1"), with_room(urban)) == ([True], [])
    assert (open_entry(urban, "c2"), with_room(urban)) == ([False], ["p1"])
    assert open_entry(urban, "c2") == [False]
    assert (len(told(urban, ev.ParkingEntryClosed)), len(told(urban, ev.ParkingEntryOpened))) == (2, 2)


def test_a_closure_that_was_ended_before_it_came_is_refused_and_one_of_an_unknown_lot_closes_none(urban: Running) -> None:
    lot(urban)
    assert open_entry(urban, "c1") == [False]
    with pytest.raises(Refused, match="was ended before it came"):
        close_entry(urban, "c1")
    with pytest.raises(NotFound, match="there is no parking lot p9"):
        close_entry(urban, "c2", "p1", "p9")
    assert told(urban, ev.ParkingEntryClosed) == []


def test_what_is_known_of_a_place_says_that_its_parking_lot_is_closed() -> None:
    row = views.LotRow("p1", "xihu", 10, 3, 1)
    assert [views.room(one, 1) for one in (row, replace(row, closed=True))] == ["free", "closed"]


def test_an_entry_stays_closed_when_the_lot_is_taken_up_again() -> None:
    state = parking.evolve(parking.Lot(), ev.ParkingEntryClosed(lot_id="p1", closure_id="c1", reason="full"))
    state = parking.evolve(state, ev.ParkingEntryOpened(lot_id="p1", closure_id="c0"))
    assert unpack_state(parking.Lot, pack_state(state)) == state
    assert (dict(state.closed), list(state.opened)) == ({"c1": "full"}, ["c0"])
