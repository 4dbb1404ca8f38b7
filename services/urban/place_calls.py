"""Everything that is known about a place."""

from __future__ import annotations

from collections.abc import Iterator

from citybrain.urban.v1 import components_pb2 as parts
from citybrain.urban.v1 import hotline_pb2 as hotline
from citybrain.urban.v1 import indices_pb2 as indices
from citybrain.urban.v1 import profile_pb2 as pb
from citybrain.urban.v1.places_pb2 import Position

from citybrain.mesh.events import timestamp
from citybrain.mesh.merging import straight_m
from citybrain.mesh.service import View, rpc
from citybrain.services.urban import nearby
from citybrain.services.urban import outlook_views as outlooks
from citybrain.services.urban import place_views as places
from citybrain.services.urban.hotline_calls import MILLIMETRES, Near
from citybrain.services.urban.views import component_of, going_on, silent_devices
from citybrain.services.urban.work_calls import WorkCalls

METRES = 100.0
THINGS, TICKETS, HAZARDS = 100, 50, 50
CHUNK = 200


class PlaceCalls(WorkCalls):
    """Profiles of places."""

    things = View(places.THING_EVENTS, places.thing_key, places.thing, row=places.ThingRow)

    @rpc
    def GetPlaceProfile(self, request: pb.GetPlaceProfileRequest) -> pb.GetPlaceProfileResponse:
        """What stands there and how it is, open tickets, and what comes again. Reads only cells of the grid that are near."""
        nearby.check(request.position, "position")
        at, metres = request.position, request.metres or METRES
        found = sorted(self._registered(at, metres), key=lambda one: (one[0], one[1].what, one[1].id))
        # Of the nearest it is asked where and how they are now: some may have been moved.
        things = [one for away, row in found[: 2 * THINGS] if (one := self._thing(row, away)) is not None]
        tickets = sorted(self._within(at, metres), key=lambda near: (near.millimetres, near.row.id))
        return pb.GetPlaceProfileResponse(
            things=things[:THINGS], more_things=len(found) > 2 * THINGS or len(things) > THINGS,
            tickets=[_ticket(one) for one in tickets[:TICKETS]], more_tickets=len(tickets) > TICKETS,
            hazards=self._hazards(at, metres),
        )  # fmt: skip

    def _registered(self, at: Position, metres: float) -> Iterator[tuple[float, places.ThingRow]]:
        """What was registered within so many metres."""
        for first, last in nearby.ranges(at.latitude, at.longitude, metres):
            key, end = first, f"{last}/"
            while page := self.things.scan(key, CHUNK):
                for key, row in page:
                    if key >= end:
                        break
                    away = straight_m((at.latitude, at.longitude), (row.latitude, row.longitude))
                    if away <= metres:
                        yield away, row
                if key >= end or len(page) < CHUNK:
                    break

    def _thing(self, row: places.ThingRow, away: float) -> pb.PlaceThing | None:
        """How it is now; None: it stands elsewhere now."""
        made = pb.PlaceThing(what=row.what, id=row.id, metres=away)
        match row.what:
            case "component":
                known = self.component_list.get(row.id)
                if known is None:
                    return None
                component = component_of(known)
                at = component.position
                made.kind, made.district_id = component.component_class, component.district_id
                made.state = parts.ComponentState.Name(component.state).removeprefix("COMPONENT_STATE_").lower()
            case "device":
                device = self.device_list.get(row.id)
                if device is None:
                    return None
                at = Position(latitude=device.latitude, longitude=device.longitude)
                made.kind, made.district_id = device.kind, device.district_id
                silent = row.id in self.silent_list.derived(silent_devices)
                made.state = "silent" if silent else "anomaly" if row.id in self.anomaly_list.derived(going_on) else "well"
            case "facility":
                facility = self.facilities.load(row.id).facility
                assert facility is not None
                at = facility.position
                made.kind, made.district_id = facility.kind, facility.district_id
                made.state = "closed" if facility.closed else "open"
            case _:
                lot, known_lot = self.lots.load(row.id).lot, self.lot_list.get(row.id)
                if lot is None or known_lot is None:
                    return None
                at = lot.position
                made.kind, made.district_id = "parking", lot.district_id
                made.state = outlooks.room(known_lot, self.clock.now())
        return made if (at.latitude, at.longitude) == (row.latitude, row.longitude) else None

    def _hazards(self, at: Position, metres: float) -> list[indices.Hazard]:
        """Those of this morning whose cells a circle touches."""
        ranges = nearby.ranges(at.latitude, at.longitude, metres)
        known = outlooks.hazards_of(self.forecasts.get("hazards")).hazards
        cells = [(one, nearby.cell(one.latitude, one.longitude)) for one in known]
        return [one for one, cell in cells if any(first <= cell <= last for first, last in ranges)][:HAZARDS]


def _ticket(near: Near) -> hotline.NearTicket:
    row = near.row
    return hotline.NearTicket(
        ticket_id=row.id, kind=row.kind, position=Position(latitude=row.latitude, longitude=row.longitude),
        district_id=row.district_id, opened_at=timestamp(row.opened), metres=near.millimetres / MILLIMETRES,
    )  # fmt: skip
