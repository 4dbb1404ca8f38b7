"""Rows of read models: a service has them as objects of a class, and they are kept as JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import math
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from citybrain.event_store.read_models import Row

R = TypeVar("R")
# Types that JSON has itself.
_PLAIN = (str, int, float, bool, type(None), Any)
_HALF_LETTER = re.compile("[\ud800-\udfff]")


class RowUnreadable(Exception):
    """A kept row does not fit the class that its view has now. The message names the row and the field, and says what to do."""


class NotOfShape(Exception):
    """A row does not fit its class. The message says why, and holds no value of the row: it may be personal."""


class RowShape(Generic[R]):
    """What a view's rows are: objects of a frozen dataclass, or dicts. Turns them into JSON and back."""

    def __init__(self, kind: type[R]) -> None:
        """TypeError: rows cannot be of this class; the message says what they can be."""
        self.named = getattr(kind, "__name__", repr(kind)) if dataclasses.is_dataclass(kind) else repr(kind)
        self._class: type = typing.get_origin(kind) or kind
        self.fields: Mapping[str, Any] = {}
        if dataclasses.is_dataclass(kind):
            self.fields = typing.get_type_hints(kind)
        elif self._class is not dict:
            raise TypeError(f"{self.named} cannot be a row of a view: give a frozen dataclass, or a dict as dict[str, float]")
        self.digest = hashlib.sha256(_described(kind, ()).encode()).hexdigest()
        hint: Any = kind
        self._adapter: TypeAdapter[R] = _adapter(hint)
        self._flat = _Flat.of(kind, self.fields)

    def encode_all(self, rows: Mapping[str, R | None]) -> dict[str, Row | None]:
        """Rows by their keys as they are kept, or None. NotOfShape: one would not come back as it is."""
        quickly = {} if self._flat is None else self._flat.encode_all(rows)
        return {key: None if row is None else quickly.get(key) or self.encode(row) for key, row in rows.items()}

    def encode(self, row: R) -> Row:
        """Returns a row as it is kept. NotOfShape: it would not come back as it is."""
        if not isinstance(row, self._class):
            raise NotOfShape(f"it is a {type(row).__name__}, and no {self.named}")
        kept: Row = self._adapter.dump_python(row, mode="json", warnings=False)
        try:
            back = self._read(kept)
        except PydanticSerializationError:
            raise NotOfShape("a text in it has half a letter (a lone surrogate), which JSON cannot hold") from None
        # Otherwise the result of a fold would depend on where its batches end.
        if back != row:
            raise NotOfShape("it has something that JSON does not give back, as NaN, or a tuple where its type says Any")
        if self._flat is not None:
            self._flat.learn(row, kept)
        return kept

    def known(self, kept: Mapping[str, Row]) -> dict[str, R]:
        """Reads those of many rows quickly that are known to fit. The others are for `decode`."""
        return {} if self._flat is None else self._flat.decode_all(kept)

    def decode(self, kept: Row) -> R:
        """Reads a kept row; NotOfShape. A field that it lacks has its default, a field that the class lacks is ignored."""
        row = self._read(kept)
        if self._flat is not None:
            self._flat.learn(row, kept)
        return row

    def _read(self, kept: Row) -> R:
        try:
            # By the rules of JSON: a text is not taken for a number, but a list can be a tuple.
            row: R = self._adapter.validate_json(to_json(kept), strict=True)
        except ValidationError as error:
            raise NotOfShape(_told(error)) from None
        return row


