"""Messages made at random from their contracts, by their rules."""

from __future__ import annotations

from typing import Any

from buf.validate import validate_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

_F = FieldDescriptor
_ANY: Any = validate_pb2
_WHOLE = {
    **{kind: (-(2**31), 2**31 - 1) for kind in (_F.TYPE_INT32, _F.TYPE_SINT32, _F.TYPE_SFIXED32)},
    **{kind: (0, 2**32 - 1) for kind in (_F.TYPE_UINT32, _F.TYPE_FIXED32)},
    **{kind: (-(2**63), 2**63 - 1) for kind in (_F.TYPE_INT64, _F.TYPE_SINT64, _F.TYPE_SFIXED64)},
    **{kind: (0, 2**64 - 1) for kind in (_F.TYPE_UINT64, _F.TYPE_FIXED64)},
}
_DEEPEST = 2


def messages(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages of a kind; nearly all keep the rules."""
    if descriptor.full_name.startswith("google.protobuf."):
        return _well_known(descriptor, depth)

    @st.composite
    def made(draw: st.DrawFn) -> Message:
        message = message_factory.GetMessageClass(descriptor)()
        chosen = {oneof.name: draw(st.sampled_from(list(oneof.fields))) for oneof in descriptor.oneofs}
        # Of fields of which a rule allows one, all but one are left out.
        barred = {
            name
            for rule in descriptor.GetOptions().Extensions[_ANY.message].oneof
            for name in draw(st.permutations(list(rule.fields)))[1:]
        }
        for field in descriptor.fields:
            oneof = field.containing_oneof
            if field.name in barred or (oneof is not None and chosen[oneof.name] is not field):
                continue
            rules = field.GetOptions().Extensions[_ANY.field]
            deep = depth >= _DEEPEST and field.message_type is not None and not rules.required and oneof is None
            must = oneof is not None and oneof.GetOptions().Extensions[_ANY.oneof].required
            needed = must or rules.required or rules.repeated.min_items
            if (field.has_presence or field.is_repeated) and not needed and (deep or draw(st.booleans())):
                continue
            _fill(draw, message, field, rules, depth)
        return message

    return made()


def _fill(draw: st.DrawFn, message: Message, field: FieldDescriptor, rules: Any, depth: int) -> None:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        key, value = inner.fields_by_name["key"], inner.fields_by_name["value"]
        keys = draw(st.lists(_value(key, rules.map.keys, depth), max_size=2, unique=True))
        for one in keys:
            made = draw(_value(value, rules.map.values, depth + 1))
            if value.message_type is not None:
                getattr(message, field.name)[one].CopyFrom(made)
            else:
                getattr(message, field.name)[one] = made
    elif field.is_repeated:
        least = max(rules.repeated.min_items, int(rules.required))
        unique = (lambda item: item) if rules.repeated.unique else None
        item = _value(field, rules.repeated.items, depth + 1)
        getattr(message, field.name).extend(draw(st.lists(item, min_size=least, max_size=max(2, least), unique_by=unique)))
    else:
        made = draw(_value(field, rules, depth))
        if inner is not None:
            getattr(message, field.name).CopyFrom(made)
        else:
            setattr(message, field.name, made)


def _value(field: FieldDescriptor, rules: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, depth + 1)
    kind = rules.WhichOneof("type")
    given = {rule.name: value for rule, value in getattr(rules, kind).ListFields()} if kind else {}
    if "const" in given:
        return st.just(given["const"])
    if "in" in given:
        return st.sampled_from([value for value in given["in"] if value not in given.get("not_in", ())])
    if field.enum_type is not None:
        refused = {*given.get("not_in", ()), *([0] if rules.required else [])}
        return st.sampled_from([value.number for value in field.enum_type.values if value.number not in refused])
    if field.type == _F.TYPE_STRING:
        return _text(given, rules)
    if field.type == _F.TYPE_BYTES:
        return st.binary(max_size=given.get("max_len", 20))
    if field.type == _F.TYPE_BOOL:
        return st.just(True) if rules.required else st.booleans()
    return _number(field, given)


def _text(given: dict[str, Any], rules: Any) -> st.SearchStrategy[str]:
    if given.get("email"):
        return st.sampled_from(["a@b.example", ""])
    if "prefix" in given:
        return st.text(max_size=5).map(given["prefix"].__add__)
    if "pattern" in given:
        found = st.from_regex(given["pattern"], fullmatch=True)
        return found.map(lambda text: (text * 4)[: given["len"]]) if "len" in given else found
    most = given.get("max_len", given.get("max_bytes", 80) // 4)
    least = max(given.get("min_len", 0), given.get("min_bytes", 0), int(rules.required))
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=least, max_size=max(least, min(most, 20)))


def _number(field: FieldDescriptor, given: dict[str, Any]) -> st.SearchStrategy[Any]:
    lower, upper = given.get("gt", given.get("gte")), given.get("lt", given.get("lte"))
    outside = lower is not None and upper is not None and lower >= upper
    if field.type in _WHOLE:
        least, most = _WHOLE[field.type]
        if outside:
            return st.one_of(st.integers(least, upper), st.integers(lower, most))
        return st.integers(
            least if lower is None else int(lower) + ("gt" in given), most if upper is None else int(upper) - ("lt" in given)
        )
    bounded = bool(given)
    return st.floats(
        lower, upper, width=32 if field.type == _F.TYPE_FLOAT else 64,
        exclude_min="gt" in given, exclude_max="lt" in given, allow_nan=not bounded,
        allow_infinity=not bounded,
    )  # fmt: skip


def _well_known(descriptor: Descriptor, depth: int) -> st.SearchStrategy[Message]:
    made: Any = message_factory.GetMessageClass(descriptor)
    name = descriptor.name
    if name == "Timestamp":
        return st.builds(made, seconds=st.integers(-62135596800, 253402300799), nanos=st.sampled_from([0, 1, 999_000_000]))
    if name == "Duration":
        return st.builds(made, seconds=st.integers(1, 315_576_000_000), nanos=st.sampled_from([0, 1, 500_000_000]))
    if name == "FieldMask":
        return st.builds(made, paths=st.lists(st.sampled_from(["shape_id", "named", "at.any_number"])))
    if name == "Any":
        corner = descriptor.file.pool.FindMessageTypeByName("citybrain.events.v1.Event")
        return messages(corner, depth + 1).map(lambda inner: _packed(made(), inner))
    plain = st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    )
    if name in ("Struct", "ListValue"):
        whole = st.dictionaries(st.text(max_size=3), plain, max_size=2) if name == "Struct" else st.lists(plain, max_size=3)
        return whole.map(lambda value: _updated(made(), value))
    if name == "Value":
        return st.one_of(st.builds(made, string_value=st.text(max_size=4)), st.builds(made, bool_value=st.booleans()))
    fields = {field.name: _value(field, _ANY.FieldRules(), depth) for field in descriptor.fields}
    return st.builds(made, **fields)


def _packed(into: Any, message: Message) -> Message:
    into.Pack(message)
    return into  # type: ignore[no-any-return]


def _updated(into: Any, value: Any) -> Message:
    if isinstance(value, dict):
        into.update(value)
    else:
        into.extend(value)
    return into  # type: ignore[no-any-return]
