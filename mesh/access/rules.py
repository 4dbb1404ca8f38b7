"""What a contract demands of the callers of a method: its scope, its district, the clearance for its answer."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from citybrain.options.v1 import options_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from citybrain.mesh.access.principal import CLEARANCES, Principal
from citybrain.mesh.errors import Forbidden
from citybrain.mesh.events import reachable

_NAMES: dict[int, str] = {number: name for name, number in CLEARANCES.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule of one method. `districts`: paths of the fields of its request that name a district."""

    path: str
    # Empty: only services of the mesh may call it.
    scope: str
    clearance: int
    districts: tuple[tuple[str, ...], ...]
    # Its answers may be about persons, or secret.
    sensitive: bool = False
    # Its answer is a stream.
    streams: bool = False
    # That a caller is bound to a district counts for nothing.
    any_district: bool = False

    @property
    def reads(self) -> bool:
        """Whether the method changes nothing."""
        return self.scope.endswith(".read")

    def admit(self, caller: Principal) -> None:
        """Forbidden: this caller may not call the method, whatever the request says."""
        if not self.scope and not caller.is_service:
            raise Forbidden(f"{self.path} is for services of the mesh: there is no scope for it", "NOT_FOR_CALLERS")
        if self.scope and not caller.holds(self.scope):
            raise Forbidden(
                f"{self.path} needs the scope {self.scope}, and this token has it not: ask whoever gives out your tokens",
                "NO_SCOPE",
            )
        if self.clearance > caller.clearance:
            raise Forbidden(f"what {self.path} answers needs the clearance {clearance_name(self.clearance)}", "LOW_CLEARANCE")

    def admit_request(self, caller: Principal, request: Message) -> None:
        """Forbidden: the request names a district that the caller is not bound to."""
        # Most callers are bound to none, and their requests are not looked through.
        for path in self.districts if caller.district else ():
            for named in _values(request, path):
                if not sees_district(caller, named):
                    raise Forbidden(
                        f"{'.'.join(path)} is not {caller.district}, and this token is bound to that district", "OTHER_DISTRICT"
                    )


def clearance_name(clearance: int) -> str:
    """A clearance as tokens name it; one that only a later release knows, as its number."""
    return _NAMES.get(clearance, str(clearance))


def sees_district(caller: Principal, district: str) -> bool:
    """Whether a caller may see what belongs to a district; empty: it belongs to none."""
    return not caller.district or not district or district == caller.district


def require_district(caller: Principal, district: str) -> None:
    """Forbidden: something belongs to another district than the one the caller is bound to. Empty: it belongs to none."""
    if not sees_district(caller, district):
        raise Forbidden(f"this belongs to another district, and this token is bound to {caller.district}", "OTHER_DISTRICT")


def require_at_least(caller: Principal, scopes: Iterable[str], clearance: int, district: str) -> None:
    """Forbidden: somebody may not give on these scopes, this clearance and this district, since their own token holds less."""
    if missing := sorted(scope for scope in scopes if not caller.holds(scope)):
        raise Forbidden(f"a token cannot be given scopes that its giver has not: {', '.join(missing)}", "NO_SCOPE")
    if clearance > caller.clearance:
        raise Forbidden("a token cannot be given a higher clearance than its giver has", "LOW_CLEARANCE")
    if caller.district and district != caller.district:
        raise Forbidden(f"who is bound to {caller.district} can give tokens for that district only", "OTHER_DISTRICT")


def rule_of(method: MethodDescriptor) -> Rule:
    """The rule that a method's contract gives."""
    options: Any = method.GetOptions()
    return Rule(
        path=f"{method.containing_service.full_name}/{method.name}",
        scope=str(options.Extensions[options_pb2.scope]),
        clearance=message_clearance(method.output_type),
        districts=tuple(_district_paths(method.input_type, ())),
        sensitive=any(map(_is_sensitive, reachable(method.output_type))),
        streams=method.server_streaming,
        any_district=bool(options.Extensions[options_pb2.any_district]),
    )


def scopes_of(services: Iterable[str]) -> frozenset[str]:
    """Every scope of the methods of some gRPC services, and of their personal data. KeyError: a contract is not loaded."""
    found: set[str] = set()
    for name in services:
        service = descriptor_pool.Default().FindServiceByName(name)
        found |= {scope for method in service.methods if (scope := rule_of(method).scope)}
        found.add(personal_scope(service.file.package))
    return frozenset(found)


def personal_scope(package: str) -> str:
    """The scope for personal fields of the messages of a package: that of citybrain.health.v1 is health.personal."""
    return f"{_sector(package)}.personal"


def events_scope(package: str) -> str:
    """The scope to hear the events of a package that are not public: that of citybrain.health.v1 is health.events."""
    return f"{_sector(package)}.events"


def _sector(package: str) -> str:
    parts = package.split(".")
    return parts[1] if len(parts) > 1 else package


@functools.cache
def message_clearance(descriptor: Descriptor) -> int:
    """The clearance for a message as a whole, in an answer."""
    options: Any = descriptor.GetOptions()
    return int(options.Extensions[options_pb2.classification]) or options_pb2.CLASSIFICATION_PUBLIC


def names_district(field: FieldDescriptor) -> bool:
    """Whether a field names the district of its message."""
    options: Any = field.GetOptions()
    return bool(options.Extensions[options_pb2.district])


def _is_sensitive(descriptor: Descriptor) -> bool:
    if message_clearance(descriptor) >= options_pb2.CLASSIFICATION_SECRET:
        return True
    for each in descriptor.fields:
        options: Any = each.GetOptions()
        if options.Extensions[options_pb2.personal]:
            return True
        if options.Extensions[options_pb2.field_classification] >= options_pb2.CLASSIFICATION_SECRET:
            return True
    return False


def _district_paths(descriptor: Descriptor, inside: tuple[Descriptor, ...]) -> Iterator[tuple[str, ...]]:
    if descriptor in inside:
        return
    for field in descriptor.fields:
        if names_district(field):
            yield (field.name,)
        elif field.message_type is not None and not _is_map(field):
            for path in _district_paths(field.message_type, (*inside, descriptor)):
                yield (field.name, *path)


def _is_map(field: FieldDescriptor) -> bool:
    options: Any = field.message_type.GetOptions() if field.message_type is not None else None
    return options is not None and bool(options.map_entry)


def _values(message: Message, path: tuple[str, ...]) -> Iterator[str]:
    value: Any = getattr(message, path[0])
    many = bool(message.DESCRIPTOR.fields_by_name[path[0]].is_repeated)
    for one in value if many else [value]:
        if len(path) == 1:
            yield str(one)
        else:
            yield from _values(one, path[1:])
