"""What a district asks to hear."""

from __future__ import annotations

import hashlib

from citybrain.district_hub.v1 import district_hub_service_pb2 as pb
from citybrain.district_hub.v1 import events_pb2 as ev
from citybrain.personal.v1.personal_pb2 import PersonErased

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.events import microseconds, type_name
from citybrain.mesh.service import Follow

TOLD = (ev.DistrictNotified, ev.NoticeReminded, ev.NoticeEscalated, ev.NoticeAcknowledged, ev.NoticeWithdrawn)
"""What the city tells a district that asks for nothing else."""
NAMES = [type_name(one) for one in TOLD]


def subject(request: pb.SubscribeRequest) -> Follow:
    """The stream that a request asks for. BadRequest: what it asks for cannot be."""
    start, end = microseconds(request.from_time), microseconds(request.until_time)
    wrong: list[tuple[str, str]] = []
    if request.speed and not end:
        wrong.append(("speed", "is for a replay: give until_time too"))
    if end and request.from_now:
        wrong.append(("from_now", "is not for a replay: leave it out, or leave until_time out"))
    if end and start >= end:
        wrong.append(("until_time", "must come after from_time"))
    if wrong:
        raise BadRequest(wrong)
    types = list(request.event_types) or NAMES
    return Follow(
        purpose=_purpose(request),
        # An erased person concerns every district: one that holds a copy must act.
        types=dict.fromkeys([*types, type_name(PersonErased)]),
        district=request.district_id,
        highest=request.highest_classification,
        recorded_from=start,
        from_now=request.from_now,
        recorded_until=end,
        speed=request.speed,
    )


def _purpose(request: pb.SubscribeRequest) -> str:
    """A token of some types is no place among others: what was left out before would be missing."""
    if not request.event_types:
        return request.district_id
    chosen = hashlib.sha256("\n".join(sorted(request.event_types)).encode()).hexdigest()[:16]
    return f"{request.district_id} {chosen}"
