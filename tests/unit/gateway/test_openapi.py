"""The document of the API is OpenAPI 3.1, has every open method, and says of JSON what protobuf and the rules say."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_tools import protoc
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from protovalidate import Validator

from citybrain.gateway.comments import without_comments
from citybrain.gateway.methods import routes
from citybrain.gateway.openapi import openapi
from citybrain.mesh.manifest import Manifest, find_manifests
from tests.unit.gateway.messages import messages

ROOT = Path(__file__).parents[3]
CONTRACTS = ROOT / "build" / "descriptors.binpb"
DESCRIPTORS = CONTRACTS.read_bytes()
MANIFESTS = find_manifests([ROOT / "services", ROOT / "sagas"])
SHAPES = Manifest(
    name="shapes", title="Shapes (形状)", team="drawing", entry="a.b:C", grpc="citybrain.shapes.v1.ShapesService", port=7999
)
VALIDATOR = Validator()
Document = dict[str, Any]


@functools.cache
def contracts() -> bytes:
    """Those of the city, and the one beside this test."""
    out = ROOT / "build" / "tests" / "shapes.binpb"
    out.parent.mkdir(parents=True, exist_ok=True)
    given = [f"-I{Path(__file__).parent}", f"-I{files('grpc_tools') / '_proto'}", f"--descriptor_set_in={CONTRACTS}"]
    options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}"]
    assert protoc.main(["protoc", *given, *options, "shapes.proto"]) == 0
    known = FileDescriptorSet.FromString(DESCRIPTORS)
    names = {file.name for file in known.file}
    known.file.extend(file for file in FileDescriptorSet.FromString(out.read_bytes()).file if file.name not in names)
    return known.SerializeToString()


@functools.cache
def document() -> Document:
    return openapi([*MANIFESTS, SHAPES], contracts(), driven=True)


@functools.cache
def pool() -> DescriptorPool:
    """Kept, because classes must not outlive their pool."""
    made = DescriptorPool()
    for file in FileDescriptorSet.FromString(contracts()).file:
        made.Add(file)
    return made


@functools.cache
def kinds(whose: str = "citybrain.") -> list[Descriptor]:
    """Every message of ours that the document describes."""
    found = [(name, schema) for name, schema in document()["components"]["schemas"].items() if name.startswith(whose)]
    return [pool().FindMessageTypeByName(name) for name, schema in found if "enum" not in schema]


@functools.cache
def checker(name: str) -> Draft202012Validator:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    return Draft202012Validator(schema, format_checker=FormatChecker(["date-time", "email"]))


def wrong(name: str, value: Any) -> list[str]:
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in checker(name).iter_errors(value)]


def schema(name: str) -> Any:
    return document()["components"]["schemas"][f"citybrain.shapes.v1.{name}"]


def everywhere(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for inner in part.values():
            yield from everywhere(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from everywhere(inner)


def operations(made: Document) -> dict[tuple[str, str], dict[str, Any]]:
    return {(verb.upper(), path): one for path, verbs in made["paths"].items() for verb, one in verbs.items()}


def without_names(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


@pytest.mark.parametrize("driven", [False, True])
def test_it_is_openapi_as_the_standard_has_it(driven: bool) -> None:
    # The driven one has more in it: the clock, and every shape that there may be.
    made = document() if driven else openapi(MANIFESTS, DESCRIPTORS)
    assert [error.message for error in OpenAPIV31SpecValidator(made).iter_errors()] == []
    assert json.loads(json.dumps(made)) == made


def test_every_open_method_is_in_it_with_all_its_paths_and_its_scope() -> None:
    found = {(verb, without_names(path)): one for (verb, path), one in operations(document()).items()}
    wanted = [
        (route, verb, path) for route in routes([*MANIFESTS, SHAPES], contracts(), driven=True) for verb, path, _ in route.http
    ]
    assert len(wanted) > 30
    for route, verb, path in wanted:
        one = found[verb, without_names(path)]
        assert one["security"] == [{"bearer": [route.scope]}]
        assert one["x-grpc"] == route.path
        assert list(one["responses"]["200"]["content"]) == ["text/event-stream" if route.streaming else "application/json"]
    assert len(found) == len(wanted)
    names = [one["operationId"] for one in found.values()]
    assert len(names) == len(set(names))


def test_what_is_closed_or_has_no_form_in_json_is_not_in_it() -> None:
    said = json.dumps(document())
    assert "DropShapes" not in said and "CountShapes" not in said
    assert "ClockService" not in json.dumps(openapi(MANIFESTS, DESCRIPTORS))


def test_every_reference_leads_to_something_and_all_that_is_there_is_used() -> None:
    used = set()
    for part in everywhere(document()):
        if "$ref" in part:
            *_, kind, name = part["$ref"].split("/")
            assert name in document()["components"][kind], part["$ref"]
            used.add((kind, name))
    components = {kind: found for kind, found in document()["components"].items() if kind != "securitySchemes"}
    assert used == {(kind, name) for kind, found in components.items() for name in found}


def test_names_of_the_path_stand_in_it_and_fields_of_the_path_are_in_no_body() -> None:
    for (_, path), one in operations(document()).items():
        parameters = [one for one in one["parameters"] if "$ref" not in one]
        assert {found["name"] for found in parameters if found["in"] == "path"} == set(re.findall(r"\{([^}]*)\}", path))
        assert len({found["name"] for found in parameters}) == len(parameters)
    cancel = operations(document())["POST", "/v1/incidents/{incidentId}:cancel"]
    body = cancel["requestBody"]["content"]["application/json"]["schema"]
    assert list(body["properties"]) == body["required"] == ["reason"]


def test_a_service_has_its_title_its_team_and_what_its_contract_says() -> None:
    tags = {tag["name"]: tag for tag in document()["tags"]}
    for manifest in MANIFESTS:
        assert tags[manifest.name]["x-displayName"] == manifest.title
        assert tags[manifest.name]["x-team"] == manifest.team
    assert tags["shapes"]["description"] == "Keeps shapes (形状).\n\nTeam: drawing."
    assert tags["traffic"]["description"].startswith("Traffic (交通): the road network")
    assert "what runs, where it stands" in tags["sagas"]["description"]


def test_the_comments_of_the_contract_are_its_descriptions() -> None:
    put = operations(document())["PUT", "/v1/shapes/{shape.shapeId}"]
    assert put["summary"] == "Put shape"
    assert put["description"] == "Puts a shape in its place.\n\n- as it is\n- whole"
    assert schema("Shape.Inside")["properties"]["one"]["description"] == "A comment deep inside."
    assert schema("Colour")["description"] == "- `COLOUR_RED`: As a signal that stops."
    assert schema("Shape")["properties"]["name"]["description"] == "名字 At least 3 bytes in UTF-8. At most 30 bytes in UTF-8."
    assert "RESTRICTED" in schema("Shape")["properties"]["maker"]["description"]
    assert schema("Shape")["properties"]["old"]["deprecated"] is True
    assert "Inside must be well." in schema("Shape")["properties"]["inside"]["description"]


def test_without_comments_in_the_contracts_it_has_none_and_is_else_the_same() -> None:
    bare = openapi(MANIFESTS, without_comments(DESCRIPTORS))
    assert len(without_comments(DESCRIPTORS)) < len(DESCRIPTORS) / 2
    whole = openapi(MANIFESTS, DESCRIPTORS)
    assert bare["paths"].keys() == whole["paths"].keys()
    assert "description" not in bare["paths"]["/v1/incidents"]["get"]
    assert whole["paths"]["/v1/incidents"]["get"]["description"] == "Newest first."


def test_limits_are_those_of_the_rules() -> None:
    corner, shape = schema("Corner")["properties"], schema("Shape")["properties"]
    assert corner["x"] == {"type": "integer", "format": "int32", "minimum": -5, "exclusiveMaximum": 6}
    assert corner["y"]["type"] == "string" and "At least: 1." in corner["y"]["description"]
    assert corner["weight"] == {"type": "number", "format": "float", "exclusiveMinimum": 0, "maximum": 0.5}
    assert corner["number"]["type"] == "number"
    assert {"enum": ["NaN", "Infinity", "-Infinity"]} in corner["anyNumber"]["anyOf"]
    assert corner["outside"]["description"] == "Not between 3 and 7. Not between 3 and 7."
    assert corner["chosen"]["enum"] == [1, 2, 3] and corner["chosen"]["not"] == {"enum": [2]}
    assert (shape["shapeId"]["minLength"], shape["shapeId"]["maxLength"]) == (4, 4)
    assert shape["colour"]["not"] == {"enum": ["COLOUR_UNSPECIFIED"]}
    assert shape["back"]["enum"] == ["COLOUR_RED"]
    assert shape["corners"]["minItems"] == 1 and shape["corners"]["maxItems"] == 3
    assert shape["named"]["propertyNames"] == {"minLength": 2, "maxLength": 5} and shape["named"]["maxProperties"] == 2
    follow = {one.get("name"): one for one in operations(document())["GET", "/v1/shapes:follow"]["parameters"]}
    # What a query cannot hold is no parameter: a map, a list of messages.
    assert set(follow) == {*(f"near.{name}" for name in corner), "colours", "since", "whole", None}
    assert follow["colours"]["schema"]["uniqueItems"] is True


def test_errors_are_those_of_the_services_and_of_the_gateway() -> None:
    at = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "a", "description": "b"}]}
    why = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BAD_REQUEST", "domain": "citybrain", "metadata": {}}
    other = {"@type": "type.googleapis.com/citybrain.other.v1.Thing", "more": 1}
    assert wrong("google.rpc.Status", {"code": 3, "message": "a: b", "details": [at, why, other]}) == []
    assert wrong("google.rpc.Status", {"code": 3, "message": "", "details": [at | {"fieldViolations": "none"}]}) != []


@pytest.mark.parametrize("whose", ["citybrain.", "citybrain.shapes."])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_protobuf_writes_and_the_rules_allow_is_what_the_document_says(whose: str, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(kinds(whose)), label="kind")
    message = data.draw(messages(kind), label="message")
    assume(not VALIDATOR.collect_violations(message))
    value = json_format.MessageToDict(message, descriptor_pool=pool())
    assert wrong(kind.full_name, value) == []
    # A field that is no field.
    assert wrong(kind.full_name, value | {"noField": 1}) != []


@pytest.mark.parametrize("whose", ["citybrain.", "citybrain.shapes."])
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_left_out_is_refused_by_the_document_if_the_rules_refuse_it(whose: str, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([kind for kind in kinds(whose) if kind.fields]), label="kind")
    message = data.draw(messages(kind), label="message")
    assume(not VALIDATOR.collect_violations(message))
    left_out = data.draw(st.sampled_from([field.name for field in kind.fields]))
    message.ClearField(left_out)
    value = json_format.MessageToDict(message, descriptor_pool=pool())
    assert bool(wrong(kind.full_name, value)) == bool(VALIDATOR.collect_violations(message)), left_out


def test_nothing_at_all_is_refused_by_the_document_if_the_rules_refuse_it() -> None:
    for kind in kinds():
        empty = message_factory.GetMessageClass(kind)()
        assert bool(wrong(kind.full_name, {})) == bool(VALIDATOR.collect_violations(empty)), kind.full_name
