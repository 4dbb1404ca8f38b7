"""A request that a caller could fill without a limit is found before it is committed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from citybrain.cli.contracts import descriptors
from citybrain.cli.local import ROOT
from tools.bounds import unbounded

CONTRACT = """
syntax = "proto3";
package citybrain.open.v1;
import "buf/validate/validate.proto";
import "google/protobuf/timestamp.proto";
service OpenService { rpc Open(OpenRequest) returns (OpenResponse); }
enum Kind { KIND_UNSPECIFIED = 0; }
message OpenResponse { string free_here = 1; repeated string and_here = 2; }
message OpenRequest { Inner inner = 1; google.protobuf.Timestamp at = 2; }
message Inner { Inner again = 1; FIELD }
"""


def found(folder: Path, field: str) -> list[str]:
    (folder / "open.proto").write_text(CONTRACT.replace("FIELD", field), encoding="utf-8")
    rules = ROOT / "build" / "third_party" / "validate.binpb"
    command = ["protoc", f"-I{folder}", f"-I{files('grpc_tools') / '_proto'}", f"--descriptor_set_in={rules}"]
    out = folder / "open.binpb"
    assert protoc.main([*command, "--include_imports", f"--descriptor_set_out={out}", "open.proto"]) == 0
    return unbounded(FileDescriptorSet.FromString(out.read_bytes()))


@pytest.mark.parametrize(
    ("field", "rule"),
    [
        ("string f = 2;", "string.max_bytes"),
        ("bytes f = 2;", "bytes.max_bytes"),
        ('string f = 2 [(buf.validate.field).string.pattern = "^a$"];', "string.max_bytes"),
        ("double f = 2;", "double.finite"),
        ("double f = 2 [(buf.validate.field).double.gte = 0];", "double.finite"),
        ("Kind f = 2;", "enum.defined_only"),
        ("repeated int32 f = 2;", "repeated.max_items"),
        ("repeated Inner f = 2;", "repeated.max_items"),
        ("repeated string f = 2 [(buf.validate.field).repeated.max_items = 9];", "repeated.items.string.max_bytes"),
        ("repeated Kind f = 2 [(buf.validate.field).repeated.max_items = 9];", "repeated.items.enum.defined_only"),
        ("map<int32, int32> f = 2;", "map.max_pairs"),
        ("map<string, int32> f = 2 [(buf.validate.field).map.max_pairs = 9];", "map.keys.string.max_bytes"),
        ("map<int32, double> f = 2 [(buf.validate.field).map.max_pairs = 9];", "map.values.double.finite"),
    ],
)
def test_a_field_without_a_limit_is_named_with_the_rule_it_lacks(tmp_path: Path, field: str, rule: str) -> None:
    assert found(tmp_path, field) == [f"citybrain.open.v1.Inner.f has no limit: give it (buf.validate.field).{rule}"]


@pytest.mark.parametrize(
    "field",
    [
        "int32 f = 2; bool g = 3;",
        "string f = 2 [(buf.validate.field).string.max_bytes = 9];",
        "double f = 2 [(buf.validate.field).double = {gte: 0, lte: 1}];",
        "float f = 2 [(buf.validate.field).float.finite = true];",
        "repeated Kind f = 2 [(buf.validate.field).repeated = {max_items: 9, items: {enum: {defined_only: true}}}];",
        "map<string, Inner> f = 2 [(buf.validate.field).map = {max_pairs: 9, keys: {string: {max_len: 9}}}];",
    ],
)
def test_a_field_with_a_limit_is_not(tmp_path: Path, field: str) -> None:
    assert found(tmp_path, field) == []


def test_every_field_of_every_request_of_the_city_has_one() -> None:
    assert unbounded(FileDescriptorSet.FromString(descriptors().read_bytes())) == []
