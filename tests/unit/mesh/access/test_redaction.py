"""What a caller gets to see: nothing above their clearance, nothing personal without its scope, nothing of another district."""

from __future__ import annotations

from typing import Any

import pytest
from citybrain.events.v1.event_pb2 import Event
from citybrain.probe.v1 import guarded_pb2 as pb
from citybrain.roads.v1.roads_pb2 import Route
from google.protobuf.any_pb2 import Any as PackedAny
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.access.principal import EVERYTHING, Principal
from citybrain.mesh.access.redaction import Touched, may_hide, shown
from citybrain.mesh.errors import Forbidden

PUBLIC, INTERNAL, RESTRICTED, SECRET = 1, 2, 3, 4


def who(clearance: int, *scopes: str, district: str = "") -> Principal:
    return Principal("somebody", scopes=frozenset(scopes), clearance=clearance, district=district)


def see(message: pb.ShowResponse, caller: Principal) -> pb.ShowResponse:
    answer = shown(message, caller, Touched())
    assert isinstance(answer, pb.ShowResponse)
    return answer


def packed(message: Message) -> PackedAny:
    found = PackedAny()
    found.Pack(message, deterministic=True)
    return found


THING = pb.Thing(district_id="xihu", person_id="per-1", phone="+86138", phones=["+86139"])
WITHOUT = pb.Thing(district_id="xihu", person_id="per-1")


def test_a_field_above_the_clearance_is_left_out_and_the_answer_of_the_service_stays_whole() -> None:
    whole = pb.ShowResponse(open="o", restricted="r", secrets=[1, 2], chosen="c")
    assert see(whole, who(PUBLIC)) == pb.ShowResponse(open="o")
    assert see(whole, who(INTERNAL)) == pb.ShowResponse(open="o", chosen="c")
    assert see(whole, who(RESTRICTED)) == pb.ShowResponse(open="o", restricted="r", chosen="c")
    assert see(whole, who(SECRET)) == whole == pb.ShowResponse(open="o", restricted="r", secrets=[1, 2], chosen="c")


def test_a_message_above_the_clearance_is_left_out_wherever_it_stands() -> None:
    closed = pb.Closed(text="x")
    whole = pb.ShowResponse(open="o", closed=closed, many_closed=[closed, closed], packed=packed(closed))
    whole.inner.CopyFrom(pb.ShowResponse(closed=closed, open="inside"))
    assert see(whole, who(INTERNAL)) == pb.ShowResponse(open="o", inner=pb.ShowResponse(open="inside"))
    assert see(whole, who(RESTRICTED)) == whole


@pytest.mark.parametrize(
    ("caller", "sees"),
    [
        (who(RESTRICTED, "probe.personal"), True),
        (who(SECRET, EVERYTHING), True),
        (who(INTERNAL, "probe.personal"), False),
        (who(SECRET, "other.personal"), False),
        (who(SECRET), False),
    ],
)
def test_what_is_personal_needs_the_clearance_and_the_scope_of_its_contract(caller: Principal, sees: bool) -> None:
    whole = pb.ShowResponse(thing=THING, things=[THING], by_name={"a": THING}, packed=packed(THING))
    less = pb.ShowResponse(thing=WITHOUT, things=[WITHOUT], by_name={"a": WITHOUT}, packed=packed(WITHOUT))
    touched = Touched()
    assert shown(whole, caller, touched) == (whole if sees else less)
    assert touched.persons == ({"per-1"} if sees else set())
    assert touched.classification >= (RESTRICTED if sees else PUBLIC)


def test_a_caller_of_a_district_is_shown_nothing_of_another_in_lists_and_refused_one_thing_of_another() -> None:
    there = pb.Thing(district_id="gongshu")
    nowhere = pb.Thing(person_id="p")
    caller = who(PUBLIC, district="xihu")
    whole = pb.ShowResponse(things=[there, WITHOUT, nowhere, there], by_name={"a": there, "b": WITHOUT}, packed=packed(there))
    assert see(whole, caller) == pb.ShowResponse(things=[WITHOUT, nowhere], by_name={"b": WITHOUT})
    assert see(whole, who(PUBLIC)) == whole
    for one in (pb.ShowResponse(thing=there), pb.ShowResponse(inner=pb.ShowResponse(thing=there))):
        with pytest.raises(Forbidden, match="another district") as caught:
            see(one, caller)
        assert caught.value.reason == "OTHER_DISTRICT"


