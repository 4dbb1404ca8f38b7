"""Tickets of the hotline while the service runs."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import hotline_pb2 as pb
from citybrain.urban.v1 import urban_service_pb2 as orders
from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.errors import BadRequest, Forbidden, NotFound, Refused
from citybrain.mesh.events import timestamp
from citybrain.mesh.merging import Board
from citybrain.mesh.testing import Running, running
from citybrain.services.urban import nearby, tickets
from citybrain.services.urban.hotline_table import KINDS
from citybrain.services.urban.service import UrbanService
from tests.unit.urban.conftest import told
from tests.unit.urban.test_orders import got

PHONE, NAME, TEXT = "+8613800002222", "李秀英", "路灯不亮，李家门口"
METRE = 1 / 111_195


def call(
    urban: Running, text: str = TEXT, north_m: float = 0, how: dict[str, Any] | None = None, **more: Any
) -> pb.TakeCallResponse:
    asked: dict[str, Any] = {"channel": "phone", "district_id": "xihu", **more}
    asked.setdefault("position", Position(latitude=30.25 + north_m * METRE, longitude=120.15))
    answer: pb.TakeCallResponse = urban.fire("TakeCall", pb.TakeCallRequest(text=text, **asked), **(how or {}))
    return answer


def ticket(urban: Running, ticket_id: str, **how: Any) -> pb.GetTicketResponse:
    found: pb.GetTicketResponse = urban.fire("GetTicket", pb.GetTicketRequest(ticket_id=ticket_id), **how)
    return found


def answer(urban: Running, ticket_id: str) -> pb.Ticket:
    request = pb.AnswerTicketRequest(ticket_id=ticket_id, answer="the lamp is exchanged")
    found: pb.Ticket = urban.fire("AnswerTicket", request).ticket
    return found


def test_a_call_is_classified_routed_and_has_a_work_order_with_a_deadline(urban: Running) -> None:
    taken = call(urban)
    one = taken.ticket
    assert (one.kind, one.department, list(one.words)) == ("lamp", "urban_management.roads", ["路灯", "灯不亮"])
    assert (one.district_id, one.calls, taken.merged, one.version) == ("xihu", 1, False, "urban-hotline-2")
    order = urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=one.order_id)).order
    assert (order.kind, order.subject_id) == ("lamp", one.ticket_id)


def test_calls_about_one_matter_are_one_ticket_also_across_cells_and_at_once(urban: Running) -> None:
    first = call(urban)
    urban.rest()
    assert call(urban, north_m=49).merged
    # A border of cells lies at 30.25 degrees.
    assert nearby.cell(30.25, 120.15) != nearby.cell(30.25 - 40 * METRE, 120.15)
    assert call(urban, north_m=-40).merged
    far = call(urban, north_m=51)
    assert not far.merged
    assert call(urban, "噪音扰民").ticket.ticket_id not in (first.ticket.ticket_id, far.ticket.ticket_id)
    found: list[str] = []
    at = Position(latitude=30.2, longitude=120.2)
    threads = [threading.Thread(target=lambda: found.append(call(urban, position=at).ticket.ticket_id)) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert (len(found), len(set(found))) == (6, 1)
    assert ticket(urban, found[0]).ticket.calls == 6


def test_a_call_after_a_week_is_another_matter(urban: Running) -> None:
    first = call(urban).ticket.ticket_id
    urban.advance(7 * 86_400 + 1)
    urban.rest()
    assert call(urban).ticket.ticket_id != first


def test_the_same_request_twice_is_one_call_also_when_the_ticket_is_answered_since(urban: Running) -> None:
    first = call(urban)
    urban.rest()
    joined = call(urban, how={"request_id": "r1"})
    urban.rest()
    answer(urban, first.ticket.ticket_id)
    urban.rest()
    call(urban)
    assert call(urban, how={"request_id": "r1"}) == joined
    assert len(told(urban, ev.CallTaken)) == 3


def test_a_ticket_that_is_answered_takes_no_call_and_the_next_opens_another(urban: Running) -> None:
    first = call(urban).ticket.ticket_id
    answered = answer(urban, first)
    assert answered.state == pb.TICKET_STATE_ANSWERED
    assert told(urban, ev.TicketAnswered)[0].in_time
    done = urban.fire("GetWorkOrder", orders.GetWorkOrderRequest(order_id=answered.order_id)).order
    assert done.state == orders.ORDER_STATE_DONE
    # Without waiting: neither board nor read model knows yet.
    second = call(urban)
    assert (second.merged, second.ticket.ticket_id != first) == (False, True)
    with pytest.raises(Refused, match="answered already"):
        answer(urban, first)


def test_an_answer_is_rated_once_and_whoever_is_not_content_opens_it_again(urban: Running) -> None:
    one = call(urban).ticket.ticket_id
    rate = pb.RateTicketRequest(ticket_id=one, stars=2)
    with pytest.raises(Refused, match="not answered"):
        urban.fire("RateTicket", rate)
    before = answer(urban, one).order_id
    assert urban.fire("RateTicket", rate).ticket.stars == 2
    with pytest.raises(Refused, match="rated already"):
        urban.fire("RateTicket", rate)
    again = urban.fire("ReopenTicket", pb.ReopenTicketRequest(ticket_id=one, reason="still dark")).ticket
    assert (again.state, again.reopened) == (pb.TICKET_STATE_OPEN, 1)
    assert again.order_id != before
    assert answer(urban, one).stars == 0
    urban.advance(30 * 86_400 + 1)
    with pytest.raises(Refused, match="30 days"):
        urban.fire("ReopenTicket", pb.ReopenTicketRequest(ticket_id=one, reason="dark"))


def test_a_person_routes_a_ticket_elsewhere(urban: Running) -> None:
    one = call(urban, "你好").ticket
    assert (one.kind, one.department) == ("other", "hotline.desk")
    request = pb.RerouteTicketRequest(ticket_id=one.ticket_id, kind="dog", reason="the caller meant a dog")
    assert urban.fire("RerouteTicket", request).ticket.department == "urban_management.enforcement"
    request.kind = "cat"
    with pytest.raises(BadRequest, match="kind"):
        urban.fire("RerouteTicket", request)


def test_the_department_that_is_in_charge_after_all_has_the_work_order_since_somebody_waits(urban: Running) -> None:
    one = call(urban, "你好").ticket
    begun = got(urban, one.order_id).opened_at
    urban.advance(3600)
    request = pb.RerouteTicketRequest(ticket_id=one.ticket_id, kind="dog", reason="the caller meant a dog")
    after = urban.fire("RerouteTicket", request).ticket
    before, now = got(urban, one.order_id), got(urban, after.order_id)
    assert (before.state, before.outcome) == (
        orders.ORDER_STATE_VOID, "urban_management.enforcement is in charge now: the caller meant a dog"
    )  # fmt: skip
    assert (now.state, now.kind, now.opened_at) == (orders.ORDER_STATE_WAITING, KINDS["dog"].order, begun)
    answer(urban, one.ticket_id)
    assert got(urban, after.order_id).state == orders.ORDER_STATE_DONE
    # What is answered is only counted elsewhere.
    request.kind = "noise"
    assert urban.fire("RerouteTicket", request).ticket.order_id == after.order_id


def test_a_ticket_whose_work_order_was_never_opened_is_answered_all_the_same() -> None:
    opened = ev.TicketOpened(
        ticket_id="tic-00000000000a", kind="noise", department="urban", district_id="xihu", order_id="wo-00000000000a",
        opened_at=timestamp(1_700_000_000_000_000),
    )  # fmt: skip
    with running(UrbanService, tickets={"tic-00000000000a": [opened]}) as urban:
        answer(urban, "tic-00000000000a")
        order = got(urban, "wo-00000000000a")
        assert (order.state, order.opened_at) == (orders.ORDER_STATE_DONE, opened.opened_at)
        (answered,) = told(urban, ev.TicketAnswered)
        assert not answered.in_time


def near(urban: Running, **more: Any) -> pb.ListTicketsNearResponse:
    asked = pb.ListTicketsNearRequest(position=Position(latitude=30.25, longitude=120.15), metres=500, **more)
    found: pb.ListTicketsNearResponse = urban.fire("ListTicketsNear", asked)
    return found


def test_open_tickets_near_a_place_are_listed_nearest_first_in_pages(urban: Running) -> None:
    distances = [531, 0, 499, 120, 60, 260]
    ids = {metres: call(urban, "你好", metres).ticket.ticket_id for metres in distances}
    call(urban, "no place", position=None)
    urban.rest()
    page, found = near(urban, page_size=2), list[pb.NearTicket]()
    while True:
        found += page.tickets
        if not page.next_page_token:
            break
        page = near(urban, page_size=2, page_token=page.next_page_token)
    assert [one.ticket_id for one in found] == [ids[metres] for metres in sorted(distances)[:-1]]
    assert [one.metres for one in found] == pytest.approx([0, 60, 120, 260, 499], abs=0.1)
    answer(urban, ids[0])
    urban.rest()
    assert [one.ticket_id for one in near(urban, page_size=1).tickets] == [ids[60]]
    urban.fire("ReopenTicket", pb.ReopenTicketRequest(ticket_id=ids[0], reason="no"))
    urban.rest()
    assert [one.ticket_id for one in near(urban, page_size=1).tickets] == [ids[0]]


def test_a_text_of_100_000_characters_and_a_place_outside_the_city_are_refused_by_name(urban: Running) -> None:
    with pytest.raises(BadRequest, match="text"):
        call(urban, "x" * 100_000)
    for wrong in (Position(latitude=31.2, longitude=121.5), Position(latitude=30.25, longitude=12.015)):
        with pytest.raises(BadRequest, match=r"position: .* outside of the city"):
            call(urban, position=wrong)
        with pytest.raises(BadRequest, match=r"position: .* outside of the city"):
            urban.fire("ListTicketsNear", pb.ListTicketsNearRequest(position=wrong, metres=500))
    with pytest.raises(BadRequest, match="channel"):
        call(urban, channel="pigeon")
    assert told(urban, ev.TicketOpened) == []


def test_who_calls_is_sealed_and_in_no_key(urban: Running) -> None:
    taken = call(urban, caller=pb.Contact(name=NAME, phone=PHONE))
    found = ticket(urban, taken.ticket.ticket_id, scopes=["urban.read", "urban.personal"], clearance="RESTRICTED")
    assert found.calls[0].caller.phone == PHONE
    for event in urban.events(ev.CallTaken, ev.TicketOpened, ev.CallSorted, ev.WorkOrderOpened):
        stored = event.stored
        assert all(secret.encode() not in stored.data for secret in (PHONE, NAME))
        assert PHONE not in stored.stream


def test_who_is_bound_to_a_district_sees_no_ticket_of_another(urban: Running) -> None:
    one = call(urban, how={"district": "gongshu"}).ticket.ticket_id
    with pytest.raises(Forbidden):
        ticket(urban, one, district="gongshu")
    with pytest.raises(NotFound):
        ticket(urban, "tic-00000000000a")


def test_the_next_day_is_staffed_by_what_was_counted(urban: Running) -> None:
    begin = urban.advance() // 1_800_000_000 * 1_800_000_000
    for calls in (999, 200, 200):
        urban.fire("ReportCallCount", pb.ReportCallCountRequest(start=timestamp(begin), calls=calls))
    assert len(told(urban, ev.CallsCounted)) == 2
    urban.rest()
    plan = urban.fire("PlanSeats", pb.PlanSeatsRequest(day=timestamp(begin + 7 * 86_400_000_000)))
    (known,) = [one for one in plan.half_hours if one.days]
    assert (known.calls, known.seats, plan.known) == (200, 24, 1)
    with pytest.raises(BadRequest, match="half an hour"):
        urban.fire("ReportCallCount", pb.ReportCallCountRequest(start=timestamp(begin + 60_000_000), calls=1))


def test_a_call_is_sorted_once_and_a_board_forgets_what_no_call_can_join() -> None:
    def sorted_call(call_id: str, ticket_id: str, seconds: int) -> ev.CallSorted:
        position = Position(latitude=30.25, longitude=120.15)
        at = timestamp(seconds * 1_000_000)
        return ev.CallSorted(call_id=call_id, ticket_id=ticket_id, kind="noise", position=position, received_at=at)

    board = Board()
    for event in tickets.sort(board, sorted_call("c1", "t1", 0), ""):
        board = tickets.evolve_board(board, event)
    assert tickets.sort(board, sorted_call("c1", "t2", 10), "t9") == []
    (second,) = tickets.sort(board, sorted_call("c2", "t2", 10), "")
    assert isinstance(second, ev.CallSorted)
    assert second.ticket_id == "t1"
    (third,) = tickets.sort(board, sorted_call("c3", "t3", 240 * 60 + 1), "")
    board = tickets.evolve_board(board, third)
    assert [spot.incident_id for spot in board.spots.values()] == ["t3"]


def test_calls_that_nobody_has_sorted_are_not_taken_for_one_matter(urban: Running) -> None:
    first = call(urban, "你好")
    urban.rest()
    urban.advance(1)
    assert call(urban, "请问").ticket.ticket_id != first.ticket.ticket_id
