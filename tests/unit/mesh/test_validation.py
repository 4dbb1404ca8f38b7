"""Rules of contracts: every broken one is named, by the path of its field; what keeps them passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from citybrain.district_hub.v1 import district_hub_service_pb2 as hub
from citybrain.emergency_command.v1 import emergency_command_service_pb2 as command
from citybrain.emergency_command.v1.events_pb2 import IncidentOpened
from citybrain.health.v1 import health_service_pb2 as health
from citybrain.roads.v1.roads_pb2 import RoadEdge, RoadPlace
from citybrain.sagas.v1 import saga_service_pb2 as sagas
from citybrain.traffic.v1 import traffic_service_pb2 as traffic
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message
from grpc_tools import protoc
from hypothesis import given
from hypothesis import strategies as st

from citybrain.mesh.errors import BadRequest
from citybrain.mesh.runtime.validation import EventRefused, UnusableRules, check, check_event, prepare

ROOT = Path(__file__).resolve().parents[3]
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
    assert (broken(RoadPlace(edge_id=text)) == {}) == (0 < len(text.encode()) <= 180)


@pytest.mark.parametrize(("name", "good"), [("west", True), ("西湖", False), ("a b", False), ("a\n", False), ("a" * 61, False)])
def test_a_pattern_holds_for_the_whole_text(name: str, good: bool) -> None:
    assert (broken(hub.RegisterDistrictRequest(district_id=name, name="n")) == {}) is good


def test_too_many_entries_are_counted() -> None:
    request = hub.NotifyDistrictsRequest(incident_id="i", round_id="r", edge_ids=["e"] * 4001)
    assert broken(request) == {"edge_ids": "must contain no more than 4000 item(s)"}


def test_each_text_of_a_list_is_measured_and_named_with_its_number() -> None:
    request = hub.NotifyDistrictsRequest(incident_id="i", round_id="r", edge_ids=["e", "e" * 181])
    assert broken(request) == {"edge_ids[1]": "must be at most 180 bytes"}


def test_of_a_request_made_to_break_a_million_rules_only_the_first_is_told() -> None:
    request = traffic.ReportObservationsRequest(observed_at={"seconds": 1}, queues=[traffic.Queue()] * 1_000_000)
    assert broken(request) == {"queues": "must contain no more than 5000 item(s)"}
    shown = traffic.SignalShown(signal_id="s", state="G", since_s=[math.nan] * 500)
    request = traffic.ReportObservationsRequest(observed_at={"seconds": 1}, signals=[shown] * 900)
    assert list(broken(request)) == ["signals[0].since_s[0]"]


def test_a_value_no_contract_knows_is_refused() -> None:
    assert list(broken(report(severity=77))) == ["severity"]


def test_a_zero_is_a_number_where_the_contract_cannot_tell_it_from_none() -> None:
    request = health.RegisterHospitalRequest(hospital_id="h", entrance=PLACE, places=0)
    assert list(broken(request)) == ["places"]


@pytest.mark.parametrize(
    ("seconds", "nanos", "good"),
    [
        (-62_135_596_800, 0, True),
        (253_402_300_799, 999_999_999, True),
        (-62_135_596_801, 0, False),
        (253_402_300_800, 0, False),
        (0, -1, False),
        (0, 1_000_000_000, False),
        (-(2**63), 0, False),
    ],
)
def test_a_moment_that_no_calendar_has_is_refused_wherever_it_stands(seconds: int, nanos: int, good: bool) -> None:
    moment = {"seconds": seconds, "nanos": nanos}
    plan = {"signal_id": "s", "phases": [{"state": "G", "duration_s": 9}], "cycle_start": moment}
    assert list(broken(traffic.RegisterSignalRequest(signal=plan))) == ([] if good else ["signal.cycle_start"])


HEAD = """
syntax = "proto3";
package citybrain.%s;
import "buf/validate/validate.proto";
import "google/protobuf/timestamp.proto";
"""
# What no contract of the city has yet.
VALIDATED = """
enum Kind { KIND_UNSPECIFIED = 0; KIND_FIRST = 1; KIND_SECOND = 2; }
message Made {
  option (buf.validate.message).cel = {
    id: "names.parts" message: "has more names than parts" expression: "this.names.size() <= this.parts.size()"
  };
  oneof choice {
    int32 hot = 1 [(buf.validate.field).int32.gte = 5];
    int32 cold = 2 [(buf.validate.field).int32.lte = -5];
  }
  optional double level = 3 [(buf.validate.field).double = {gte: 1, finite: true}];
  repeated double parts = 4 [(buf.validate.field).repeated.items.double = {gte: 0, lte: 1}];
  repeated string names = 5 [(buf.validate.field).repeated.items.string.pattern = "^[a-z]+$"];
  repeated Kind kinds = 6 [(buf.validate.field).repeated.items.enum.defined_only = true];
  map<string, Kind> places = 7 [(buf.validate.field).map = {
    max_pairs: 2, keys: {string: {max_bytes: 3}}, values: {enum: {defined_only: true}}
  }];
  map<int32, google.protobuf.Timestamp> moments = 8;
  repeated google.protobuf.Timestamp times = 9;
}
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Any]:
    """Makes the class `Made` of a contract: its package and its messages. The same twice is the same class."""
    folder = tmp_path_factory.mktemp("contracts")
    known: dict[str, Any] = {}

    def make(package: str, text: str) -> Any:
        if package not in known:
            (folder / f"{package}.proto").write_text(HEAD % package + text, encoding="utf-8")
            well_known = files("grpc_tools") / "_proto"
            out = folder / f"{package}.binpb"
            rules = ROOT / "build" / "third_party" / "validate.binpb"
            command = [
                "protoc",
                f"-I{folder}",
                f"-I{well_known}",
                f"--descriptor_set_in={rules}",
                f"--descriptor_set_out={out}",
            ]
            assert protoc.main([*command, f"{package}.proto"]) == 0
            pool = descriptor_pool.Default()
            pool.Add(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file[0])
            known[package] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"citybrain.{package}.Made"))
        return known[package]

    return make


