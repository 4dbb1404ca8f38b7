"""Messages in rows of read models come back exactly as they were."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.event_store.read_models import row_text
from citybrain.mesh.kept import Kept, packed, unpacked
from citybrain.mesh.providers.rows import RowShape


@dataclass(frozen=True, slots=True)
class Ordered:
    """A row with a message, and what it is ordered by."""

    at: int
    moment: str


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False)))
@settings(max_examples=30)
def test_a_row_gives_back_the_message_that_was_put_in(values: dict[str, float]) -> None:
    message = Struct()
    message.update(values)
    row, shape = Kept.of(message), RowShape(Kept)
    for _ in range(2):
        # The second time the shape knows such rows, and turns them quickly.
        (found,) = (shape.known({"a": shape.encode(row)}) or {"a": shape.decode(shape.encode(row))}).values()
        assert found == row and found.read(Struct) == message
    assert row_text(shape.encode(row)).isascii()


def test_a_field_that_only_a_newer_release_knows_is_not_lost() -> None:
    # Field 9 of a Timestamp, which has two.
    newer = Timestamp.FromString(Timestamp(seconds=7).SerializeToString() + b"\x48\x05")
    again = Kept.of(Kept.of(newer).read(Timestamp)).read(Timestamp)
    assert again.SerializeToString() == newer.SerializeToString() != Timestamp(seconds=7).SerializeToString()


def test_equal_messages_are_equal_rows_whatever_the_order_in_which_they_were_filled() -> None:
    one, other = Struct(), Struct()
    names = [f"n{n}" for n in range(20)]
    for name in names:
        one[name] = 1.0
    for name in reversed(names):
        other[name] = 1.0
    assert one == other and Kept.of(one) == Kept.of(other)


def test_what_is_read_can_be_changed_and_the_row_stays() -> None:
    row = Kept.of(Timestamp(seconds=7))
    row.read(Timestamp).seconds = 8
    assert row.read(Timestamp).seconds == 7


def test_beside_a_message_a_row_has_what_it_is_ordered_by() -> None:
    shape, row = RowShape(Ordered), Ordered(7, packed(Timestamp(seconds=7)))
    assert shape.decode(shape.encode(row)) == row
    assert unpacked(row.moment, Timestamp) == Timestamp(seconds=7)
