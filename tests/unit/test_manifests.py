"""Manifests, contracts and service classes say the same."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from citybrain.cli.local import DESCRIPTORS, ROOT
from citybrain.mesh.entrypoints.calls import Rpc
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.manifest import Manifest, find_manifests
from citybrain.mesh.serve import rooms
from citybrain.mesh.service import View

MANIFESTS = find_manifests(rooms())
FILES = FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file
each = pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.name)


def service_class(manifest: Manifest) -> type:
    module, _, name = manifest.entry.partition(":")
    found: type = getattr(import_module(module), name)
    return found


def entrypoints(manifest: Manifest, *kinds: type) -> dict[str, list[object]]:
    """The entrypoints of some kinds, by the name of the method."""
    found = {}
    for name, method in inspect.getmembers(service_class(manifest), inspect.isfunction):
        mine = [entry for entry in getattr(method, "nameko_entrypoints", ()) if isinstance(entry, kinds)]
        if mine:
            found[name] = mine
    return found


def package(manifest: Manifest) -> str:
    return manifest.grpc.rpartition(".")[0]


def events_of(name: str) -> set[str]:
    """Every message of the contract's events.proto that is not a part of another."""
    messages = [
        message
        for file in FILES
        if file.package == name and file.name.endswith("/events.proto")
        for message in file.message_type
    ]
    parts = {field.type_name.removeprefix(".") for message in messages for field in message.field}
    return {f"{name}.{message.name}" for message in messages} - parts


def heard_by(manifest: Manifest) -> set[str]:
    """What its reactions and views are made from."""
    sources: list[Any] = [entry for found in entrypoints(manifest, Subscribe).values() for entry in found]
    sources += [view for _, view in inspect.getmembers(service_class(manifest), lambda member: isinstance(member, View))]
    return {event for source in sources for event in source.types}


def test_there_is_a_manifest_for_every_service_of_the_contracts() -> None:
    outside_of_manifests = {"citybrain.clock.v1.ClockService", "citybrain.mesh.v1.MeshService"}
    of_contracts = {
        f"{file.package}.{service.name}" for file in FILES if file.package.startswith("citybrain.") for service in file.service
    }
    assert {manifest.grpc for manifest in MANIFESTS} == of_contracts - outside_of_manifests


@each
def test_a_service_publishes_every_event_of_its_own_contract_and_no_other(manifest: Manifest) -> None:
    assert len(manifest.publishes) == len(set(manifest.publishes))
    assert set(manifest.publishes) == events_of(package(manifest))


def test_every_event_of_every_contract_has_exactly_one_publisher() -> None:
    published = [event for manifest in MANIFESTS for event in manifest.publishes]
    packages = {file.package for file in FILES if file.name.endswith("/events.proto")}
    assert sorted(published) == sorted(event for name in packages for event in events_of(name))


@each
def test_what_a_service_hears_is_what_its_manifest_subscribes_to_and_its_own_events(manifest: Manifest) -> None:
    own = events_of(package(manifest))
    assert len(manifest.subscribes) == len(set(manifest.subscribes))
    assert heard_by(manifest) - own == set(manifest.subscribes)


@each
def test_every_method_of_the_contract_has_a_method_of_the_class_and_the_other_way_round(manifest: Manifest) -> None:
    contract = descriptor_pool.Default().FindServiceByName(manifest.grpc)
    assert set(entrypoints(manifest, Rpc)) == {method.name for method in contract.methods}


@each
def test_the_class_has_the_name_of_its_manifest(manifest: Manifest) -> None:
    assert service_class(manifest).name == manifest.name  # type: ignore[attr-defined]


def test_no_two_services_want_the_same_port() -> None:
    ports = [manifest.port for manifest in MANIFESTS]
    assert len(ports) == len(set(ports))


def test_every_folder_with_a_manifest_has_a_readme() -> None:
    folders = [path.parent for pattern in ("services/*", "sagas") for path in Path(ROOT).glob(f"{pattern}/manifest.yaml")]
    assert len(folders) == len(MANIFESTS)
    for folder in folders:
        assert (folder / "README.md").read_text(encoding="utf-8").strip(), folder
