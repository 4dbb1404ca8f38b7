"""Upcasters: an event of an old type is read as an event of today's type; stored bytes never change (ES-10).

To change what an event means, give it a new type, and mark the old type `deprecated` in the contract. Then write one pure
function that turns an old event into a new one. Several changes make a chain of such steps, from the oldest type to the newest.
The functions are in the module that the manifest names (`upcasters`). Every process loads those of all services, because the
event may be heard in another sector.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from citybrain.mesh.manifest import Manifest

O = TypeVar("O", bound=Message)  # noqa: E741
N = TypeVar("N", bound=Message)


class UpcastError(Exception):
    """An upcaster cannot be used, or is missing; the message says which one, and what to write."""


@dataclass(frozen=True, slots=True)
class _Step:
    to: str
    function: Callable[[Any], Message]


# One for the whole process, like the contracts: what an event means does not depend on its reader.
_STEPS: dict[str, _Step] = {}


def upcast(old: type[O], new: type[N]) -> Callable[[Callable[[O], N]], Callable[[O], N]]:
    """Declares a pure function that turns an old event into a new one. UpcastError: `old` has one, or it makes a loop."""

    def declare(function: Callable[[O], N]) -> Callable[[O], N]:
        name, to = old.DESCRIPTOR.full_name, new.DESCRIPTOR.full_name
        known = _STEPS.get(name)
        if known is not None and _place(known.function) != _place(function):
            raise UpcastError(f"{name} is turned into {known.to} already, by {_place(known.function)}: keep one of the two")
        if newest(to) == name or to == name:
            raise UpcastError(f"{_place(function)}: {to} is itself read as {name}: that would never end")
        _STEPS[name] = _Step(to, function)
        return function

    return declare


def newest(name: str) -> str:
    """The type that events of a type are read as."""
    while (step := _STEPS.get(name)) is not None:
        name = step.to
    return name


def steps() -> list[tuple[str, str, Callable[[Any], Message]]]:
    """The types that are read as another one, what each is read as, and its upcaster."""
    return [(old, step.to, step.function) for old, step in _STEPS.items()]


def written_as(names: Iterable[str]) -> Collection[str]:
    """The types under which some events stand in the log: their own types, and the older types that are read as these."""
    wanted = set(names)
    return wanted | {old for old in _STEPS if newest(old) in wanted}


def modern(message: Message) -> Message:
    """A message in today's type. UpcastError: an upcaster made another type than it declares."""
    while (step := _STEPS.get(message.DESCRIPTOR.full_name)) is not None:
        made = step.function(message)
        if made.DESCRIPTOR.full_name != step.to:
            raise UpcastError(f"{_place(step.function)} made a {made.DESCRIPTOR.full_name}; it says that it makes a {step.to}")
        message = made
    return message


def load_upcasters(manifests: Iterable[Manifest]) -> None:
    """Loads the modules that manifests name. UpcastError: one cannot be loaded, or a deprecated type has no upcaster."""
    for manifest in manifests:
        if manifest.upcasters:
            try:
                importlib.import_module(manifest.upcasters)
            except UpcastError:
                raise
            except (Exception, SystemExit) as error:
                said = " ".join(f"{type(error).__name__}: {error}".split())
                raise UpcastError(
                    f"service {manifest.name}: upcasters {manifest.upcasters} cannot be loaded: {said}"
                ) from error
        for name in manifest.publishes:
            if _given_up(name) and name not in _STEPS:
                raise UpcastError(
                    f"service {manifest.name}: {name} is deprecated, and nothing says how its events read today: "
                    "declare an @upcast for it in the module that the manifest names under `upcasters`"
                )


def _given_up(name: str) -> bool:
    try:
        return bool(descriptor_pool.Default().FindMessageTypeByName(name).GetOptions().deprecated)
    except KeyError:
        # Its contract is not loaded, so nothing here reads or writes it.
        return False


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
