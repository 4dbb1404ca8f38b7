"""Builds what is made from the contracts: Python stubs with their types, and the descriptor set the gateway reads.

Run by `make stubs`; writes below build/ and nowhere else.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
STUBS = ROOT / "build" / "python"
DESCRIPTORS = ROOT / "build" / "descriptors.binpb"
THIRD_PARTY = ROOT / "build" / "third_party"
# Both stand in published packages; the linter needs them beside our own contracts.
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
    shutil.rmtree(STUBS, ignore_errors=True)
    STUBS.mkdir(parents=True)
    well_known = str(files("grpc_tools") / "_proto")
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    common = ["protoc", f"-I{PROTOS}", f"-I{THIRD_PARTY}", f"-I{well_known}"]
    code = protoc.main([*common, f"--python_out={STUBS}", f"--pyi_out={STUBS}", f"--grpc_python_out={STUBS}", *ours])
    if code == 0:
        code = protoc.main([*common, "--include_imports", f"--descriptor_set_out={DESCRIPTORS}", *ours, *GOOGLE_FILES[2:]])
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
