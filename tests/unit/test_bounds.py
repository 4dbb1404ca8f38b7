"""A request that a caller could fill without a limit is found before it is committed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from citybrain.local.city import ROOT
from citybrain.local.contracts import descriptors
from tools.bounds import WHOLE, unbounded, unpaged

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


def compiled(folder: Path, contract: str) -> FileDescriptorSet:
    (folder / "open.proto").write_text(contract, encoding="utf-8")
    rules = ROOT / "build" / "third_party" / "validate.binpb"
    command = ["protoc", f"-I{folder}", f"-I{files('grpc_tools') / '_proto'}", f"--descriptor_set_in={rules}"]
    out = folder / "open.binpb"
    assert protoc.main([*command, "--include_imports", f"--descriptor_set_out={out}", "open.proto"]) == 0
    return FileDescriptorSet.FromString(out.read_bytes())


def found(folder: Path, field: str) -> list[str]:
    return unbounded(compiled(folder, CONTRACT.replace("FIELD", field)))


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


LISTS = """
syntax = "proto3";
package citybrain.open.v1;
import "buf/validate/validate.proto";
service OpenService { rpc ListOpen(ListOpenRequest) returns (stream_ListOpenResponse); }
message ListOpenRequest { asked }
message ListOpenResponse { told }
"""
LIMITED = "int32 page_size = 1 [(buf.validate.field).int32.lte = 500];"
PAGES = {"asked": f"{LIMITED} string page_token = 2;", "told": "repeated int32 numbers = 1; string next_page_token = 2;"}


@pytest.mark.parametrize(
    ("parts", "is_told"),
    [
        (PAGES, False),
        ({**PAGES, "told": "repeated int32 numbers = 1;"}, True),
        ({**PAGES, "asked": LIMITED}, True),
        ({**PAGES, "asked": "int32 page_size = 1; string page_token = 2;"}, True),
        ({"asked": "", "told": "repeated int32 numbers = 1;"}, True),
        ({"asked": "", "told": "map<string, int32> numbers = 1;"}, True),
        ({"asked": "", "told": "int32 number = 1;"}, False),
        ({"asked": "", "told": "repeated int32 numbers = 1;", "stream_": "stream "}, False),
    ],
)
def test_a_method_that_answers_with_a_list_and_has_no_pages_is_named(
    tmp_path: Path, parts: dict[str, str], is_told: bool
) -> None:
    contract = (
        LISTS.replace("stream_", parts.get("stream_", "")).replace("asked", parts["asked"]).replace("told", parts["told"])
    )
    told = unpaged(compiled(tmp_path, contract))
    assert [line.partition(" ")[0] for line in told] == ["citybrain.open.v1.OpenService.ListOpen"] * is_told


def test_every_list_of_the_city_has_pages_or_is_never_long() -> None:
    contracts = FileDescriptorSet.FromString(descriptors().read_bytes())
    assert unpaged(contracts) == []
    methods = {
        f"{file.package}.{service.name}.{m.name}" for file in contracts.file for service in file.service for m in service.method
    }
    assert WHOLE.keys() <= methods, "of methods that are gone nothing is said"
