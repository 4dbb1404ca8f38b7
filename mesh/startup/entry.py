"""Loads the class that a manifest names, and checks that manifest, class and contract agree before anything is started."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from citybrain.mesh.access.limits import CLASSES, class_of
from citybrain.mesh.access.rules import rule_of
from citybrain.mesh.entrypoints.calls import Rpc
from citybrain.mesh.entrypoints.passed import Passed
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.events import message_class
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.providers.owners import Owner
from citybrain.mesh.providers.views import View
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.service import Service


def load_entry(manifest: Manifest) -> type[Service]:
    """The service class. ManifestError, with the line and what to write: it is no service class, or does not fit the rest."""
    service = _class(manifest)
    _named_once(manifest, service)
    _taken_up(manifest, service)
    contract = _contract(manifest)
    _answers(manifest, service, contract)
    package = contract.file.package
    # If two services share a package, its events belong to the one that the package is named after.
    own = events_of(package) if package.split(".")[-2] == manifest.name else set()
    needed = {name for name in own if not message_class(name).DESCRIPTOR.GetOptions().deprecated}
    _listed(manifest, "publishes", own, needed, "an event of its contract", f"the events of {package}")
    heard = heard_by(service) - own
    what = "what its methods and views hear of other services"
    _listed(manifest, "subscribes", heard, heard, f"heard by {service.__name__}", what)
    called = called_by(service)
    _listed(manifest, "calls", called, called, f"called by {service.__name__}", "the services that its providers call")
    _promised(manifest, service, contract)
    return service


def called_by(service: type) -> set[str]:
    """The full names of the gRPC services that a service calls: its `Client`s name them, and other providers that call."""
    providers = inspect.getmembers(service, lambda member: isinstance(member, DependencyProvider))
    return {name for _, provider in providers for name in getattr(provider, "calls", ())}


def has_groups(service: type) -> bool:
    """Whether a service has consumer groups: for methods that hear events, or for read models."""
    return bool(entrypoints(service, Subscribe)) or bool(inspect.getmembers(service, lambda member: isinstance(member, View)))


def entrypoints(service: type, kind: type) -> dict[str, list[Any]]:
    """The entrypoints of a kind, by the name of the method."""
    found = {
        name: [entry for entry in getattr(method, "nameko_entrypoints", ()) if isinstance(entry, kind)]
        for name, method in inspect.getmembers(service, inspect.isfunction)
    }
    return {name: entries for name, entries in found.items() if entries}


def heard_by(service: type) -> set[str]:
    """The types of events that the service's reactions and views hear."""
    sources: list[Any] = [entry for found in entrypoints(service, Subscribe).values() for entry in found]
    sources += [view for _, view in inspect.getmembers(service, lambda member: isinstance(member, View))]
    return {event for source in sources for event in source.types}


def events_of(package: str) -> set[str]:
    """The events of a contract: every message of its events.proto that is not a field of another message there."""
    try:
        file = descriptor_pool.Default().FindFileByName(f"{package.replace('.', '/')}/events.proto")
    except KeyError:
        return set()
    messages = file.message_types_by_name.values()
    parts = {field.message_type.full_name for message in messages for field in message.fields if field.message_type is not None}
    return {message.full_name for message in messages} - parts


def _class(manifest: Manifest) -> type[Service]:
    module, _, name = manifest.entry.partition(":")
    try:
        loaded = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        # A team's module may raise anything while it is loaded. The message says whose module must be mended.
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise manifest.wrong("entry", f"module {module} cannot be loaded: {why}") from error
    found = getattr(loaded, name, None)
    if not (isinstance(found, type) and issubclass(found, Service)):
        classes = [k for k, v in vars(loaded).items() if isinstance(v, type) and issubclass(v, Service) and v is not Service]
        what = (
            f"there is no {name} in {module}" if found is None else f"{name} is not derived from citybrain.mesh.service.Service"
        )
        raise manifest.wrong("entry", f"{what}: {_nearest(name, classes, 'service classes there')}")
    if getattr(found, "name", None) != manifest.name:
        said = getattr(found, "name", None)
        raise manifest.wrong("name", f"is {manifest.name!r}, and {name}.name is {said!r}: write the same in both")
    return found


