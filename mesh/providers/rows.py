"""Rows of read models: a service has them as objects of a class, and they are kept as JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import types
import typing
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from citybrain.event_store.read_models import Row

R = TypeVar("R")
# Types that JSON has itself.
_PLAIN = (str, int, float, bool, type(None), Any)


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

    def encode(self, row: R) -> Row:
        """Returns a row as it is kept. NotOfShape: it would not come back as it is."""
        if not isinstance(row, self._class):
            raise NotOfShape(f"it is a {type(row).__name__}, and no {self.named}")
        kept: Row = self._adapter.dump_python(row, mode="json", warnings=False)
        # Otherwise the result of a fold would depend on where its batches end.
        if self.decode(kept) != row:
            raise NotOfShape("it has something that JSON does not give back, as NaN, or a tuple where its type says Any")
        return kept

    def decode(self, kept: Row) -> R:
        """Reads a kept row; NotOfShape. A field that it lacks has its default, a field that the class lacks is ignored."""
        try:
            # By the rules of JSON: a text is not taken for a number, but a list can be a tuple.
            row: R = self._adapter.validate_json(to_json(kept), strict=True)
        except ValidationError as error:
            raise NotOfShape(_told(error)) from None
        return row


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
