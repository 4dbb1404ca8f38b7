"""Which events each service hears, and which fields of them its code reads: found in views, reactions, streams and workflows.

Nobody writes it by hand: `make consumers` makes the file of the city, `city contracts reads` that of another repository. It
says whom a change of a contract breaks.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from citybrain.sagas.v1.events_pb2 import ChildEnded, HumanDecided
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from citybrain.cli.compatibility.contracts import Consumer
from citybrain.cli.compatibility.reads import NOTHING, WHOLE, Instance, Reader, Ref, Saga, Told, Value, paths
from citybrain.mesh.entrypoints.calls import Rpc
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.events import message_class, type_name
from citybrain.mesh.manifest import Manifest, find_manifests
from citybrain.mesh.providers.streams import Streams
from citybrain.mesh.providers.views import View
from citybrain.mesh.service import Client, Follow, Service
from citybrain.mesh.startup.entry import entrypoints, load_entry
from citybrain.mesh.upcasting import load_upcasters, steps
from citybrain.sagas.engine.definition import (
    Child,
    Choice,
    Command,
    During,
    Human,
    Node,
    Repeat,
    Step,
    Wait,
    Workflow,
    parts,
)
from citybrain.sagas.engine.runner import SagaRunner
from citybrain.sagas.engine.state import unpack

_HEAD = """\
# Which events each service hears, and which fields of them its code reads; `*` is all of a message. Of a workflow also: which
# methods it calls, and what it reads of their answers. Made by `{made_by}` from the code.
"""


def consumer_of(manifest: Manifest, service: type[Service]) -> Iterator[Consumer]:
    """The consumer that a service is, and one for each workflow that it runs."""
    package = service.__module__.rpartition(".")[0] or service.__module__
    runners = _members(service, SagaRunner)
    workflows = [workflow for runner in runners for workflow in runner.workflows]
    begins = [type_name(event) for workflow in workflows for event in workflow.hears]
    heard: set[str] = set()

    def follow(_: Sequence[Value], named: Mapping[str, Value]) -> Value:
        """What callers are given of the log: which types, chosen by which function."""
        types = named["types"].known if "types" in named else ()
        names = [type_name(one) for one in types if isinstance(one, type)] if isinstance(types, tuple) else []
        heard.update(names)
        if "concerns" in named:
            reader.follow(named["concerns"].known, Value(_whole(names)))
        return NOTHING

    told: dict[Any, Told] = {unpack: lambda *_: Value(_whole(begins)), Follow: follow}
    # What the engine of the sagas does with an event is the same for all; what a workflow reads of it is found below.
    told |= {one: lambda *_: NOTHING for one in vars(SagaRunner).values() if inspect.isfunction(one)}
    reader = Reader(package, told)
    for view in _members(service, View):
        heard.update(view.types)
        events = Value(heard=_whole(view.types))
        key, apply = view.functions
        reader.follow(key, events)
        reader.follow(apply, NOTHING, events)
    for streams in _members(service, Streams):
        reader.follow(streams.evolve, NOTHING, Value(_whole(manifest.publishes)))
    for name, reactions in entrypoints(service, Subscribe).items():
        for reaction in reactions:
            heard.update(reaction.types)
            if reaction.where is not None:
                reader.follow(reaction.where, Value(_whole(reaction.types)))
            reader.follow(getattr(service, name), Value(known=Instance(service)), Value(heard=_whole(reaction.types)))
    for name in entrypoints(service, Rpc):
        reader.follow(getattr(service, name), Value(known=Instance(service)))
    for old, _, function in steps():
        if manifest.upcasters and function.__module__ == manifest.upcasters:
            reader.follow(function, Value(_whole([old])))
    reads = _reads(reader, heard)
    if runners:
        # The engine of the sagas reads their streams by itself.
        reads |= {name: [WHOLE] for name in manifest.publishes}
    yield Consumer(manifest.name, manifest.team, dict(sorted(reads.items())), sorted(set(_calls(service))))
    for name in sorted({workflow.name for workflow in workflows}):
        yield _of_workflow(manifest, package, name, [one for one in workflows if one.name == name])


def _of_workflow(manifest: Manifest, package: str, name: str, versions: Iterable[Workflow]) -> Consumer:
    """A workflow, in all its versions: sagas may still be on each."""
    reader = Reader(package)
    heard: set[str] = set()
    calls: set[str] = set()
    for workflow in versions:
        heard.update(type_name(event) for event in workflow.hears)
        hears = _whole([type_name(event) for event in workflow.hears])
        state = Value(saga=Saga(_whole([type_name(workflow.starts_on)]), dict(_answers(workflow)), hears))
        for event, function in [*workflow.hears.items(), *workflow.undo_on.items()]:
            reader.follow(function, Value(_whole([type_name(event)])))
        for part in parts(workflow.nodes):
            for function, sees in _functions(part):
                reader.follow(function, state, NOTHING if sees is None else Value(_whole([type_name(sees)])))
            for command in _commands(part):
                calls.add(command.method.replace("/", "."))
                reader.follow(command.request, state, NOTHING)
    return Consumer(f"{manifest.name}/{name}", manifest.team, _reads(reader, heard), sorted(calls))


def _functions(part: Node) -> Iterator[tuple[Callable[..., Any], type[Message] | None]]:
    """The functions of a part that see the saga, each with the event that it sees too."""
    match part:
        case Child():
            yield part.input, None
        case Wait():
            if callable(part.deadline_s):
                yield part.deadline_s, None
            yield from ((part.matches, event) for event in part.events)
            yield from ((why, event) for event, why in part.fails_on.items())
        case Human():
            yield part.question, None
            yield part.validator, None
        case Choice():
            yield from ((condition, None) for condition, _ in part.ways)
        case Repeat():
            yield part.until, None
        case During():
            yield from ((reaction.why, event) for event, reaction in part.on.items())


def _commands(part: Node) -> list[Command]:
    return [command for command in (part.command, part.undo) if command is not None] if isinstance(part, Step) else []


def _answers(workflow: Workflow) -> Iterator[tuple[str, frozenset[Ref]]]:
    """What each step of a workflow is answered: the response of its method, how its child ended, or the event that came."""
    for leaf in workflow.leaves():
        if isinstance(leaf, Wait):
            yield leaf.name, _whole([type_name(event) for event in leaf.events])
        elif isinstance(leaf, Human):
            yield leaf.name, _whole([type_name(HumanDecided)])
        elif isinstance(leaf, Child):
            yield leaf.name, _whole([type_name(ChildEnded)])
        else:
            service, _, method = leaf.command.method.partition("/")
            found: MethodDescriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
            yield leaf.name, _whole([found.output_type.full_name])


def _calls(service: type[Service]) -> Iterator[str]:
    """The methods of others that a class calls through its clients."""
    clients = {name: one.service for name, one in inspect.getmembers(service) if isinstance(one, Client)}
    methods = [method for _, method in inspect.getmembers(service, inspect.isfunction)] if clients else []
    used = [pair for method in methods for pair in _attributes(method) if pair[0] in clients]
    yield from (f"{clients[client]}.{name}" for client, name in used if name)
    for client, of in clients.items():
        # If it is handed to somebody, or used where nobody looks, any method may be called.
        if (client, "") in used or client not in dict(used):
            # Without its contract nobody can make a request for it.
            with contextlib.suppress(KeyError):
                found: ServiceDescriptor = descriptor_pool.Default().FindServiceByName(of)
                yield from (each.full_name for each in found.methods)


def _attributes(function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Each attribute that a function names, and the attribute that is read of that one; empty: it is used as a whole."""
    nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    of_another = {id(one.value): one.attr for one in nodes if isinstance(one, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            yield node.attr, of_another.get(id(node), "")


def _members(service: type[Service], kind: type) -> list[Any]:
    return [one for _, one in inspect.getmembers(service, lambda member: isinstance(member, kind))]


def _whole(names: Iterable[str]) -> frozenset[Ref]:
    return frozenset(Ref(name, (), _kind(name)) for name in names)


def _kind(name: str) -> Descriptor:
    kind: Any = message_class(name).DESCRIPTOR
    return cast(Descriptor, kind)


def _reads(reader: Reader, heard: Iterable[str]) -> dict[str, list[str]]:
    """Of each event that is heard or read, the fields that are read."""
    return {name: paths(reader.reads.get(name, ())) for name in sorted({*heard, *reader.reads})}


def consumers(places: Iterable[Path]) -> list[Consumer]:
    """All consumers among the services of some folders. ManifestError: one of them cannot be loaded."""
    manifests = find_manifests(places)
    loaded = [(manifest, load_entry(manifest)) for manifest in manifests]
    load_upcasters(manifests)
    found = [one for manifest, service in loaded for one in consumer_of(manifest, service)]
    return [one for one in found if one.reads or one.calls]


def text_of(found: Iterable[Consumer], made_by: str) -> str:
    """The file as it must be. `made_by`: the command that writes it."""
    lines = []
    for one in found:
        lines += ["", f"{one.name}:", f"  team: {one.team}"]
        lines += ["  reads:"] * bool(one.reads)
        lines += [f"    {name}: [{', '.join(map(_quoted, fields))}]" for name, fields in one.reads.items()]
        lines += ["  calls:"] * bool(one.calls) + [f"    - {method}" for method in one.calls]
    return _HEAD.format(made_by=made_by) + "\n".join(lines) + "\n"


def _quoted(path: str) -> str:
    return f'"{path}"' if WHOLE in path else path
