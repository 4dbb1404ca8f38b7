"""Manifests, contracts and service classes say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from citybrain.local.city import ROOT
from citybrain.local.contracts import descriptors
from citybrain.mesh.manifest import Manifest, find_manifests
from citybrain.mesh.startup.entry import events_of, load_entry
from citybrain.mesh.startup.serve import rooms

MANIFESTS = find_manifests(rooms())
FILES = FileDescriptorSet.FromString(descriptors().read_bytes()).file
each = pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest.name)


def test_there_is_a_manifest_for_every_service_of_the_contracts() -> None:
    outside_of_manifests = {"citybrain.clock.v1.ClockService", "citybrain.mesh.v1.MeshService"}
    of_contracts = {
        f"{file.package}.{service.name}" for file in FILES if file.package.startswith("citybrain.") for service in file.service
    }
    assert {manifest.grpc for manifest in MANIFESTS} == of_contracts - outside_of_manifests


def test_every_event_of_every_contract_has_exactly_one_publisher() -> None:
    published = [event for manifest in MANIFESTS for event in manifest.publishes]
    for manifest in MANIFESTS:
        load_entry(manifest)
    packages = {file.package for file in FILES if file.name.endswith("/events.proto")}
    # The kit itself writes those of its own package.
    packages.remove("citybrain.mesh.v1")
    assert sorted(published) == sorted(event for name in packages for event in events_of(name))


@each
def test_manifest_class_and_contract_say_the_same(manifest: Manifest) -> None:
    assert load_entry(manifest).name == manifest.name


def test_no_two_services_want_the_same_port() -> None:
    ports = [manifest.port for manifest in MANIFESTS]
    assert len(ports) == len(set(ports))


def test_every_folder_with_a_manifest_has_a_readme() -> None:
    folders = [path.parent for pattern in ("services/*", "sagas") for path in Path(ROOT).glob(f"{pattern}/manifest.yaml")]
    assert len(folders) == len(MANIFESTS)
    for folder in folders:
        assert (folder / "README.md").read_text(encoding="utf-8").strip(), folder


@pytest.mark.parametrize(
    "manifest", find_manifests([ROOT / "benchmarks" / "kit" / "services"]), ids=lambda manifest: manifest.name
)
def test_the_services_that_are_measured_start_as_any_other(manifest: Manifest) -> None:
    assert load_entry(manifest).name == manifest.name
