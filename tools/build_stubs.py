"""Builds what is made from the contracts: Python stubs with their types, what the gateway reads, what the linter reads.

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
DESCRIPTORS = ROOT / "build" / "descriptors.binpb"
# The same with comments and places, so that the linter can say where.
LINTED = ROOT / "build" / "contracts.binpb"
THIRD_PARTY = ROOT / "build" / "third_party"
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
    shutil.rmtree(STUBS, ignore_errors=True)
    STUBS.mkdir(parents=True)
    well_known = str(files("grpc_tools") / "_proto")
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    common = ["protoc", f"-I{PROTOS}", f"-I{THIRD_PARTY}", f"-I{well_known}", f"--descriptor_set_in={rules}"]
    everything = [*common, "--include_imports", *ours, *GOOGLE_FILES[2:]]
    return int(
        protoc.main([*common, f"--python_out={STUBS}", f"--pyi_out={STUBS}", RULES])
        or protoc.main([*common, f"--python_out={STUBS}", f"--pyi_out={STUBS}", f"--grpc_python_out={STUBS}", *ours])
        or protoc.main([*everything, f"--descriptor_set_out={DESCRIPTORS}"])
        or protoc.main([*everything, "--include_source_info", f"--descriptor_set_out={LINTED}"])
    )


def _rules() -> bytes:
    """The file of the standard rules, of the very library that checks them: it is published as generated code only."""
    file = protovalidate.ViolationPb.desc().file.proto.to_binary()
    return descriptor_pb2.FileDescriptorSet(file=[descriptor_pb2.FileDescriptorProto.FromString(file)]).SerializeToString()


if __name__ == "__main__":
    sys.exit(main())
