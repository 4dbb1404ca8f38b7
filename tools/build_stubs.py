"""Builds from the contracts: Python stubs with their types, and the descriptors that the gateway and the linter read.

Run by `make stubs`; writes below build/ and nowhere else.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import protovalidate
from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "build" / "python"
# With comments and places: pages show the comments, and the linter says where. Envoy gets the set without them.
DESCRIPTORS = ROOT / "build" / "descriptors.binpb"
THIRD_PARTY = ROOT / "build" / "third_party"
# Contracts of the tests. They are built beside the project's own, never among them.
TEST_PROTOS = ROOT / "tests" / "protos"
TEST_STUBS = ROOT / "build" / "tests" / "python"
RULES = "buf/validate/validate.proto"
# These stand in published packages.
GOOGLE_FILES = (
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/rpc/status.proto",
    "google/rpc/error_details.proto",
)


def main() -> int:
    """Builds everything anew; returns protoc's exit code."""
    google = Path(str(distribution("googleapis-common-protos").locate_file("")))
    for name in GOOGLE_FILES:
        target = THIRD_PARTY / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(google / name, target)
    rules = THIRD_PARTY / "validate.binpb"
    rules.write_bytes(_rules())
    well_known = str(files("grpc_tools") / "_proto")
    ours = _contracts(PROTOS)
    common = ["protoc", f"-I{PROTOS}", f"-I{THIRD_PARTY}", f"-I{well_known}", f"--descriptor_set_in={rules}"]
    everything = [*common, "--include_imports", "--include_source_info", *ours, *GOOGLE_FILES[2:]]
    for_tests = [*common, f"-I{TEST_PROTOS}"]
    return int(
        _stubs(common, ours, STUBS)
        or protoc.main([*common, f"--python_out={STUBS}", f"--pyi_out={STUBS}", RULES])
        or (TEST_PROTOS.is_dir() and _stubs(for_tests, _contracts(TEST_PROTOS), TEST_STUBS))
        or protoc.main([*everything, f"--descriptor_set_out={DESCRIPTORS}"])
    )


def _contracts(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))


def _stubs(common: list[str], names: list[str], target: Path) -> int:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    return int(protoc.main([*common, *outputs, *names]))


def _rules() -> bytes:
    """The file of the standard rules, of the very library that checks them: it is published as generated code only."""
    file = protovalidate.ViolationPb.desc().file.proto.to_binary()
    return descriptor_pb2.FileDescriptorSet(file=[descriptor_pb2.FileDescriptorProto.FromString(file)]).SerializeToString()


if __name__ == "__main__":
    sys.exit(main())
