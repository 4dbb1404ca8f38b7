"""The rules of a field (buf.validate) in the words of JSON Schema. What it has no word for is said in English."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

_RULES: Any = validate_pb2
_F = FieldDescriptor

WIDE = (_F.TYPE_INT64, _F.TYPE_UINT64, _F.TYPE_SINT64, _F.TYPE_FIXED64, _F.TYPE_SFIXED64)
REAL = (_F.TYPE_DOUBLE, _F.TYPE_FLOAT)
_FORMATS = {
    "email": "email", "hostname": "hostname", "ipv4": "ipv4", "ipv6": "ipv6", "uri": "uri", "uri_ref": "uri-reference",
    "uuid": "uuid",
}  # fmt: skip
_SIZES = ("min_len", "len", "max_len", "min_bytes", "len_bytes", "max_bytes")
_PATTERNS = ("pattern", "prefix", "suffix", "contains")
_BOUNDS = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
# Patterns of RE2 that JavaScript does not know.
_FOREIGN = re.compile(r"\(\?|\\[AzQEpPC]|\[\[:")
_WORDS = {
    "gt": "More than", "gte": "At least", "lt": "Less than", "lte": "At most", "const": "Exactly", "in": "One of",
    "not_in": "None of", "min_len": "At least (bytes)", "max_len": "At most (bytes)", "len": "Exactly (bytes)",
}  # fmt: skip

Limits = tuple[dict[str, Any], list[str]]


def rules_of(field: FieldDescriptor) -> Any:
    """The rules beside a field. Rules that are switched off are none."""
    found = field.GetOptions().Extensions[_RULES.field]
    return _RULES.FieldRules() if found.ignore == _RULES.IGNORE_ALWAYS else found


def choices_of(message: Any) -> list[tuple[list[str], bool]]:
    """Fields of which a message may have only one, and whether it must have one: its oneofs, and rules that say the same."""
    found = [
        ([field.name for field in oneof.fields], oneof.GetOptions().Extensions[_RULES.oneof].required)
        for oneof in message.oneofs
        # A field that is `optional` is the only one of a oneof that nobody wrote.
        if not (len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}")
    ]
    return found + [(list(rule.fields), rule.required) for rule in message.GetOptions().Extensions[_RULES.message].oneof]


def of_value(field: FieldDescriptor, rules: Any, needed: bool) -> Limits:
    """The limits of a value, and what must be said beside it. `needed`: it must not be the value that means nothing."""
    kind = rules.WhichOneof("type")
    given = {rule.name: value for rule, value in getattr(rules, kind).ListFields()} if kind else {}
    # For people who read the contract.
    given.pop("example", None)
    if field.enum_type is not None:
        found, words = _enum(field.enum_type, given, needed)
    elif field.type == _F.TYPE_STRING:
        found, words = _text(given, needed)
    elif field.type in WIDE or field.type in (_F.TYPE_BYTES, _F.TYPE_MESSAGE):
        # Texts in JSON, so their limits can only be said.
        found, words = {}, _said(given)
    else:
        found, words = _number(given, [False if field.type == _F.TYPE_BOOL else 0] if needed else [])
    words += [rule.message for rule in rules.cel if rule.message]
    if found and rules.ignore == _RULES.IGNORE_IF_ZERO_VALUE:
        nothing = "" if field.type == _F.TYPE_STRING else field.enum_type.values[0].name if field.enum_type else 0
        found = {"anyOf": [{"const": nothing}, found]}
    return found, words


def of_list(rules: Any, needed: bool) -> dict[str, Any]:
    """The limits of a list."""
    found: dict[str, Any] = {"minItems": least} if (least := max(rules.min_items, int(needed))) else {}
    if rules.HasField("max_items"):
        found["maxItems"] = rules.max_items
    return found | ({"uniqueItems": True} if rules.unique else {})


def of_map(rules: Any, needed: bool) -> dict[str, Any]:
    """The limits of a map."""
    found: dict[str, Any] = {"minProperties": least} if (least := max(rules.min_pairs, int(needed))) else {}
    return found | ({"maxProperties": rules.max_pairs} if rules.HasField("max_pairs") else {})


def is_finite(field: FieldDescriptor, rules: Any) -> bool:
    """Whether a real number must be a number: between two limits, or said so."""
    found = getattr(rules, "double" if field.type == _F.TYPE_DOUBLE else "float")
    return bool(found.finite or all(found.WhichOneof(end) for end in ("less_than", "greater_than")))


def must_be_there(field: FieldDescriptor, rules: Any) -> bool:
    """Whether JSON must have the field: the rules refuse the value that it has when it is left out."""
    if rules.required:
        return True
    if field.has_presence or rules.ignore == _RULES.IGNORE_IF_ZERO_VALUE:
        return False
    if field.is_repeated:
        return bool(rules.repeated.min_items or rules.map.min_pairs)
    kind = rules.WhichOneof("type")
    given = {rule.name: value for rule, value in getattr(rules, kind).ListFields()} if kind else {}
    zero: Any = {_F.TYPE_STRING: "", _F.TYPE_BYTES: b"", _F.TYPE_BOOL: False}.get(field.type, 0)
    if ("const" in given and given["const"] != zero) or zero in given.get("not_in", ()) or zero not in given.get("in", [zero]):
        return True
    if isinstance(zero, str | bytes):
        sized = any(given.get(name) for name in ("min_len", "len", "min_bytes", "len_bytes", "prefix", "suffix", "contains"))
        return sized or any(given.get(name) for name in _FORMATS if name != "uri_ref") or _misses("pattern", given)
    return not _within(given)


def _misses(name: str, given: Mapping[str, Any]) -> bool:
    pattern = given.get(name, "")
    return not _FOREIGN.search(pattern) and re.search(pattern, "") is None


def _within(given: Mapping[str, Any]) -> bool:
    """Whether zero is within the bounds of a number."""
    above = given.get("gt", -1) < 0 and given.get("gte", 0) <= 0
    below = given.get("lt", 1) > 0 and given.get("lte", 0) >= 0
    return bool(above or below if _is_outside(given) else above and below)


def _is_outside(given: Mapping[str, Any]) -> bool:
    """In buf.validate a lower bound above the upper one means: not between the two."""
    lower, upper = given.get("gt", given.get("gte")), given.get("lt", given.get("lte"))
    return lower is not None and upper is not None and bool(lower >= upper)


def _text(given: Mapping[str, Any], needed: bool) -> Limits:
    found: dict[str, Any] = {}
    # A letter has 1 to 4 bytes.
    in_bytes = [-(-given.get(name, 0) // 4) for name in ("min_bytes", "len_bytes")]
    if least := max(given.get("min_len", 0), given.get("len", 0), int(needed), *in_bytes):
        found["minLength"] = least
    if most := [given[name] for name in ("max_len", "len", "max_bytes", "len_bytes") if name in given]:
        found["maxLength"] = min(most)
    words = [
        f"{said} {given[name]} bytes in UTF-8."
        for name, said in (("min_bytes", "At least"), ("len_bytes", "Exactly"), ("max_bytes", "At most"))
        if name in given
    ]
    patterns, told = _patterns(given)
    if len(patterns) == 1:
        found["pattern"] = patterns[0]
    elif patterns:
        found["allOf"] = [{"pattern": pattern} for pattern in patterns]
    for name in _FORMATS.keys() & given.keys():
        found["format"] = _FORMATS[name]
    known = (*_SIZES, *_PATTERNS, *_FORMATS, "const", "in", "not_in")
    rest = {name: value for name, value in given.items() if name not in known}
    return found | _chosen(given), words + told + _said(rest)


def _patterns(given: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    found = [
        form.format(re.escape(given[name]))
        for name, form in (("prefix", "^{}"), ("suffix", "{}$"), ("contains", "{}"))
        if name in given
    ]
    pattern = given.get("pattern")
    if pattern and _FOREIGN.search(pattern):
        return found, [f"As `{pattern}` says."]
    return ([pattern] if pattern else []) + found, []


def _number(given: Mapping[str, Any], refused: list[Any]) -> Limits:
    found = _chosen(given)
    if refused:
        found["not"] = {"enum": list(dict.fromkeys([*refused, *given.get("not_in", ())]))}
    if _is_outside(given):
        return found, [f"Not between {given.get('lt', given.get('lte')):g} and {given.get('gt', given.get('gte')):g}."]
    bounds = {word: given[name] for name, word in _BOUNDS.items() if name in given}
    return found | {word: int(bound) if bound == int(bound) else bound for word, bound in bounds.items()}, []


def _enum(enum: EnumDescriptor, given: Mapping[str, Any], needed: bool) -> Limits:
    # By number; of two names of one number JSON has the first.
    names = {value.number: value.name for value in reversed(enum.values)}

    def named(numbers: Iterable[int]) -> list[str]:
        return [names[number] for number in dict.fromkeys(numbers) if number in names]

    allowed = [*given.get("in", ()), *([given["const"]] if "const" in given else [])]
    refused = [*([0] if needed else []), *given.get("not_in", ())]
    found: dict[str, Any] = {"enum": named(allowed)} if allowed else {}
    return found | ({"not": {"enum": named(refused)}} if refused else {}), []


def _chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"const": given["const"]} if "const" in given else {}
    found |= {"enum": list(given["in"])} if "in" in given else {}
    return found | ({"not": {"enum": list(given["not_in"])}} if "not_in" in given else {})


def _said(given: Mapping[str, Any]) -> list[str]:
    """Rules in English, for what JSON Schema has no word for."""
    return [f"{_WORDS[name]}: {_shown(value)}." if name in _WORDS else f"Rule: {name}." for name, value in given.items()]


def _shown(value: Any) -> str:
    if hasattr(value, "ToJsonString"):
        return str(value.ToJsonString())
    if isinstance(value, bytes | str | int | float):
        return str(value)
    return ", ".join(map(_shown, value))
