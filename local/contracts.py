"""The contracts of the city: where they are, and those that services from other folders bring along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from citybrain.local.problems import Problem
from citybrain.local.reflection import Remote
from citybrain.mesh.manifest import Manifest

# The checkout, where this is one; else the package, in which a wheel has them.
_HERE = Path(__file__).resolve().parents[1]
_BUILT = _HERE / "build" / "descriptors.binpb"
_PACKED = _HERE / "contracts" / "descriptors.binpb"


def descriptors() -> Path:
    """The file with all contracts of the city; Problem where they are not built."""
    for file in (_PACKED, _BUILT):
        if file.is_file():
            return file
    raise Problem("the contracts are not built: run `make setup`")


def with_others(known: bytes, manifests: Sequence[Manifest], addresses: Mapping[str, str]) -> bytes:
    """The contracts, with those of services that are not among them, as the services say themselves where they answer."""
    contracts = FileDescriptorSet.FromString(known)
    services = {f"{file.package}.{service.name}" for file in contracts.file for service in file.service}
    names = {file.name for file in contracts.file}
    for manifest in manifests:
        if manifest.grpc in services:
            continue
        with Remote(addresses[manifest.name]) as remote:
            for file in remote.files(manifest.grpc):
                if file.name not in names:
                    names.add(file.name)
                    contracts.file.append(file)
    return contracts.SerializeToString()


def build_stubs(folder: Path, into: Path) -> list[str]:
    """Builds Python stubs of the .proto files below a folder, which may import those of the city; returns their names.

    Problem where there are none, or they cannot be compiled: what is wrong with them is told on standard error.
    """
    from grpc_tools import protoc

    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
    if not names:
        raise Problem(f"{folder} has no .proto file: name the folder below which they lie as they are imported")
    into.mkdir(parents=True, exist_ok=True)
    options = [f"-I{folder}", f"-I{files('grpc_tools') / '_proto'}", f"--descriptor_set_in={descriptors()}"]
    outputs = [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *options, *outputs, *names]):
        raise Problem(f"the contracts below {folder} cannot be compiled: mend what stands above")
    return names
