"""A personal field that could not be sealed, or would stand in a key or an address, is found before it is committed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from citybrain.local.city import ROOT
from citybrain.local.contracts import descriptors
from tools.personal import unsound

CONTRACT = """
syntax = "proto3";
package citybrain.people.v1;
import "citybrain/options/v1/options.proto";
import "google/api/annotations.proto";
message Known { KIND string person_id = 1; Other other = 2; repeated Other others = 3; FIELD }
message Other { string id = 1; int32 number = 2; }
message Whose { string person_id = 1; string name = 2 [(citybrain.options.v1.personal) = "person_id"]; }
service PeopleService { rpc Find(Known) returns (Other) { option (google.api.http) = {get: "/v1/people"}; } }
"""
NAME = 'string name = 9 [(citybrain.options.v1.personal) = "{}"];'


def found(folder: Path, field: str, kind: str = "") -> list[str]:
    text = CONTRACT.replace("FIELD", field).replace("KIND", kind)
    if "personal) =" in field:
        text = text.replace("get:", "post:")
    (folder / "people.proto").write_text(text, encoding="utf-8")
    google = ROOT / "build" / "third_party"
    command = ["protoc", f"-I{folder}", f"-I{ROOT / 'protos'}", f"-I{google}", f"-I{files('grpc_tools') / '_proto'}"]
    out = folder / "people.binpb"
    assert protoc.main([*command, "--include_imports", f"--descriptor_set_out={out}", "people.proto"]) == 0
    return unsound(FileDescriptorSet.FromString(out.read_bytes()))


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (NAME.format("nobody"), "does not exist: nobody is no field of"),
        (NAME.format("other.nobody"), "does not exist: nobody is no field of"),
        (NAME.format("others.id"), "leads through a list"),
        (NAME.format("name"), "is personal itself"),
        (NAME.format("other.number"), "is no text"),
        (NAME.format("other"), "is no text"),
        ('map<string, string> by_name = 9 [(citybrain.options.v1.personal) = "person_id"];', "is personal and a map"),
        ('string card_id = 9 [(citybrain.options.v1.personal) = "person_id"];', "ids are random"),
        ("map<string, Whose> all = 9;", "a map with something personal below it"),
        ("Whose whose = 9;", "is a GET"),
    ],
)
def test_what_could_not_be_sealed_or_erased_is_found(tmp_path: Path, field: str, problem: str) -> None:
    (told, *_) = found(tmp_path, field)
    assert problem in told


def test_a_public_event_has_nothing_personal(tmp_path: Path) -> None:
    public = "option (citybrain.options.v1.classification) = CLASSIFICATION_PUBLIC;"
    (told,) = found(tmp_path, NAME.format("person_id"), public)
    assert "make the event INTERNAL" in told


@pytest.mark.parametrize("path", ["person_id", "other.id"])
def test_a_field_with_the_way_to_its_person_is_sound(tmp_path: Path, path: str) -> None:
    assert found(tmp_path, NAME.format(path)) == []


def test_the_contracts_of_the_city_are_sound() -> None:
    assert unsound(FileDescriptorSet.FromString(descriptors().read_bytes())) == []
