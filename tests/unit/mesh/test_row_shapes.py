"""Rows come back as they were, old ones are read by a newer shape as far as it says how, and what cannot be read is told."""

from __future__ import annotations

import enum
import json
import math
from dataclasses import asdict, dataclass, field, make_dataclass
from typing import Any, Literal, NamedTuple

import pytest
from citybrain.probe.v1 import events_pb2 as ev
from hypothesis import given
from hypothesis import strategies as st

from citybrain.event_store.read_models import Row, row_text
from citybrain.mesh.providers.rows import NotOfShape, RowShape
from citybrain.mesh.service import View


class Colour(enum.Enum):
    """Of a signal."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class Stop:
    """A place on a way."""

    edge_id: str
    position_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Way:
    """Everything that a row may hold."""

    name: str
    count: int
    length_m: float
    open: bool
    colour: Colour
    kind: Literal["road", "lane"]
    note: str | None
    number: int | float | str
    stops: tuple[Stop, ...]
    last: Stop | None
    span: tuple[int, str]
    names: list[str]
    keepers: dict[str, list[Stop]]
    other: dict[str, Any] = field(default_factory=dict)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.floats(allow_nan=False)
stops = st.builds(Stop, texts, numbers)
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts)
anything = st.recursive(plain, lambda one: st.lists(one, max_size=3) | st.dictionaries(texts, one, max_size=3), max_leaves=6)
keepers = st.dictionaries(texts, st.lists(stops, max_size=2), max_size=3)
ways = st.builds(
    Way, texts, st.integers(), numbers, st.booleans(), st.sampled_from(Colour), st.sampled_from(["road", "lane"]),
    st.none() | texts, st.one_of(st.integers(), numbers, texts), st.lists(stops, max_size=3).map(tuple), st.none() | stops,
    st.tuples(st.integers(), texts), st.lists(texts, max_size=3), keepers, st.dictionaries(texts, anything, max_size=3),
)  # fmt: skip


@given(ways)
def test_a_row_is_kept_as_json_and_comes_back_as_it_was(way: Way) -> None:
    shape = RowShape(Way)
    kept = shape.encode(way)
    assert shape.decode(json.loads(row_text(kept))) == way


@given(st.dictionaries(texts, st.tuples(numbers, texts)))
def test_a_row_whose_names_are_data_is_a_dict_and_comes_back_as_it_was(row: dict[str, tuple[float, str]]) -> None:
    shape = RowShape(dict[str, tuple[float, str]])
    assert shape.decode(json.loads(row_text(shape.encode(row)))) == row


@dataclass(frozen=True, slots=True)
class Newer:
    """As the code has a stop now: with something added, and something gone."""

    edge_id: str
    lane: int = 1
    keepers: dict[str, str] = field(default_factory=dict)
    stop: Stop | None = None


def test_an_old_row_is_read_where_what_it_lacks_has_a_default_and_what_it_has_too_much_is_left_out() -> None:
    assert RowShape(Newer).decode({"edge_id": "e1", "position_m": 5.0}) == Newer("e1")
    nested = {"edge_id": "e1", "stop": {"edge_id": "e2", "gone": True}}
    assert RowShape(Newer).decode(nested) == Newer("e1", stop=Stop("e2"))


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ({"lane": 2}, "it has no field edge_id, and edge_id has no default"),
        ({"edge_id": "e1", "stop": {}}, r"it has no field stop\.edge_id, and stop\.edge_id has no default"),
        ({"edge_id": 7}, "edge_id: input should be a valid string"),
        ({"edge_id": None}, "edge_id: input should be a valid string"),
        ({"edge_id": "e1", "lane": "2"}, "lane: input should be a valid integer"),
        ({"edge_id": "e1", "lane": True}, "lane: input should be a valid integer"),
        ({"edge_id": "e1", "lane": 1.5}, "lane: input should be a valid integer"),
        ({"edge_id": "e1", "keepers": []}, "keepers: input should be "),
        ({"edge_id": "e1", "keepers": {"a": 1}}, r"keepers\.a: input should be a valid string"),
    ],
)
def test_a_row_that_cannot_be_read_says_which_field_is_wrong_and_how(kept: Row, told: str) -> None:
    with pytest.raises(NotOfShape, match=f"^{told}"):
        RowShape(Newer).decode(kept)


def test_what_is_told_of_a_row_holds_nothing_of_what_stands_in_it() -> None:
    for kept in ({"edge_id": ["王芳"]}, {"edge_id": "e1", "lane": "王芳"}, {"edge_id": "e1", "stop": "王芳"}):
        with pytest.raises(NotOfShape) as caught:
            RowShape(Newer).decode(kept)
        assert "王芳" not in str(caught.value)


@pytest.mark.parametrize("row", [None, {"edge_id": "e1"}, Stop("e1"), Newer(None), Newer("e1", 1.5), Newer("e1", stop="e2")])  # type: ignore[arg-type]
def test_a_row_that_could_not_be_read_again_is_not_kept(row: Any) -> None:
    with pytest.raises(NotOfShape):
        RowShape(Newer).encode(row)


@dataclass(frozen=True, slots=True)
class Loose:
    """A row that says little of what is in it."""

    number: float = 0.0
    other: Any = None


@pytest.mark.parametrize("row", [Loose(float("nan")), Loose(other=(1, 2)), Loose(other={1: "a"}), Loose(other=float("inf"))])
def test_what_would_come_back_otherwise_than_it_is_is_not_kept(row: Loose) -> None:
    with pytest.raises(NotOfShape, match="that JSON does not give back"):
        RowShape(Loose).encode(row)


# -- what can be a row ------------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    """Of two things."""

    one: int


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (str, "cannot be a row of a view"),
        (list[str], "cannot be a row of a view"),
        (Pair, "cannot be a row of a view"),
        (make_dataclass("Open", [("a", int)]), "Open is in rows of a view: make it @dataclass"),
        (make_dataclass("R", [("a", make_dataclass("Inner", [("b", int)]))], frozen=True), "Inner is in rows"),
        (make_dataclass("R", [("a", bytes)], frozen=True), "bytes is in rows of a view"),
        (make_dataclass("R", [("a", set[str])], frozen=True), "set.* is in rows of a view"),
        (make_dataclass("R", [("a", dict[int, str])], frozen=True), "dict.* is in rows of a view"),
        (make_dataclass("R", [("a", list[ev.Written])], frozen=True), "Written is in rows of a view"),
        (make_dataclass("R", [("a", str | Colour)], frozen=True), "is in rows of a view"),
        (make_dataclass("R", [("a", Stop | Newer | None)], frozen=True), "is in rows of a view"),
    ],
)
def test_what_json_cannot_give_back_is_refused_when_the_view_is_defined(kind: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        View((ev.Written,), lambda event: "k", lambda row, event: row, row=kind)


@dataclass(frozen=True, slots=True)
class Reported:
    """Who has said something."""

    who: str
    said: str
    may: str | None = None


@pytest.mark.parametrize(
    ("personal", "told"),
    [
        ({"phone": "who"}, "names a field phone, and Reported has none"),
        ({"may": "person"}, "names a field person, and Reported has none"),
        ({"said": "who"}, "said of Reported is None when its person was erased"),
    ],
)
def test_what_is_personal_is_a_field_that_may_be_none_and_says_whose_it_is(personal: dict[str, str], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        View((ev.Told,), lambda event: "k", lambda row, event: row, row=Reported, personal=personal)


# -- the digest of a shape --------------------------------------------------------------------------------------------------


def made(*fields: Any, name: str = "R") -> str:
    return RowShape(make_dataclass(name, fields, frozen=True)).digest


def test_a_shape_is_the_same_while_names_types_and_defaults_are() -> None:
    plainly = made(("a", int), ("b", str | None, None), ("c", dict[str, int], field(default_factory=dict)))
    assert plainly == made(
        ("a", int), ("c", dict[str, int], field(default_factory=dict)), ("b", None | str, None), name="Renamed"
    ), "neither the order of fields nor the name of the class stands in a row"
    others = [
        made(("a", int), ("b", str | None, None)),
        made(("a", float), ("b", str | None, None), ("c", dict[str, int], field(default_factory=dict))),
        made(("a", int), ("b", str | None, ""), ("c", dict[str, int], field(default_factory=dict))),
        made(("a", int, 0), ("b", str | None, None), ("c", dict[str, int], field(default_factory=dict))),
        made(("a", int), ("b", str, ""), ("c", dict[str, int], field(default_factory=lambda: {"x": 1}))),
        made(("a", int), ("d", str | None, None), ("c", dict[str, int], field(default_factory=dict))),
    ]
    assert len({plainly, *others}) == 1 + len(others)


def test_what_a_row_holds_inside_is_of_its_shape() -> None:
    inner = make_dataclass("Inner", [("x", int)], frozen=True)
    wider = make_dataclass("Inner", [("x", int), ("y", int, 0)], frozen=True)
    assert made(("a", tuple[inner, ...])) != made(("a", tuple[wider, ...]))  # type: ignore[valid-type]
    assert made(("a", Colour)) != made(("a", enum.Enum("Colour", {"RED": "red"})))
    assert made(("a", Literal["x"])) != made(("a", Literal["x", "y"]))


# -- flat rows, which are turned quickly once their types are known -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flat:
    """A row of plain values only."""

    name: str
    count: int
    share: float
    open: bool = False
    note: str | None = None


def encoded(shape: RowShape[Flat], row: Flat) -> Row:
    """As a view does it."""
    found = shape.encode_all({"k": row, "none": None})
    assert found.pop("none", "gone") is None
    (kept,) = found.values()
    assert kept is not None
    return kept


def decoded(shape: RowShape[Flat], kept: Row) -> Flat:
    """As a view does it."""
    known = shape.known({"k": kept})
    return known["k"] if known else shape.decode(kept)


FLAT = RowShape(Flat)
FLATS = st.builds(Flat, texts, st.integers(), numbers.filter(math.isfinite), st.booleans(), st.none() | texts)


@given(st.lists(FLATS, min_size=1, max_size=8))
def test_a_flat_row_is_the_same_whether_its_types_were_seen_before_or_not(rows: list[Flat]) -> None:
    kept = [encoded(FLAT, row) for row in rows]
    for row, one in zip(rows, kept, strict=True):
        assert one == RowShape(Flat).encode(row) == asdict(row)
        assert decoded(FLAT, json.loads(row_text(one))) == RowShape(Flat).decode(one) == row


@pytest.mark.parametrize(
    "wrong",
    [
        Flat("a", 1, math.nan),
        Flat("\ud800", 1, 0.5),
        Flat("a", "1", 0.5),  # type: ignore[arg-type]
        Flat("a", 1, 0.5, note="\udfff"),
        Flat("a", 1, 0.5, open=None),  # type: ignore[arg-type]
    ],
)
def test_a_flat_row_that_json_does_not_give_back_is_refused_also_after_right_ones(wrong: Flat) -> None:
    shape = RowShape(Flat)
    for right in (Flat("a", 1, 0.5), Flat("湖", 1, 0.5, note="桥")):
        assert decoded(shape, encoded(shape, right)) == decoded(shape, encoded(shape, right)) == right
    with pytest.raises(NotOfShape):
        encoded(shape, wrong)


def test_kept_flat_rows_are_read_by_the_rules_also_after_right_ones() -> None:
    shape = RowShape(Flat)
    whole = encoded(shape, Flat("a", 1, 0.5, True))
    assert decoded(shape, {**whole, "more": 1}) == decoded(shape, whole) == Flat("a", 1, 0.5, True)
    assert decoded(shape, {"name": "a", "count": 1, "share": 0.5}) == Flat("a", 1, 0.5), "what is missing has its default"
    # JSON may write a whole number without a point, and a class may have a bool where it says int.
    for _ in range(2):
        assert type(decoded(shape, {**whole, "share": 2}).share) is float
        assert encoded(shape, Flat("a", True, math.inf, True)) == {**whole, "share": math.inf}
        assert type(encoded(shape, Flat("a", True, 0.5, True))["count"]) is int
    for wrong in ({"count": "1"}, {"count": True}, {"open": 1}, {"name": None}, {"note": 2}):
        with pytest.raises(NotOfShape):
            decoded(shape, {**whole, **wrong})
