"""The catalogue of events, held against the contracts of the whole city."""

from __future__ import annotations

import copy
import gzip
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import protovalidate
import pytest
from google.protobuf import json_format
from jsonschema_specifications import REGISTRY as SPECIFICATIONS

from citybrain.gateway.asyncapi import asyncapi
from citybrain.gateway.catalogue import Catalogue, Event
from citybrain.gateway.openapi import openapi
from citybrain.local.city import ROOT
from citybrain.local.contracts import descriptors
from citybrain.mesh.events import message_class
from citybrain.mesh.startup.serve import choose

MANIFESTS = choose([], [])
CONTRACTS = descriptors().read_bytes()
CATALOGUE = Catalogue(MANIFESTS, CONTRACTS)
BY_NAME = {event.type: event for event in CATALOGUE.events}
DOCUMENT = asyncapi(MANIFESTS, CONTRACTS)


def test_it_has_every_event_of_every_service() -> None:
    assert sorted(BY_NAME) == sorted(name for manifest in MANIFESTS for name in manifest.publishes)


@pytest.mark.parametrize("event", CATALOGUE.events, ids=lambda event: event.type)
def test_an_event_says_what_it_means_and_its_example_is_one_that_its_contract_allows(event: Event) -> None:
    assert event.meaning.endswith("."), "write a comment above the message in its contract"
    importlib.import_module(f"{event.type.rpartition('.')[0]}.events_pb2")
    message = json_format.ParseDict(dict(event.example), message_class(event.type)())
    protovalidate.validate(message)
    assert {field.name for field in event.fields} >= set(event.example)
    # The document's schema allows it too.
    schema = {"$ref": f"#/components/schemas/{event.type}", "components": {"schemas": DOCUMENT["components"]["schemas"]}}
    jsonschema.Draft202012Validator(schema).validate(event.example)


def test_an_event_whose_contract_is_not_known_is_left_out_and_the_others_are_there() -> None:
    stranger = MANIFESTS[0].model_copy(update={"publishes": ["citybrain.parks.v1.SiteOpened", *MANIFESTS[1].publishes]})
    assert [event.type for event in Catalogue([stranger], CONTRACTS).events] == sorted(MANIFESTS[1].publishes)


def test_who_publishes_and_who_hears_an_event_follows_from_the_manifests() -> None:
    opened = BY_NAME["citybrain.emergency_command.v1.IncidentOpened"]
    assert opened.publisher.name == "emergency_command"
    assert "sagas" in [one.name for one in opened.hearers]
    for manifest in MANIFESTS:
        for name in manifest.subscribes:
            if name in BY_NAME:
                assert manifest in BY_NAME[name].hearers


def test_a_field_says_who_may_see_it_and_whom_it_is_about() -> None:
    fields = {field.name: field for field in BY_NAME["citybrain.emergency_command.v1.IncidentOpened"].fields}
    assert (fields["reporter"].person, fields["reporter"].of) == ("reporter_id", "citybrain.emergency_command.v1.Contact")
    assert fields["incidentId"].person == ""
    assert BY_NAME["citybrain.health.v1.PatientAnnounced"].classification == "RESTRICTED"


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for value in part.values():
            yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def test_everything_that_the_document_refers_to_is_in_it() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > len(BY_NAME)
    for reference in found:
        part = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    assert set(DOCUMENT["channels"]) == set(DOCUMENT["components"]["messages"]) == set(BY_NAME)
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft7Validator:
    """The official schema of AsyncAPI 3.0.0, unchanged; nothing is fetched."""
    schema = json.loads(gzip.decompress(Path(__file__).with_name("asyncapi-3.0.0.json.gz").read_bytes()))
    return jsonschema.Draft7Validator(schema, registry=SPECIFICATIONS)


def test_the_document_is_one_by_the_official_schema(official: jsonschema.Draft7Validator) -> None:
    assert [f"{error.json_path}: {error.message}" for error in official.iter_errors(DOCUMENT)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("asyncapi",), "2.6.0"),
        (("operations", "send.sagas.citybrain.sagas.v1.SagaStarted", "action"), "emit"),
        (("channels", "citybrain.sagas.v1.SagaStarted", "publisher"), "sagas"),
        (("components", "messages", "citybrain.sagas.v1.SagaStarted", "examples"), {"payload": 1}),
    ],
)
def test_the_official_schema_refuses_what_is_no_such_document(
    official: jsonschema.Draft7Validator, path: tuple[str, ...], value: object
) -> None:
    document = copy.deepcopy(DOCUMENT)
    part: Any = document
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    assert not official.is_valid(document)


def test_each_event_is_sent_by_one_service_and_received_by_those_that_hear_it() -> None:
    sent = [name.split(".", 2)[2] for name, one in DOCUMENT["operations"].items() if one["action"] == "send"]
    assert sorted(sent) == sorted(BY_NAME)
    received = {name for name, one in DOCUMENT["operations"].items() if one["action"] == "receive"}
    assert "receive.sagas.citybrain.emergency_command.v1.IncidentOpened" in received


def test_the_page_asks_for_the_counts_where_the_contract_of_the_catalogue_has_them() -> None:
    page = (ROOT / "gateway" / "page" / "log.js").read_text(encoding="utf-8")
    (address,) = re.findall(r'ADDRESS = "([^"]+)"', page)
    method = openapi(MANIFESTS, CONTRACTS)["paths"][address]["get"]
    assert "type" in json.dumps(method["parameters"])
    assert method["security"] == [{"bearer": ["catalogue.read"]}] and "scope catalogue.read" in page
    schema = json.dumps(openapi(MANIFESTS, CONTRACTS)["components"]["schemas"])
    for name in re.findall(r"(?:found|lateness|day)\??\.(\w+)", page):
        assert f'"{name}"' in schema or name in ("map", "reduce"), name
