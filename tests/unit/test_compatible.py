"""What breaks a released contract is told before it is committed: who reads it, where it stands, and what to do instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from buf.validate import validate_pb2
from citybrain.options.v1 import options_pb2
from google.api import annotations_pb2
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
)

from citybrain.cli.compatibility.breaks import buf_breaking, findings, stricter, unneeded
from citybrain.cli.compatibility.contracts import Consumer, to_keep, written
from citybrain.local.city import ROOT
from citybrain.mesh.manifest import find_manifests
from tools import compatible
from tools.compatible import BUF, CHOSEN_IN, main
from tools.contracts import CONSUMERS
from tools.released import main as keep
from tools.released import now, problem, released, stale

HEALTH, TRAFFIC, COMMAND = "citybrain/health/v1", "citybrain/traffic/v1", "citybrain/emergency_command/v1"
RESERVED = "citybrain.health.v1.AmbulanceReserved"
SERVICE = "citybrain.health.v1.HealthService"
BUILT = now()
READ = written(CONSUMERS.read_text(encoding="utf-8"))
CHANGELOG = "# Changelog\n\n## [Unreleased]\n"
OPTIONS: Any = options_pb2
HTTP: Any = annotations_pb2.http
RULES: Any = validate_pb2.field
Change = Callable[[FileDescriptorSet], object]


def file(contracts: FileDescriptorSet, name: str) -> FileDescriptorProto:
    return next(one for one in contracts.file if one.name == name)


def message(contracts: FileDescriptorSet, name: str) -> DescriptorProto:
    package, _, short = name.rpartition(".")
    return next(m for one in contracts.file if one.package == package for m in one.message_type if m.name == short)


def field(contracts: FileDescriptorSet, name: str) -> FieldDescriptorProto:
    of, _, short = name.rpartition(".")
    return next(one for one in message(contracts, of).field if one.name == short)


def method(contracts: FileDescriptorSet, name: str) -> MethodDescriptorProto:
    service, _, short = name.rpartition(".")
    package, _, of = service.rpartition(".")
    services = [s for one in contracts.file if one.package == package for s in one.service if s.name == of]
    return next(one for one in services[0].method if one.name == short)


def without(name: str) -> Change:
    """The field is taken out, or the message."""

    def change(contracts: FileDescriptorSet) -> None:
        of, _, short = name.rpartition(".")
        if short[0].isupper():
            (holder,) = [one for one in contracts.file for m in one.message_type if f"{one.package}.{m.name}" == name]
            holder.message_type.remove(message(contracts, name))
        else:
            message(contracts, of).field.remove(field(contracts, name))

    return change


def with_(name: str, find: Callable[[FileDescriptorSet, str], Any], /, **values: Any) -> Change:
    def change(contracts: FileDescriptorSet) -> None:
        found = find(contracts, name)
        for key, value in values.items():
            setattr(found, key, value)

    return change


def option(name: str, find: Callable[[FileDescriptorSet, str], Any], extension: str, value: Any) -> Change:
    def change(contracts: FileDescriptorSet) -> None:
        options, key = find(contracts, name).options, getattr(OPTIONS, extension)
        options.ClearExtension(key)
        if value is not None:
            options.Extensions[key] = value

    return change


def rule(name: str, path: str, value: Any) -> Change:
    def change(contracts: FileDescriptorSet) -> None:
        rules = field(contracts, name).options.Extensions[RULES]
        *kinds, last = path.split(".")
        for kind in kinds:
            rules = getattr(rules, kind)
        setattr(rules, last, value)

    return change


def told(change: Change, upcast: Mapping[str, str] | None = None, before: FileDescriptorSet = BUILT) -> list[str]:
    """What is told of contracts after a change."""
    after = FileDescriptorSet()
    after.CopyFrom(before)
    change(after)
    return [one.line() for one in findings(to_keep(before), after, READ, upcast)]


def at(contract: str, declared: str, inside: str = "") -> str:
    """File and line of what is declared there, behind a line with `inside`."""
    lines = (ROOT / "protos" / contract).read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if inside in line)
    return f"protos/{contract}:{next(n for n, line in enumerate(lines) if n >= begin and declared in line) + 1}"


EVENTS = f"{HEALTH}/events.proto"
NEW_TYPE = r"give the event a new type .* write an upcaster"


@pytest.mark.parametrize(
    ("change", "where", "sentence"),
    [
        pytest.param(
            without(f"{RESERVED}.incident_id"),
            at(EVENTS, "message AmbulanceReserved {"),
            rf"{RESERVED}\.incident_id is gone, and health \(team health\) reads it: put it back with its number 2.*{NEW_TYPE}",
            id="a field that a service reads",
        ),
        pytest.param(
            without(f"{RESERVED}.station"),
            at(EVENTS, "message AmbulanceReserved {"),
            rf"{RESERVED}\.station is gone, and events with it are in the log: put it back with its number 4",
            id="a field that nobody reads",
        ),
        pytest.param(
            without("citybrain.roads.v1.RoadEdge.length_m"),
            at("citybrain/roads/v1/roads.proto", "message RoadEdge {"),
            r"RoadEdge\.length_m is gone, and emergency_command \(team emergency-command\), health \(team health\), "
            r"safety \(team public-safety\), traffic \(team traffic-police\) read it:",
            id="a field inside of a field that services read",
        ),
        pytest.param(
            without("citybrain.health.v1.ReserveBedResponse.hospital_id"),
            at(f"{HEALTH}/health_service.proto", "message ReserveBedResponse {"),
            r"ReserveBedResponse\.hospital_id is gone, and sagas/emergency_response \(team city-brain\) reads it: put it back",
            id="a field of an answer that a workflow reads",
        ),
        pytest.param(
            with_(f"{RESERVED}.incident_id", field, name="case_id", json_name="caseId"),
            at(EVENTS, "string incident_id = 2;", "message AmbulanceReserved"),
            rf"{RESERVED}\.incident_id is called case_id now, and health \(team health\) reads it: put the old name back",
            id="a field is renamed",
        ),
        pytest.param(
            with_(f"{RESERVED}.incident_id", field, number=22),
            at(EVENTS, "string incident_id = 2;", "message AmbulanceReserved"),
            rf"{RESERVED}\.incident_id has the number 22 and had 2, and health \(team health\) reads it: put the number back",
            id="a field is renumbered",
        ),
        pytest.param(
            with_(f"{RESERVED}.incident_id", field, type=FieldDescriptorProto.TYPE_INT64),
            at(EVENTS, "string incident_id = 2;", "message AmbulanceReserved"),
            rf"{RESERVED}\.incident_id is int64 and was string, and health .* reads it: put it back, and {NEW_TYPE}",
            id="a field gets another type",
        ),
        pytest.param(
            with_(f"{RESERVED}.incident_id", field, label=FieldDescriptorProto.LABEL_REPEATED),
            at(EVENTS, "string incident_id = 2;", "message AmbulanceReserved"),
            rf"{RESERVED}\.incident_id is a list of string and was string",
            id="a field becomes a list",
        ),
        pytest.param(
            with_(f"{RESERVED}.incident_id", field, proto3_optional=True),
            at(EVENTS, "string incident_id = 2;", "message AmbulanceReserved"),
            rf"{RESERVED}\.incident_id is optional string and was string",
            id="a field comes to be optional",
        ),
        pytest.param(
            with_(f"{RESERVED}.incident_id", field, json_name="case"),
            at(EVENTS, "string incident_id = 2;", "message AmbulanceReserved"),
            rf"{RESERVED}\.incident_id is case in JSON and was incidentId",
            id="a field gets another name in JSON",
        ),
        pytest.param(
            without(RESERVED),
            f"protos/{EVENTS}",
            rf"{RESERVED}, an event, is gone, and health \(team health\) hears it: its events stay in the log\. Put it back, "
            "deprecated, with an upcaster",
            id="an event is taken out",
        ),
        pytest.param(
            with_(RESERVED, lambda c, n: message(c, n).options, deprecated=True),
            at(EVENTS, "message AmbulanceReserved {"),
            rf"{RESERVED} is deprecated, and nothing says how its events read today: declare an @upcast",
            id="an event is given up without an upcaster",
        ),
        pytest.param(
            option("citybrain.health.v1.PatientAnnounced", message, "classification", OPTIONS.CLASSIFICATION_INTERNAL),
            at(EVENTS, "message PatientAnnounced {"),
            r"PatientAnnounced was RESTRICTED and is INTERNAL: more people are shown the events that follow",
            id="an event's classification is lowered",
        ),
        pytest.param(
            option("citybrain.health.v1.PatientAnnounced", message, "classification", None),
            at(EVENTS, "message PatientAnnounced {"),
            r"PatientAnnounced was RESTRICTED and is INTERNAL",
            id="an event's classification is taken out",
        ),
        pytest.param(
            option("citybrain.emergency_command.v1.IncidentOpened.reporter", field, "personal", None),
            at(f"{COMMAND}/events.proto", "Contact reporter = 6"),
            r"IncidentOpened\.reporter was personal of reporter_id and is not: .* cannot be erased",
            id="a field is personal no more",
        ),
        pytest.param(
            option("citybrain.emergency_command.v1.IncidentOpened.reporter", field, "personal", "incident_id"),
            at(f"{COMMAND}/events.proto", "Contact reporter = 6"),
            r"IncidentOpened\.reporter was personal of reporter_id and is of incident_id: .* erased with another person",
            id="a field is personal of somebody else",
        ),
        pytest.param(
            option(f"{RESERVED}.place", field, "personal", "incident_id"),
            at(EVENTS, "citybrain.roads.v1.RoadPlace place = 5;", "message AmbulanceReserved"),
            rf"{RESERVED}\.place is personal now and was not, .* is not sealed, .* Add a personal field beside it",
            id="a field of an event becomes personal",
        ),
        pytest.param(
            option("citybrain.district_hub.v1.SubscribeRequest.district_id", field, "district", None),
            at("citybrain/district_hub/v1/district_hub_service.proto", "string district_id", "message SubscribeRequest"),
            r"SubscribeRequest\.district_id names a district and is not marked as such any more",
            id="a district is no longer marked",
        ),
        pytest.param(
            option(f"{SERVICE}.ReserveBed", method, "scope", "health.everything"),
            at(f"{HEALTH}/health_service.proto", "rpc ReserveBed("),
            rf"{SERVICE}\.ReserveBed needed the scope health\.dispatch and needs health\.everything: callers who "
            r"hold it are refused, and those who hold the other are let in",
            id="a method needs another scope",
        ),
        pytest.param(
            option(f"{SERVICE}.ReserveBed", method, "scope", None),
            at(f"{HEALTH}/health_service.proto", "rpc ReserveBed("),
            rf"{SERVICE}\.ReserveBed needed the scope health\.dispatch and is closed: callers who hold it are refused",
            id="a method is closed",
        ),
        pytest.param(
            option(f"{SERVICE}.ReserveBed", method, "any_district", True),
            at(f"{HEALTH}/health_service.proto", "rpc ReserveBed("),
            rf"{SERVICE}\.ReserveBed may be called for any district, and was not: callers bound to one are let into others",
            id="a method is opened for every district",
        ),
        pytest.param(
            option("citybrain.emergency_command.v1.EmergencyCommandService.ReportEmergency", method, "any_district", None),
            at(f"{COMMAND}/emergency_command_service.proto", "rpc ReportEmergency("),
            r"ReportEmergency may be called for one's own district only, and was open for any",
            id="a method is no longer open for every district",
        ),
        pytest.param(
            with_(f"{SERVICE}.RegisterAmbulance", lambda c, n: method(c, n).options, idempotency_level=0),
            at(f"{HEALTH}/health_service.proto", "rpc RegisterAmbulance("),
            r"RegisterAmbulance was IDEMPOTENT and is IDEMPOTENCY_UNKNOWN: callers and the gateway repeat it",
            id="a method may be repeated no more",
        ),
        pytest.param(
            lambda c: setattr(method(c, f"{SERVICE}.ListAmbulances").options.Extensions[HTTP], "get", "/v2/ambulances"),
            at(f"{HEALTH}/health_service.proto", "rpc ListAmbulances("),
            r"ListAmbulances is no longer at GET /v1/ambulances, where callers of its JSON find it",
            id="a method has another address",
        ),
        pytest.param(
            with_(f"{SERVICE}.ReserveBed", method, name="HoldBed"),
            f"protos/{HEALTH}/health_service.proto",
            rf"{SERVICE}\.ReserveBed is gone, and sagas/emergency_response \(team city-brain\) calls it: put it back",
            id="a method is renamed",
        ),
        pytest.param(
            with_(f"{SERVICE}.HandOver", method, input_type=".citybrain.health.v1.CancelBedRequest"),
            at(f"{HEALTH}/health_service.proto", "rpc HandOver("),
            r"HandOver takes citybrain\.health\.v1\.CancelBedRequest and did citybrain\.health\.v1\.HandOverRequest, and sagas",
            id="a method takes another request",
        ),
        pytest.param(
            rule("citybrain.roads.v1.RoadPlace.edge_id", "string.max_bytes", 179),
            at("citybrain/roads/v1/roads.proto", "string edge_id = 1", "message RoadPlace"),
            r"RoadPlace\.edge_id has a stricter rule \(string\.max_bytes\): requests that were taken are refused",
            id="a request's limit is lowered",
        ),
        pytest.param(
            rule("citybrain.roads.v1.RoadPlace.position_m", "double.gte", 1.0),
            at("citybrain/roads/v1/roads.proto", "double position_m = 2", "message RoadPlace"),
            r"RoadPlace\.position_m has a stricter rule \(double\.gte\)",
            id="a request's least number is raised",
        ),
        pytest.param(
            rule("citybrain.roads.v1.RoadPlace.position_m", "required", True),
            at("citybrain/roads/v1/roads.proto", "double position_m = 2", "message RoadPlace"),
            r"RoadPlace\.position_m has a stricter rule \(required\)",
            id="a request must bring what it need not",
        ),
    ],
)
def test_what_breaks_somebody_is_told_once_with_the_reader_the_place_and_what_to_do(
    change: Change, where: str, sentence: str
) -> None:
    (line,) = told(change)
    place, _, text = line.partition(" ")
    assert place == f"{where}:"
    assert re.search(sentence, text), text


def new_field(of: str, **values: Any) -> Change:
    return lambda c: message(c, of).field.add(
        name="more", json_name="more", number=99, type=FieldDescriptorProto.TYPE_STRING, label=1, **values
    )


def ruled(**rules: Any) -> Change:
    """A new field of a request with rules."""

    def change(contracts: FileDescriptorSet) -> None:
        new_field("citybrain.health.v1.ReserveBedRequest")(contracts)
        of: Any = field(contracts, "citybrain.health.v1.ReserveBedRequest.more").options.Extensions[RULES]
        for name, value in rules.items():
            setattr(of if name == "required" else of.string, name, value)

    return change


def new_event(contracts: FileDescriptorSet) -> None:
    file(contracts, EVENTS).message_type.add(name="AmbulanceWashed")


def new_method(contracts: FileDescriptorSet) -> None:
    (service,) = file(contracts, f"{HEALTH}/health_service.proto").service
    kind = ".citybrain.health.v1.HandOverRequest"
    added = service.method.add(name="Wash", input_type=kind, output_type=".citybrain.health.v1.HandOverResponse")
    added.options.Extensions[OPTIONS.scope] = "health.wash"


def other_comments(contracts: FileDescriptorSet) -> None:
    for one in file(contracts, EVENTS).source_code_info.location:
        one.leading_comments = "Other words."


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: None, id="nothing"),
        pytest.param(new_field(RESERVED), id="a new field of an event"),
        pytest.param(new_field("citybrain.health.v1.ReserveBedRequest"), id="a new field of a request"),
        pytest.param(ruled(max_bytes=60), id="a new field of a request with a limit"),
        pytest.param(new_event, id="a new event"),
        pytest.param(new_method, id="a new method"),
        pytest.param(other_comments, id="other comments"),
        pytest.param(with_(f"{RESERVED}.place", lambda c, n: field(c, n).options, deprecated=True), id="a field is deprecated"),
        pytest.param(
            with_(f"{SERVICE}.ReserveBed", lambda c, n: method(c, n).options, deprecated=True), id="a method is deprecated"
        ),
        pytest.param(
            option(RESERVED, message, "classification", OPTIONS.CLASSIFICATION_RESTRICTED), id="an event is for fewer people"
        ),
        pytest.param(
            option(f"{RESERVED}.place", field, "field_classification", OPTIONS.CLASSIFICATION_SECRET),
            id="a field is for fewer people",
        ),
        pytest.param(option(f"{RESERVED}.place", field, "district", True), id="a field is marked as a district"),
        pytest.param(
            with_(f"{SERVICE}.HandOver", lambda c, n: method(c, n).options, idempotency_level=MethodOptions.IDEMPOTENT),
            id="a method may be repeated",
        ),
        pytest.param(
            lambda c: method(c, f"{SERVICE}.ListAmbulances").options.Extensions[HTTP].additional_bindings.add(get="/v2/units"),
            id="a method has one more address",
        ),
        pytest.param(rule("citybrain.roads.v1.RoadPlace.edge_id", "string.max_bytes", 400), id="a limit is raised"),
        pytest.param(rule("citybrain.roads.v1.RoadPlace.edge_id", "required", False), id="a rule is taken off"),
    ],
)
def test_what_breaks_nobody_is_not_told(change: Change) -> None:
    assert told(change) == []


@pytest.mark.parametrize("rules", [{"required": True}, {"min_len": 1}])
def test_a_new_field_that_a_request_must_have_is_told(rules: dict[str, Any]) -> None:
    (line,) = told(ruled(**rules))
    assert "citybrain.health.v1.ReserveBedRequest.more is new, and a request without it is refused" in line


def test_the_classification_of_a_field_is_never_lowered_because_what_is_stored_would_be_shown() -> None:
    before = FileDescriptorSet()
    before.CopyFrom(BUILT)
    option(f"{RESERVED}.place", field, "field_classification", OPTIONS.CLASSIFICATION_SECRET)(before)
    lowered = option(f"{RESERVED}.place", field, "field_classification", OPTIONS.CLASSIFICATION_RESTRICTED)
    (line,) = told(lowered, before=before)
    assert f"{RESERVED}.place was for SECRET and is for RESTRICTED: whoever has a lower clearance is shown it" in line
    assert "also in what is stored already" in line
    (gone,) = told(option(f"{RESERVED}.place", field, "field_classification", None), before=before)
    assert "was for SECRET and is for PUBLIC" in gone


def test_the_classification_of_an_answer_is_never_lowered_either_and_an_answer_is_no_event() -> None:
    before, answer = FileDescriptorSet(), "citybrain.health.v1.ReserveBedResponse"
    before.CopyFrom(BUILT)
    option(answer, message, "classification", OPTIONS.CLASSIFICATION_INTERNAL)(before)
    (line,) = told(option(answer, message, "classification", None), before=before)
    assert f"{answer} was INTERNAL and is PUBLIC: more people are shown what was hidden from them" in line
    assert told(with_(answer, lambda c, n: message(c, n).options, deprecated=True), before=before) == []


def test_an_event_is_given_up_with_an_upcaster_and_who_still_hears_the_old_one_is_told() -> None:
    lost, missing = "citybrain.traffic.v1.VehicleLost", "citybrain.traffic.v1.VehicleMissing"
    up = with_(missing, lambda c, n: message(c, n).options, deprecated=True)
    nobody_else = with_(lost, lambda c, n: message(c, n).options, deprecated=True)
    assert told(nobody_else, {lost: missing}) == []
    found = told(up, {missing: lost})
    assert len(found) == 2
    assert all(f"{missing} is read as {lost} everywhere, and sagas" in line and f"hear {lost} there" in line for line in found)
    assert "sagas/emergency_response (team city-brain) still hears it" not in found[0], "the name says which workflow"


def test_an_upcaster_of_an_event_that_the_contract_does_not_give_up_is_told() -> None:
    (line,) = told(lambda c: None, {"citybrain.traffic.v1.VehicleLost": "citybrain.traffic.v1.VehicleMissing"})
    assert "citybrain.traffic.v1.VehicleLost is read as" in line and line.endswith("mark it deprecated")


@pytest.mark.parametrize(
    ("was", "now_", "told"),
    [
        ("", "", []),
        ("string { max_bytes: 9 }", "string { max_bytes: 9 }", []),
        ("string { max_bytes: 9 }", 'string { max_bytes: 9 example: "a" }', []),
        ("string { max_bytes: 9 }", "", []),
        ("string { max_bytes: 9 }", "string { max_bytes: 10 }", []),
        ("string { max_bytes: 9 }", "string { max_bytes: 8 }", ["string.max_bytes"]),
        ("", "string { max_bytes: 9 }", ["string.max_bytes"]),
        ("string { min_len: 2 }", "string { min_len: 1 }", []),
        ("string { min_len: 2 }", "string { min_len: 3 }", ["string.min_len"]),
        ("double { lt: 2 }", "double { lt: 1 }", ["double.lt"]),
        ("double { gt: 2 }", "double { gt: 1 }", []),
        ("required: true", "required: false", []),
        ("required: false", "required: true", ["required"]),
        ("string { pattern: 'a' }", "string { pattern: 'b' }", ["string.pattern"]),
        ("string { in: 'a' }", "string { in: 'a' in: 'b' }", []),
        ("string { in: 'a' in: 'b' }", "string { in: 'a' }", ["string.in"]),
        ("", "string { in: 'a' }", ["string.in"]),
        ("string { not_in: 'a' }", "string { not_in: 'a' not_in: 'b' }", ["string.not_in"]),
        ("cel { id: 'a' }", "cel { id: 'a' } cel { id: 'b' }", ["cel"]),
        ("cel { id: 'a' } cel { id: 'b' }", "cel { id: 'a' }", []),
        ("duration { lte { seconds: 9 } }", "duration { lte { seconds: 10 } }", []),
        ("duration { lte { seconds: 9 } }", "duration { lte { seconds: 8 nanos: 7 } }", ["duration.lte"]),
        ("repeated { items { string { len: 2 } } }", "repeated { items { string { len: 3 } } }", ["repeated.items.string.len"]),
    ],
)
def test_a_rule_is_stricter_if_it_takes_less(was: str, now_: str, told: list[str]) -> None:
    rules = [text_format.Parse(text, validate_pb2.FieldRules()) for text in (was, now_)]
    assert list(stricter(*rules)) == told


def test_what_was_never_released_may_go_unless_somebody_reads_it() -> None:
    before = to_keep(BUILT)
    new_field(RESERVED)(before)
    gone = "citybrain.parks.v1.ParkOpened"
    reads = [Consumer("parks", "gardens", {RESERVED: ["more", "incident_id"], gone: []}, [f"{SERVICE}.Wash"])]
    parks = "is gone, and parks (team gardens)"
    assert [one.line().partition(": put")[0] for one in findings(BUILT, before, reads)] == [
        f"protos/consumers.yaml: {SERVICE}.Wash {parks} calls it",
        f"protos/consumers.yaml: {gone} {parks} reads it",
    ]
    found = [one.line() for one in findings(BUILT, BUILT, reads)]
    assert len(found) == 3 and any(f"{RESERVED}.more {parks} reads it" in line for line in found)
    assert findings(BUILT, to_keep(BUILT)) == []


def test_a_break_of_a_permission_may_be_chosen_and_one_of_an_event_may_not() -> None:
    after = FileDescriptorSet()
    after.CopyFrom(BUILT)
    option(f"{SERVICE}.ReserveBed", method, "scope", "health.beds")(after)
    without(f"{RESERVED}.place")(after)
    chosen = {f"{SERVICE}.ReserveBed": "beds have people of their own", f"{RESERVED}.place": "nobody needs it", "x.Y": "?"}
    assert [one.name for one in findings(BUILT, after, chosen=chosen)] == [f"{RESERVED}.place"]
    lines = unneeded(findings(BUILT, after), chosen, CHOSEN_IN)
    assert sorted(line.split()[4] for line in lines) == [f"{RESERVED}.place,", "x.Y,"]


def test_buf_tells_what_no_rule_of_ours_does_and_nothing_twice() -> None:
    after = FileDescriptorSet()
    after.CopyFrom(BUILT)
    file(after, "citybrain/options/v1/options.proto").enum_type[0].value[4].name = "CLASSIFICATION_TOP"
    # Whoever imports its file no longer finds it there.
    moved = message(after, "citybrain.traffic.v1.SignalReported")
    file(after, f"{TRAFFIC}/traffic_service.proto").message_type.add().CopyFrom(moved)
    file(after, f"{TRAFFIC}/events.proto").message_type.remove(moved)
    without(f"{RESERVED}.incident_id")(after)
    ours = findings(BUILT, after)
    assert [one.name for one in ours] == [f"{RESERVED}.incident_id"]
    said = buf_breaking(BUF, to_keep(BUILT), after, [one.place for one in ours])
    assert sorted(line.rpartition("(")[2] for line in said) == ["buf ENUM_VALUE_SAME_NAME)", "buf MESSAGE_NO_DELETE)"]
    assert all(line.startswith("protos/citybrain/") for line in said)
    assert len(buf_breaking(BUF, to_keep(BUILT), after)) == 3


def test_a_method_that_comes_to_promise_more_is_nothing_to_buf_either() -> None:
    after = FileDescriptorSet()
    after.CopyFrom(BUILT)
    method(after, f"{SERVICE}.HandOver").options.idempotency_level = MethodOptions.IDEMPOTENT
    assert buf_breaking(BUF, to_keep(BUILT), after) == []


def test_contracts_that_buf_cannot_compare_are_told() -> None:
    (line,) = buf_breaking(BUF, to_keep(BUILT), to_keep(BUILT))
    assert line.startswith("buf breaking cannot compare: ")


def test_the_contracts_of_this_tree_break_nothing_that_is_released() -> None:
    lines: list[str] = []
    assert main(lines.append) == 0, "".join(lines)
    assert {one.name for one in released().file} <= {one.name for one in BUILT.file}


def test_breaks_end_make_check_each_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    after = FileDescriptorSet()
    after.CopyFrom(BUILT)
    without(f"{RESERVED}.incident_id")(after)
    length = field(after, "citybrain.roads.v1.RoadEdge.length_m")
    length.type = FieldDescriptorProto.TYPE_FLOAT
    rule("citybrain.roads.v1.RoadEdge.length_m", "float.gte", 1.0)(after)
    monkeypatch.setattr(compatible, "now", lambda: after)
    monkeypatch.setattr(compatible, "released", lambda: to_keep(BUILT))
    lines: list[str] = []
    assert main(lines.append) == 1
    gone, other = lines
    assert "incident_id is gone, and health (team health) reads it" in gone
    assert "length_m is float and was double" in other


def test_a_released_version_without_its_contracts_and_upcasters_that_do_not_load_end_make_check_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = find_manifests([ROOT / "services"])[0].model_copy(update={"upcasters": "citybrain.no.upcasters"})
    monkeypatch.setattr(compatible, "find_manifests", lambda _: [manifest])
    monkeypatch.setattr(compatible, "version", lambda: "0.1.0")
    monkeypatch.setattr(compatible, "released", lambda: FileDescriptorSet(file=to_keep(BUILT).file[:-1]))
    monkeypatch.setattr(compatible, "CHOSEN", {"x.Y": "?"})
    lines: list[str] = []
    assert main(lines.append) == 1
    unloaded, unneeded_one, stale_one = lines
    assert unloaded.startswith("citybrain.no.upcasters cannot be loaded: ModuleNotFoundError")
    assert "CHOSEN of tools/compatible.py names x.Y, of which nothing is broken" in unneeded_one
    assert "has not the contracts of 0.1.0: make released" in stale_one


@pytest.mark.parametrize(("file", "target"), [("RELEASED", "released"), ("CONSUMERS", "consumers")])
def test_a_file_that_is_missing_ends_make_check_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, target: str
) -> None:
    monkeypatch.setattr(compatible, file, tmp_path / "gone")
    lines: list[str] = []
    assert main(lines.append) == 1
    assert lines == [f"protos/gone is missing, so nothing can be compared: put it back, or make {target}\n"]


def test_released_contracts_are_written_unless_they_may_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "released.binpb"
    monkeypatch.setattr("tools.released.FILE", kept)
    assert keep() == 0
    assert FileDescriptorSet.FromString(kept.read_bytes()) == to_keep(BUILT)
    assert kept.read_bytes() == to_keep(BUILT).SerializeToString(deterministic=True)
    monkeypatch.setattr("tools.released.problem", lambda *_: "it is not the day for it")
    kept.write_bytes(b"")
    assert keep() == 1
    assert kept.read_bytes() == b""
    assert capsys.readouterr().err == "released.binpb stays as it is: it is not the day for it\n"


def test_released_contracts_are_written_anew_until_the_first_release_and_then_with_a_version_only() -> None:
    changed = FileDescriptorSet()
    changed.CopyFrom(BUILT)
    new_field(RESERVED)(changed)
    kept, later = to_keep(BUILT), CHANGELOG + "\n## [0.1.0] - a day\n"
    assert problem("0.1.0.dev0", CHANGELOG, kept, changed, 1) == ""
    assert problem("0.2.0", later, kept, changed, 0) == ""
    assert problem("0.2.0", later, kept, changed, 2).startswith("2 breaks of what was released")
    assert "this is 0.2.0.dev0: they may change until then" in problem("0.2.0.dev0", later, kept, changed, 0)
    assert problem("0.2.0.dev0", later, kept, BUILT, 0) == ""


def test_a_released_version_has_its_own_contracts_in_the_file() -> None:
    changed = FileDescriptorSet()
    changed.CopyFrom(BUILT)
    new_field(RESERVED)(changed)
    assert stale("0.1.0", to_keep(BUILT), BUILT) == []
    assert stale("0.1.0.dev0", to_keep(BUILT), changed) == []
    assert stale("0.1.0", to_keep(BUILT), changed) == ["protos/released.binpb: has not the contracts of 0.1.0: make released"]


def test_what_is_kept_of_contracts_has_no_comments_and_nothing_of_others() -> None:
    kept = to_keep(BUILT)
    assert not any(one.HasField("source_code_info") for one in kept.file)
    assert {one.name.partition("/")[0] for one in kept.file} == {"citybrain"}


def test_a_file_of_another_repository_that_says_nothing_ends_make_check_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "parks.yaml").write_text("- 1", encoding="utf-8")
    lines: list[str] = []
    assert main(lines.append, tmp_path) == 1
    assert len(lines) == 1 and "parks.yaml: it does not say who reads what" in lines[0]
