"""How many seats the hotline needs on a day, by the calls of the same weekday in the weeks before. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

from citybrain.urban.v1 import events_pb2 as ev
from citybrain.urban.v1 import hotline_pb2 as pb
from google.protobuf.message import Message

from citybrain.mesh.events import microseconds, timestamp
from citybrain.services.urban import erlang_c

HANGZHOU = timezone(timedelta(hours=8))
HALF_HOUR_S = 1800
WEEKS = 4
CALL_S, PERCENT, WITHIN_S = 180, 80, 20
MICROSECONDS = 1_000_000


def uncounted() -> int:
    """The calls of half an hour that nobody has counted."""
    return -1


def evolve(calls: int, event: Message) -> int:
    """The newest count."""
    return event.calls if isinstance(event, ev.CallsCounted) else calls


def half_hours(day: int) -> list[int]:
    """The beginnings of the half hours of the day of Hangzhou in which a moment lies (microseconds)."""
    here = datetime.fromtimestamp(day // MICROSECONDS, UTC).astimezone(HANGZHOU)
    begin = int(here.replace(hour=0, minute=0, second=0, microsecond=0).timestamp())
    return [(begin + n * HALF_HOUR_S) * MICROSECONDS for n in range(48)]


def plan(request: pb.PlanSeatsRequest, counts: Mapping[int, int]) -> pb.PlanSeatsResponse:
    """The seats of each half hour. `counts`: the beginning of a half hour (microseconds) → its calls.

    Where no count is known for a half hour in any of the weeks, none is invented.
    """
    call_s, within_s = request.call_s or CALL_S, request.within_s or WITHIN_S
    answer = pb.PlanSeatsResponse()
    for start in half_hours(microseconds(request.day)):
        week = 7 * 86_400 * MICROSECONDS
        known = [counts[start - n * week] for n in range(1, WEEKS + 1) if start - n * week in counts]
        one = answer.half_hours.add(start=timestamp(start), days=len(known))
        if not known:
            continue
        answer.known += 1
        one.calls = sum(known) / len(known)
        erlangs = erlang_c.load(one.calls, call_s, HALF_HOUR_S)
        one.seats = erlang_c.seats_needed(erlangs, call_s, within_s, (request.percent or PERCENT) / 100)
        one.service_level = erlang_c.service_level(erlangs, one.seats, call_s, within_s) if one.seats else 1.0
        one.mean_wait_s = erlang_c.mean_wait_s(erlangs, one.seats, call_s) if one.seats else 0.0
    return answer
