"""Methods and timers of work orders and of components of the city."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import urban_service_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position
from google.protobuf.timestamp_pb2 import Timestamp

from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.ids import joined
from citybrain.mesh.kept import Kept
from citybrain.mesh.service import Clock, Paging, Service, Streams, View, every, new_id, rpc
from citybrain.services.urban import components, nearby, orders, views
from citybrain.services.urban.kinds import ORDER_HOURS

PAGE = 100


class OrderCalls(Service):
    """Work orders, and components that ask for them."""

    orders = Streams("order", orders.Order, orders.evolve, district=orders.district_of)
    components = Streams("component", components.State, components.evolve, district=components.district_of)
    open_orders = View(views.ORDER_EVENTS, views.order_key, views.open_order, row=Kept)
    to_remind = View(views.REMINDED_EVENTS, views.reminded_key, views.pressed, row=views.PressedRow)
    to_put_up = View(views.LATE_EVENTS, views.late_key, views.pressed, row=views.PressedRow)
    to_put_up_further = View(views.LATE_EVENTS, views.very_late_key, views.very_late, row=views.PressedRow)
    repairs = View(views.REPAIR_EVENTS, views.repair_key, views.repair, row=views.RepairRow)
    component_list = View(views.COMPONENT_EVENTS, views.component_key, views.component, row=Kept)
    components_there = View(views.THERE_EVENTS, views.there_key, views.there, row=views.ListedRow)
    components_broken = View(views.BROKEN_EVENTS, views.component_key, views.broken, row=views.ListedRow)
    component_counts = View(views.COUNTED_EVENTS, views.counted_key, views.counted, row=views.CountedRow)
    paging = Paging()
    clock = Clock()

    @rpc
    def RegisterComponent(self, request: parts.RegisterComponentRequest) -> parts.RegisterComponentResponse:
        """Makes a component known, or changed."""
        now = self._now()
        return self.components.handle(
            request.component_id,
            lambda state: components.register(state, request, now),
            lambda after, _: parts.RegisterComponentResponse(component=after.component),
        )

    @rpc
    def ReportComponent(self, request: parts.ReportComponentRequest) -> parts.ReportComponentResponse:
        """Somebody has seen it. Where something is wrong with it, work is to be done."""
        now, order_id = self._now(), new_id("wo")
        after, done = self.components.handle(
            request.component_id,
            lambda state: components.report(state, request, order_id, now),
            lambda after, events: (components.existing(after, request.component_id), components.done_orders(events)),
        )
        for ended in done:
            self._finish(ended, "it was seen intact")
        if after.order_id == order_id:
            state = parts.ComponentState.Name(after.state).removeprefix("COMPONENT_STATE_").lower()
            task = f"{after.name} is {state}: {request.note}" if request.note else f"{after.name} is {state}"
            self._open(order_id, "component", after.component_id, after.position, after.district_id, task)
        return parts.ReportComponentResponse(component=after)

    @rpc
    def GetComponent(self, request: parts.GetComponentRequest) -> parts.GetComponentResponse:
        """A component."""
        found = components.existing(self.components.load(request.component_id), request.component_id)
        return parts.GetComponentResponse(component=found)

    @rpc
    def ListComponents(self, request: parts.ListComponentsRequest) -> parts.ListComponentsResponse:
        """By id, in pages."""

        def rows(after: tuple[int | str, ...] | None) -> Iterable[parts.Component]:
            last = str(after[0]) if after else ""
            return (one for one in self._components(request, last) if request.state in (0, one.state))

        page, more = self.paging.ordered(request, rows, lambda one: (one.component_id,), default=100)
        return parts.ListComponentsResponse(components=page, next_page_token=more)

    def _components(self, request: parts.ListComponentsRequest, last: str) -> Iterator[parts.Component]:
        """Those after an id, of the shortest list that has all that are asked for."""
        prefix, view = "", self.component_list
        if request.state in (parts.COMPONENT_STATE_DAMAGED, parts.COMPONENT_STATE_LOST):
            view = self.components_broken
        elif request.district_id:
            prefix, view = views.overdue_prefix(request.district_id), self.components_there
            last = joined(request.district_id, last) if last else prefix
        while page := view.scan(last, PAGE):
            for last, listed in page:
                if not last.startswith(prefix):
                    return
                row = listed if isinstance(listed, Kept) else self.component_list.get(listed.id)
                one = None if row is None else views.component_of(row)
                if one is not None and (view is not self.components_broken or request.district_id in ("", one.district_id)):
                    yield one

    # -- work orders ------------------------------------------------------------------------------------------------------

    @rpc
    def OpenWorkOrder(self, request: pb.OpenWorkOrderRequest) -> pb.OpenWorkOrderResponse:
        """Opens a work order."""
        orders.check_kind(request.kind)
        position = request.position if request.HasField("position") else None
        if position is not None:
            nearby.check(position, "position")
        order = self._open(new_id("wo"), request.kind, request.subject_id, position, request.district_id, request.task)
        return pb.OpenWorkOrderResponse(order=order)

    @rpc
    def AssignWorkOrder(self, request: pb.AssignWorkOrderRequest) -> pb.AssignWorkOrderResponse:
        """Gives it to a team."""
        return self.orders.handle(
            request.order_id,
            lambda state: orders.assign(state, request),
            lambda after, _: pb.AssignWorkOrderResponse(order=after.order),
        )

    @rpc
    def FinishWorkOrder(self, request: pb.FinishWorkOrderRequest) -> pb.FinishWorkOrderResponse:
        """Ends it. A component that it was for is intact again."""
        now = self._now()
        order = self.orders.handle(
            request.order_id,
            lambda state: orders.finish(state, request.order_id, request.outcome, now, void=request.void),
            lambda after, _: orders.existing(after, request.order_id),
        )
        if order.kind == "component":
            self.components.handle(
                order.subject_id,
                lambda state: components.mended(state, order.order_id, request.outcome, now),
                lambda _after, _: None,
            )
        return pb.FinishWorkOrderResponse(order=order)

    @rpc
    def GetWorkOrder(self, request: pb.GetWorkOrderRequest) -> pb.GetWorkOrderResponse:
        """A work order."""
        return pb.GetWorkOrderResponse(order=orders.existing(self.orders.load(request.order_id), request.order_id))

    @rpc
    def ListOverdueOrders(self, request: pb.ListOverdueOrdersRequest) -> pb.ListOverdueOrdersResponse:
        """Those of a district, the longest overdue first, in pages. Reads only the rows of its page."""
        now, prefix = self.clock.now(), views.overdue_prefix(request.district_id)

        def rows(after: tuple[int | str, ...] | None) -> Iterable[tuple[str, pb.WorkOrder]]:
            last = str(after[0]) if after else prefix
            while page := self.open_orders.scan(last, PAGE):
                for last, row in page:
                    order = views.order_of(row)
                    if not last.startswith(prefix) or microseconds(order.deadline) >= now:
                        return
                    yield last, order

        page, more = self.paging.ordered(request, rows, lambda found: (found[0],))
        return pb.ListOverdueOrdersResponse(orders=[order for _, order in page], next_page_token=more)

    @rpc
    def GetRepairTimes(self, request: pb.GetRepairTimesRequest) -> pb.GetRepairTimesResponse:
        """The mean time to repair, by kind of work."""
        prefix = views.overdue_prefix(request.district_id)
        rows = [row for key, row in self.repairs.scan(prefix, len(ORDER_HOURS)) if key.startswith(prefix)]
        return pb.GetRepairTimesResponse(
            times=[
                pb.RepairTime(kind=row.kind, done=row.done, in_time=row.in_time, mean_hours=row.seconds / row.done / 3600)
                for row in rows
            ]
        )

    @every(60)
    def press_orders(self) -> None:
        """Reminds of orders of which half of the time is over, and puts late ones to the next level. Reads only these."""
        now = self.clock.now()
        end = views.moment_key(now + 1)
        for view in (self.to_remind, self.to_put_up, self.to_put_up_further):
            last = ""
            while page := view.scan(last, PAGE):
                for last, row in page:
                    if last >= end:
                        break
                    self.orders.handle(row.id, lambda state: orders.press(state, now), lambda _after, _: None)
                if last >= end:
                    break

    # -- what other parts use ---------------------------------------------------------------------------------------------

    def _now(self) -> Timestamp:
        return timestamp(self.clock.now())

    def _open(
        self, order_id: str, kind: str, subject_id: str, position: Position | None, district_id: str, task: str,
        asked_by: str = "", since: Timestamp | None = None,
    ) -> pb.WorkOrder:  # fmt: skip
        """Opens a work order, once. `since`: from when on its time counts; not given: now."""
        now = since or self._now()
        return self.orders.handle(
            order_id,
            lambda state: orders.open_order(
                state, order_id, kind, subject_id, position, district_id, task[:500], now, asked_by
            ),
            lambda after, _: orders.existing(after, order_id),
        )

    def _finish(self, order_id: str, outcome: str) -> None:
        """Ends a work order that is open: the work is done."""
        now = self._now()
        # With a label: the same call may have opened it.
        self.orders.handle(order_id, lambda state: orders.done(state, outcome, now), lambda _after, _: None, label="done")

    def _void(self, order_id: str, reason: str) -> None:
        """Ends a work order that is open: what it was for is retracted."""
        now = self._now()
        self.orders.handle(order_id, lambda state: orders.void(state, reason, now), lambda _after, _: None)