@pytest.mark.parametrize(
    ("package", "text", "fields", "names"),
    [
        ("of_a_choice", "message Made { oneof c { option (buf.validate.oneof).required = true; int32 a = 1; } }", {}, ["c"]),
        (
            "of_a_whole",
            """message Inner {
              option (buf.validate.message).cel = {id: "few" message: "has many" expression: "this.a <= 1"};
              int32 a = 1;
            }
            message Made { map<string, Inner> inner = 1; }""",
            {"inner": {"x": {"a": 2}}},
            ["inner['x']"],
        ),
        ("of_nothing", "message Made { int32 a = 1; }", {"a": -1}, []),
    ],
)
def test_a_rule_is_found_wherever_it_stands(
    made: Callable[[str, str], Any], package: str, text: str, fields: dict[str, Any], names: list[str]
) -> None:
    kind = made(package, text)
    assert list(broken(json_format.ParseDict(fields, kind()))) == names


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
        ({"level": math.inf}, ["level"]),
        ({"parts": [0, 0.5, 1]}, []),
        ({"parts": [0, math.nan]}, ["parts[1]"]),
        ({"parts": [0, 0], "names": ["a", "b"]}, []),
        ({"parts": [0, 0], "names": ["a", ""]}, ["names[1]"]),
        ({"names": ["a"]}, ["request"]),
        ({"kinds": [1, 2, 3]}, ["kinds[2]"]),
        ({"places": {"a": 1, "b": 0}}, []),
        ({"places": {"a": 9}}, ["places['a']"]),
        ({"places": {"long": 1}}, ["places['long']"]),
        ({"places": {"a": 1, "b": 1, "c": 1}}, ["places"]),
        ({"moments": {7: {"nanos": -1}}}, ["moments[7]"]),
        ({"times": [{}, {"nanos": -1}]}, ["times[1]"]),
    ],
)
def test_lists_maps_choices_and_fields_that_may_be_left_out_are_named_by_their_path(
    made: Callable[[str, str], Any], fields: dict[str, Any], names: list[str]
) -> None:
    assert list(broken(made("validated", VALIDATED)(**fields))) == names


def test_what_is_wrong_is_told_in_words_that_help(made: Callable[[str, str], Any]) -> None:
    told = broken(made("validated", VALIDATED)(kinds=[9], places={"long": 1}, hot=3, names=["a"]))
    assert told == {
        "request": "has more names than parts",
        "hot": "is 3; must be greater than or equal to 5",
        "kinds[0]": "is no known value; use one of KIND_FIRST, KIND_SECOND",
        "places['long']": "has a key that must be at most 3 bytes",
    }


@pytest.mark.parametrize(
    ("package", "rule"),
    [
        ("unfitting", "int32.gte = 3"),
        ("unreadable", 'cel = {id: "x" message: "m" expression: "this.nothing > 3"}'),
        ("unclosed", 'string.pattern = "["'),
    ],
)
def test_a_rule_that_cannot_be_evaluated_is_found_at_the_start_and_its_contract_named(
    made: Callable[[str, str], Any], package: str, rule: str
) -> None:
    text = "message Made { Inner inner = 1; } message Inner { string text = 1 [(buf.validate.field).%s]; }"
    contract = made(package, text % rule)
    with pytest.raises(UnusableRules, match=rf"citybrain\.{package}\.Inner cannot be used: .* mend them in its \.proto"):
        prepare(contract.DESCRIPTOR)
    with pytest.raises(UnusableRules):
        prepare(contract.DESCRIPTOR)


def test_an_event_that_breaks_its_contract_is_refused_with_its_name_and_the_field() -> None:
    check_event(IncidentOpened(incident_id="inc-0123456789ab", place=PLACE))
    with pytest.raises(
        EventRefused, match=r"IncidentOpened breaks its contract and was not written: place\.position_m: is nan"
    ):
        check_event(IncidentOpened(incident_id="inc-0123456789ab", place=RoadPlace(edge_id="e", position_m=math.nan)))