class _Flat:
    """Rows whose fields are texts, numbers, yes or no, or None: whether such a row is right depends on the types of its values.

    So the types that were found right once are remembered, and rows with the same types are turned quickly: most rows are flat,
    and a service folds thousands of them a second.
    """

    def __init__(self, kind: type, names: Sequence[str]) -> None:
        self._class = kind
        self._names = names
        self._of_row = _getter(operator.attrgetter, names)
        self._of_kept = _getter(operator.itemgetter, names)
        # With the places of values that JSON may not give back.
        self._right: dict[tuple[type, ...], list[int]] = {}

    @classmethod
    def of(cls, kind: Any, fields: Mapping[str, Any]) -> _Flat | None:
        """None: the rows are not flat."""
        hints = [args for hint in fields.values() for args in (typing.get_args(hint) or (hint,))]
        plain = bool(hints) and all(hint in _PLAIN and hint is not Any for hint in hints)
        made_by_place = plain and all(field.init and not field.kw_only for field in dataclasses.fields(kind))
        return cls(kind, list(fields)) if made_by_place else None

    def learn(self, row: Any, kept: Row) -> None:
        """This row and its JSON have the same values: others with values of these types have too."""
        types = tuple(map(type, self._of_row(row)))
        if types == tuple(type(kept.get(name)) for name in self._names):
            self._right[types] = [place for place, one in enumerate(types) if one in (str, float)]

    def encode_all(self, rows: Mapping[str, Any]) -> dict[str, Row]:
        """Those rows that are known to be right.

        In one loop, and `zip` does not count: a call for each row would cost as much as the work.
        """
        kind, names, of_row, right = self._class, self._names, self._of_row, self._right
        found: dict[str, Row] = {}
        for key, row in rows.items():
            if type(row) is kind:
                values = of_row(row)
                unsure = right.get(tuple(map(type, values)))
                if unsure is not None and (not unsure or all(_is_given_back(values[place]) for place in unsure)):
                    found[key] = dict(zip(names, values, strict=False))
        return found

    def decode_all(self, kept: Mapping[str, Row]) -> dict[str, Any]:
        """Those rows that are known to be right, and have all fields."""
        kind, of_kept, right = self._class, self._of_kept, self._right
        found: dict[str, Any] = {}
        for key, row in kept.items():
            try:
                values = of_kept(row)
            except KeyError:
                continue
            if tuple(map(type, values)) in right:
                found[key] = kind(*values)
        return found


def _getter(made: Callable[..., Callable[[Any], Any]], names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Gets several values at once, as a tuple."""
    get = made(*names)
    return get if len(names) > 1 else lambda held: (get(held),)


def _is_given_back(value: Any) -> bool:
    """Whether JSON gives a text or a float back as it is."""
    if type(value) is float:
        return math.isfinite(value)
    return value.isascii() or not _HALF_LETTER.search(value)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _told(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(map(str, first["loc"])) or "the row"
    if first["type"] == "missing":
        return f"it has no field {field}, and {field} has no default"
    return f"{field}: {first['msg'].lower()}"


def _described(hint: Any, above: tuple[Any, ...]) -> str:
    """Describes the JSON of a type, for the digest. TypeError: JSON cannot hold it, or not give it back."""
    if hint in _PLAIN:
        return str(getattr(hint, "__name__", hint))
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    inner = functools.partial(_described, above=(*above, hint))
    if hint in above:
        return f"as {above.index(hint)} above"
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not (hint.__dataclass_params__.frozen and hint.__dataclass_params__.eq):  # type: ignore[attr-defined]
            raise TypeError(f"{hint.__name__} is in rows of a view: make it @dataclass(frozen=True, slots=True)")
        hints = typing.get_type_hints(hint)
        fields = sorted(f"{one.name}: {inner(hints[one.name])}{_default(one)}" for one in dataclasses.fields(hint))
        return f"{{{', '.join(fields)}}}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {sorted(to_json(one.value).decode() for one in hint)}"
    if origin is typing.Literal:
        return f"one of {sorted(to_json(one).decode() for one in args)}"
    if origin in (typing.Union, types.UnionType):
        rest = [one for one in args if one is not type(None)]
        # If two types look the same in JSON, nobody can say which one it was.
        if len(rest) == 1 or all(one in _PLAIN for one in rest):
            return " or ".join(sorted(map(inner, args)))
    elif origin in (list, tuple):
        return f"{'list' if origin is list else 'tuple'} of {', '.join('...' if one is ... else inner(one) for one in args)}"
    elif origin is dict and args[0] is str:
        return f"dict of {inner(args[1])}"
    raise TypeError(
        f"{getattr(hint, '__name__', hint)} is in rows of a view, and JSON cannot give it back: use texts, numbers, yes or no, "
        "None, enums, frozen dataclasses, lists, tuples, and dicts whose keys are texts; of two that JSON has one form for, one"
    )


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f" = {to_json(field.default_factory()).decode()}"
    return "" if field.default is dataclasses.MISSING else f" = {to_json(field.default).decode()}"
