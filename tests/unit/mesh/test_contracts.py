"""Contracts are found by name, though nobody has loaded them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from citybrain.mesh.contracts import find_message, find_service, look_in, services
from citybrain.mesh.events import message_class


def test_a_contract_of_this_city_is_loaded_when_it_is_asked_for() -> None:
    # In a process of its own: this one has loaded most of them.
    code = (
        "import sys; from citybrain.mesh.contracts import find_message; "
        "assert 'citybrain.health.v1.events_pb2' not in sys.modules; "
        "print(find_message('citybrain.health.v1.AmbulanceReserved').file.name)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "citybrain/health/v1/events.proto\n"


def test_nothing_but_a_contract_is_loaded_whatever_is_asked_for() -> None:
    for name in ("antigravity.Thing", "citybrain.mesh.service.Thing", "citybrain.nowhere.v1.Thing", "", "Thing"):
        with pytest.raises(KeyError):
            find_message(name)
    assert "antigravity" not in sys.modules


def test_a_contract_of_another_repository_is_taken_from_the_file_even_if_that_comes_later(tmp_path: Path) -> None:
    path, name = tmp_path / "contracts.binpb", "citybrain.canals.v1.LockOpened"
    look_in(path)
    with pytest.raises(KeyError):
        find_message(name)
    moment = FieldDescriptorProto(
        name="at", number=1, type=FieldDescriptorProto.TYPE_MESSAGE, label=FieldDescriptorProto.LABEL_OPTIONAL,
        type_name=".citybrain.canals.v1.Gate",
    )  # fmt: skip
    gates = FileDescriptorProto(name="citybrain/canals/v1/gates.proto", package="citybrain.canals.v1", syntax="proto3")
    gates.message_type.add(name="Gate")
    file = FileDescriptorProto(name="citybrain/canals/v1/events.proto", package="citybrain.canals.v1", syntax="proto3")
    file.dependency.append(gates.name)
    file.message_type.add(name="LockOpened").field.append(moment)
    path.write_bytes(FileDescriptorSet(file=[file, gates]).SerializeToString())
    assert find_message(name).file.name == file.name
    assert message_class(name)().DESCRIPTOR.full_name == name


def test_a_service_is_found_by_its_name_too_and_all_of_this_city_are_known() -> None:
    code = (
        "from citybrain.mesh.contracts import find_service; print(find_service('citybrain.health.v1.HealthService').file.name)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "citybrain/health/v1/health_service.proto\n"
    for name in ("citybrain.nowhere.v1.HealthService", "citybrain.health.v1.NoService", "HealthService", ""):
        with pytest.raises(KeyError):
            find_service(name)
    assert {"citybrain.health.v1.HealthService", "citybrain.sagas.v1.SagaService"} <= set(services())


def test_a_service_of_another_repository_is_taken_from_the_file(tmp_path: Path) -> None:
    path, name = tmp_path / "contracts.binpb", "citybrain.locks.v1.LockService"
    look_in(path)
    file = FileDescriptorProto(name="citybrain/locks/v1/lock_service.proto", package="citybrain.locks.v1", syntax="proto3")
    file.service.add(name="LockService")
    path.write_bytes(FileDescriptorSet(file=[file]).SerializeToString())
    assert find_service(name).full_name == name