def _contract(manifest: Manifest) -> ServiceDescriptor:
    pool = descriptor_pool.Default()
    package = manifest.grpc.rpartition(".")[0]
    path = package.replace(".", "/")
    with_services = f"{path}/{package.split('.')[-2]}_service.proto"
    try:
        return pool.FindServiceByName(manifest.grpc)
    except KeyError:
        try:
            known = [one.full_name for one in pool.FindFileByName(with_services).services_by_name.values()]
        except KeyError:
            known = []
    hint = _nearest(manifest.grpc, known, f"services in {with_services}")
    raise manifest.wrong("grpc", f"no contract that {manifest.entry} loads has {manifest.grpc}: {hint}")


def _named_once(manifest: Manifest, service: type) -> None:
    """No provider of a base class is hidden by another thing of its name: what works with it would get the wrong one.

    A class may give its base another provider of the same kind: a runner with other workflows.
    """
    seen: dict[str, tuple[type, Any]] = {}
    for base in inspect.getmro(service):
        for name, value in vars(base).items():
            hider, found = seen.setdefault(name, (base, value))
            if isinstance(value, DependencyProvider) and not _fits(value, found, given=issubclass(hider, base)):
                what = f"{hider.__name__} hides the provider {name} of {base.__name__}: give one another name"
                raise manifest.wrong("entry", what)


def _fits(one: Any, other: Any, *, given: bool) -> bool:
    """Whether `other` may stand where `one` would: by a class that knows its base, or because both were made alike.

    The name is only there once a service of the class has run in this process.
    """
    made = [{name: value for name, value in vars(it).items() if name != "attr_name"} for it in (one, other)]
    return type(one) is type(other) and (given or made[0] == made[1])


def _taken_up(manifest: Manifest, service: type) -> None:
    """What is passed on to another process is taken up there."""
    taken = {entry.topic for found in entrypoints(service, Passed).values() for entry in found}
    for name, owner in inspect.getmembers(service, lambda member: isinstance(member, Owner)):
        if owner.topic not in taken:
            what = f"{name} passes messages on, and nothing takes them: write @passed({name}) at a method"
            raise manifest.wrong("entry", what)


def _answers(manifest: Manifest, service: type, contract: ServiceDescriptor) -> None:
    """Every @rpc is a method of the contract, and every method of the contract is one of the class."""
    there, wanted = set(entrypoints(service, Rpc)), {method.name for method in contract.methods}
    for name in sorted(there - wanted):
        hint = _nearest(name, sorted(wanted - there), "methods without an @rpc")
        raise manifest.wrong("grpc", f"{contract.full_name} has no method {name}, which {service.__name__} answers: {hint}")
    for name in sorted(wanted - there):
        what = f"{service.__name__} does not answer {name}: write it with @rpc, or take it out of the contract"
        raise manifest.wrong("grpc", what)


def _promised(manifest: Manifest, service: type, contract: ServiceDescriptor) -> None:
    """If there are objectives, there is one for each class of methods that the contract has, and for events that are heard."""
    if manifest.objectives is None:
        return
    there = {CLASSES[class_of(method, rule_of(method).reads)] for method in contract.methods}
    if has_groups(service):
        there.add("events")
    for name, objective in manifest.objectives:
        if objective is None and name in there:
            what = "hears events" if name == "events" else f"has methods of the class {name}"
            raise manifest.wrong("objectives", f"{manifest.name} {what}, and promises nothing of them: write `{name}: …`")
        if objective is not None and name not in there:
            what = "hears no events" if name == "events" else f"has no methods of the class {name}"
            raise manifest.wrong("objectives", f"{manifest.name} {what}: take `{name}` out", name)


def _listed(manifest: Manifest, field: str, wanted: set[str], needed: set[str], is_one: str, those: str) -> None:
    """Checks a list of the manifest: it names only what is wanted, each once, and all needed ones."""
    listed: list[str] = getattr(manifest, field)
    for number, name in enumerate(listed):
        if name not in wanted:
            hint = _nearest(name, sorted(wanted - set(listed)), f"missing here of {those}")
            raise manifest.wrong(field, f"{name} is not {is_one}: {hint}", name)
        if name in listed[:number]:
            raise manifest.wrong(field, f"{name} stands there twice: take one out", name)
    missing = sorted(needed - set(listed))
    if missing:
        raise manifest.wrong(field, f"lists {those}, and {', '.join(missing)} is missing: write it there")


def _nearest(name: str, known: Iterable[str], what: str) -> str:
    known = list(known)
    short: Mapping[str, str] = {one.rpartition(".")[2]: one for one in known}
    close = difflib.get_close_matches(name.rpartition(".")[2], short, 1)
    if close:
        return f"do you mean {short[close[0]]}?"
    return f"{what}: {', '.join(known)}" if known else f"there are no {what}"
