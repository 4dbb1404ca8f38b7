"""Rules of contracts: every broken one is named, by the path of its field; what keeps them passes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.options.v1 import options_pb2
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.validation import check

PLACE = RoadPlace(edge_id="e1", position_m=3)


def broken(message: Message) -> dict[str, str]:
    try:
        check(message)
    except BadRequest as error:
        return dict(error.violations)
    return {}


def report(**fields: Any) -> command.ReportEmergencyRequest:
    good: dict[str, Any] = {"channel": command.CHANNEL_PHONE, "severity": command.SEVERITY_MINOR, "place": PLACE}
    return command.ReportEmergencyRequest(**{**good, **fields})


def test_what_keeps_its_rules_passes() -> None:
    assert broken(report()) == {}


def test_every_missing_field_is_named_at_once_and_enums_say_what_to_use() -> None:
    violations = broken(command.ReportEmergencyRequest())
    assert list(violations) == ["channel", "severity", "place"]
    assert "SEVERITY_MINOR" in violations["severity"]


def test_a_nested_field_is_named_by_its_path() -> None:
    assert list(broken(report(place=RoadPlace(position_m=-1)))) == ["place.edge_id", "place.position_m"]


def test_a_field_of_one_entry_of_many_is_named_with_its_number() -> None:
    edges = [RoadEdge(edge_id="e1", length_m=10, free_speed_mps=10), RoadEdge(edge_id="e2", free_speed_mps=10)]
    assert list(broken(traffic.PublishRoadsRequest(edges=edges))) == ["edges[1].length_m"]


@pytest.mark.parametrize("number", [math.nan, -math.nan, math.inf, -math.inf, -1e-9, 100000.1])
def test_a_number_outside_its_range_or_no_number_is_refused(number: float) -> None:
    assert list(broken(report(place=RoadPlace(edge_id="e", position_m=number)))) == ["place.position_m"]


@given(st.floats())
def test_exactly_the_numbers_in_the_range_pass(number: float) -> None:
    assert (broken(RoadPlace(edge_id="e", position_m=number)) == {}) == (0 <= number <= 100000)


@given(st.integers(-(2**31), 2**31 - 1))
def test_exactly_the_page_sizes_allowed_pass(size: int) -> None:
    assert (broken(sagas.ListSagasRequest(page_size=size)) == {}) == (0 <= size <= 500)


@given(st.text(max_size=60))
def test_text_is_measured_in_bytes(text: str) -> None:
    assert (broken(RoadPlace(edge_id=text)) == {}) == (0 < len(text.encode()) <= 120)


@pytest.mark.parametrize(("name", "good"), [("west", True), ("西湖", False), ("a b", False), ("a\n", False), ("a" * 61, False)])
def test_a_pattern_holds_for_the_whole_text(name: str, good: bool) -> None:
    assert (broken(hub.RegisterDistrictRequest(district_id=name, name="n")) == {}) is good


def test_too_many_entries_are_counted() -> None:
    request = hub.NotifyDistrictsRequest(incident_id="i", round_id="r", edge_ids=["e"] * 4001)
    assert broken(request) == {"edge_ids": "has 4001 entries; at most 4000 are allowed"}


def test_a_value_no_contract_knows_is_refused() -> None:
    assert list(broken(report(severity=77))) == ["severity"]


def test_a_zero_is_a_number_where_the_contract_cannot_tell_it_from_none() -> None:
    request = health.RegisterHospitalRequest(hospital_id="h", entrance=PLACE, places=0)
    assert list(broken(request)) == ["places"]


def rules(**values: Any) -> descriptor_pb2.FieldOptions:
    options: Any = descriptor_pb2.FieldOptions()
    options.Extensions[options_pb2.rules].CopyFrom(options_pb2.Rules(**values))
    return options  # type: ignore[no-any-return]


def made() -> type[Message]:
    """A contract with what no contract of the city has yet: optional fields and a choice between fields."""
    file = descriptor_pb2.FileDescriptorProto(name="validated.proto", package="citybrain.validated", syntax="proto3")
    file.dependency.append("citybrain/options/v1/options.proto")
    message = file.message_type.add(name="Validated")
    message.oneof_decl.add(name="choice")
    message.oneof_decl.add(name="_level")
    kind = descriptor_pb2.FieldDescriptorProto
    one = kind.LABEL_OPTIONAL
    message.field.add(name="hot", number=1, type=kind.TYPE_INT32, label=one, oneof_index=0, options=rules(min=5))
    message.field.add(name="cold", number=2, type=kind.TYPE_INT32, label=one, oneof_index=0, options=rules(max=-5))
    level = message.field.add(name="level", number=3, type=kind.TYPE_DOUBLE, label=one, oneof_index=1, options=rules(min=1))
    level.proto3_optional = True
    many = kind.LABEL_REPEATED
    message.field.add(name="parts", number=4, type=kind.TYPE_DOUBLE, label=many, options=rules(min=0, max=1))
    message.field.add(name="names", number=5, type=kind.TYPE_STRING, label=many, options=rules(pattern="[a-z]+"))
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("citybrain.validated.Validated"))


VALIDATED = made()


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, []),
        ({"hot": 5}, []),
        ({"hot": 4}, ["hot"]),
        ({"hot": 0}, ["hot"]),
        ({"cold": -6}, []),
        ({"cold": 0}, ["cold"]),
        ({"level": 1.5}, []),
        ({"level": 0.0}, ["level"]),
        ({"parts": [0, 0.5, 1]}, []),
        ({"parts": [0, math.nan]}, ["parts"]),
        ({"names": ["a", "b"]}, []),
        ({"names": ["a", ""]}, ["names"]),
    ],
)
def test_a_field_that_may_be_left_out_is_checked_only_when_it_is_there(fields: dict[str, Any], names: list[str]) -> None:
    assert list(broken(VALIDATED(**fields))) == names