def test_events_are_shown_by_their_own_classification_and_district() -> None:
    events = [
        Event(id="1", classification="PUBLIC"),
        Event(id="2", classification="RESTRICTED"),
        Event(id="3", classification="INTERNAL", district="gongshu"),
        Event(id="4", classification="INTERNAL", district="xihu", data=packed(THING)),
        Event(id="5", classification="17"),
        Event(id="6"),
    ]
    caller = who(INTERNAL, "probe.personal", district="xihu")
    kept = see(pb.ShowResponse(events=events), caller).events
    assert [event.id for event in kept] == ["1", "4"]
    assert kept[1].data == packed(WITHOUT)
    assert len(see(pb.ShowResponse(events=events), who(SECRET)).events) == 6
    # An event whose classification cannot be read counts as the most closed one, for the audit too.
    touched = Touched()
    shown(pb.ShowResponse(events=events[4:5]), who(SECRET), touched)
    assert touched.sensitive


def test_what_no_contract_here_describes_is_for_the_highest_clearance_only() -> None:
    unknown = pb.ShowResponse(packed=PackedAny(type_url="type.googleapis.com/no.such.Type", value=b"x"))
    assert see(unknown, who(RESTRICTED, EVERYTHING)) == pb.ShowResponse()
    assert see(unknown, who(SECRET)) == unknown


def test_messages_in_which_nothing_is_marked_are_not_even_looked_at() -> None:
    marked: Any = pb.ShowResponse.DESCRIPTOR
    closed: Any = pb.Closed.DESCRIPTOR
    route: Any = Route.DESCRIPTOR
    message = Route()
    assert may_hide(marked) and may_hide(closed)
    assert not may_hide(route) and shown(message, who(PUBLIC), Touched()) is message


# -- any message, any caller ------------------------------------------------------------------------------------------------

THINGS = st.builds(
    pb.Thing, district_id=st.sampled_from(["", "xihu", "gongshu"]), person_id=st.just("per-1"), phone=st.text(max_size=3),
    phones=st.lists(st.text(max_size=3), max_size=2),
)  # fmt: skip
CLOSED = st.builds(pb.Closed, text=st.text(max_size=3))
ANY = st.one_of(THINGS, CLOSED).map(packed)
FLAT = st.builds(
    pb.ShowResponse, open=st.text(max_size=3), restricted=st.text(max_size=3), secrets=st.lists(st.integers(0, 9), max_size=2),
    things=st.lists(THINGS, max_size=3), by_name=st.dictionaries(st.text(max_size=2), THINGS, max_size=2), packed=ANY,
    many_closed=st.lists(CLOSED, max_size=2),
    events=st.lists(
        st.builds(
            Event, classification=st.sampled_from(["PUBLIC", "INTERNAL", "RESTRICTED", "SECRET", ""]),
            district=st.sampled_from(["", "xihu", "gongshu"]), data=ANY,
        ), max_size=3,
    ),
)  # fmt: skip


def below(message: Message) -> list[tuple[str, Any, Message]]:
    """Every set field of a message and of those inside it, as (full name, value, its message)."""
    found: list[tuple[str, Any, Message]] = []
    for field, value in message.ListFields():
        found.append((field.full_name, value, message))
        kind: Descriptor | None = field.message_type
        if kind is None:
            continue
        inner = list(value.values()) if kind.GetOptions().map_entry else list(value) if field.is_repeated else [value]
        for one in inner:
            if isinstance(one, PackedAny):
                opened = pb.Thing() if one.TypeName().endswith(".Thing") else pb.Closed()
                one.Unpack(opened)
                one = opened
            if isinstance(one, Message):
                found += [(one.DESCRIPTOR.full_name, None, one), *below(one)]
    return found


@given(FLAT, st.integers(1, 4), st.sampled_from(["", "probe.personal", EVERYTHING]), st.sampled_from(["", "xihu"]))
def test_nothing_that_is_hidden_from_a_caller_is_anywhere_in_what_they_get(
    whole: pb.ShowResponse, clearance: int, scope: str, district: str
) -> None:
    before = whole.SerializeToString(deterministic=True)
    caller = who(clearance, scope, district=district)
    answer = see(whole, caller)
    assert whole.SerializeToString(deterministic=True) == before
    prefix = "citybrain.probe.v1."
    for name, _, message in below(answer):
        assert clearance >= RESTRICTED or name not in (f"{prefix}ShowResponse.restricted", f"{prefix}Closed")
        assert clearance >= SECRET or name != f"{prefix}ShowResponse.secrets"
        personal = clearance >= RESTRICTED and scope in ("probe.personal", EVERYTHING)
        assert personal or name not in (f"{prefix}Thing.phone", f"{prefix}Thing.phones")
        if isinstance(message, pb.Thing) and district:
            assert message.district_id in ("", district)
        if isinstance(message, Event):
            assert {"PUBLIC": 1, "INTERNAL": 2, "RESTRICTED": 3}.get(message.classification, 4) <= clearance
            assert not district or message.district in ("", district)


@given(FLAT)
def test_who_may_see_everything_gets_everything(whole: pb.ShowResponse) -> None:
    assert see(whole, who(SECRET, EVERYTHING)) == whole
