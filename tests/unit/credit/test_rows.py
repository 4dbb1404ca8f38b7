"""The row that a decision is made of: it stays small, however many records there are, and forgets what is over."""

from __future__ import annotations

from functools import reduce
from typing import Any

from citybrain.credit.v1 import credit_service_pb2 as pb
from citybrain.credit.v1 import events_pb2 as ev
from google.protobuf.message import Message

from citybrain.event_store.store import StoredEvent
from citybrain.mesh.events import Heard, timestamp
from citybrain.services.credit import views
from citybrain.services.credit.views import DAY, StandingRow

NOW = 20_000 * DAY


def record(number: int, day: int, days: int = 30, **more: Any) -> pb.Record:
    """A bad record of so many days that came on a day."""
    content: dict[str, Any] = {"kind": pb.RECORD_KIND_BAD, "dimension": pb.CREDIT_DIMENSION_SOCIAL, **more}
    return pb.Record(
        record_id=f"rec-{number}", weight=pb.RECORD_WEIGHT_MINOR, recorded_at=timestamp(NOW + day * DAY),
        until=timestamp(NOW + (day + days) * DAY), **content,
    )  # fmt: skip


def row_of(*events: Message) -> StandingRow:
    stored = StoredEvent("e", "t", b"", 1, "", "", "", "", "", 0, "credit/subject-x", 1, 0, 1)
    row = reduce(lambda row, event: views.standing(row, Heard(event, stored)), events, None)
    assert row is not None
    return row


def test_a_thousand_records_of_one_sort_take_no_more_room_than_their_ends() -> None:
    row = row_of(*(ev.RecordAdded(kind=pb.SUBJECT_KIND_FIRM, record=record(number, 0)) for number in range(1000)))
    assert row.bad == {"3/1": {str(NOW + 30 * DAY): 1000}} and row.new_bad == {"20000": 1000}


def test_what_is_over_is_forgotten_when_something_new_comes() -> None:
    old, new = record(1, 0, days=5), record(2, 5, days=5)
    row = row_of(ev.RecordAdded(record=old), ev.RecordAdded(record=new))
    assert row.bad == {"3/1": {str(NOW + 10 * DAY): 1}}
    # A record that is over may still be withdrawn: nothing is taken away for it.
    assert row_of(ev.RecordAdded(record=old), ev.RecordAdded(record=new), ev.RecordWithdrawn(record=old)).bad == row.bad


def test_on_which_days_bad_records_came_is_kept_for_sixty_days() -> None:
    days = [0, 1, 59, 60, 61]
    row = row_of(*(ev.RecordAdded(record=record(day, day, days=365)) for day in days))
    assert sorted(int(day) - 20_000 for day in row.new_bad) == [59, 60, 61]
    # What is taken back is taken back from its day.
    gone = row_of(
        ev.RecordAdded(record=record(1, 0, days=365)),
        ev.RecordAdded(record=record(2, 1, days=365)),
        ev.RecordWithdrawn(record=record(1, 0, days=365)),
    )
    assert gone.new_bad == {"20001": 1}
    # Also where others came long after it.
    late = row_of(
        ev.RecordAdded(record=record(1, 0, days=365)),
        ev.RecordAdded(record=record(2, 90, days=365)),
        ev.RecordWithdrawn(record=record(1, 0, days=365)),
    )
    assert late.new_bad == {"20090": 1}


def test_a_sanction_that_is_over_is_forgotten_when_another_comes() -> None:
    def imposed(name: str, since: int, until: int) -> ev.SanctionImposed:
        sanction = pb.Sanction(sanction_id=name, since=timestamp(NOW + since * DAY), until=timestamp(NOW + until * DAY))
        return ev.SanctionImposed(sanction=sanction)

    begun = ev.SubjectRegistered(kind=pb.SUBJECT_KIND_FIRM, district_id="west", sector="C")
    assert set(row_of(begun, imposed("a", 0, 5), imposed("b", 4, 9)).sanctions) == {"a", "b"}
    assert set(row_of(begun, imposed("a", 0, 5), imposed("b", 5, 9)).sanctions) == {"b"}


def test_good_records_have_no_day_and_may_have_no_end() -> None:
    honour = pb.Record(record_id="rec-1", kind=pb.RECORD_KIND_GOOD, dimension=pb.CREDIT_DIMENSION_PUBLIC_GOOD)
    row = row_of(ev.RecordAdded(record=honour))
    assert (row.good, row.bad, row.new_bad) == ({"2/0": {"0": 1}}, {}, {})


def test_of_records_of_one_sort_it_is_told_when_the_last_ends_and_never_where_one_has_no_end() -> None:
    ends = {"2/1": {str(NOW + 5): 2, str(NOW + 9): 1, str(NOW): 7}}
    assert list(views.standing_counts(ends, NOW)) == [(2, 1, 3, NOW + 9)]
    assert list(views.standing_counts({"2/1": {**ends["2/1"], "0": 1}}, NOW)) == [(2, 1, 4, 0)]
    assert list(views.standing_counts(ends, NOW + 9)) == []
