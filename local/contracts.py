"""The contracts of the city, and those of services from other folders."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from citybrain.local.calling import PLAIN
from citybrain.local.problems import Problem
from citybrain.local.reflection import Remote
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.settings.values import Tls

# In a checkout the contracts are built; a wheel has them in its package.
_HERE = Path(__file__).resolve().parents[1]
_BUILT = _HERE / "build" / "descriptors.binpb"
_PACKED = _HERE / "contracts" / "descriptors.binpb"


def descriptors() -> Path:
    """The file with all contracts of the city. Problem: they are not built."""
    for file in (_PACKED, _BUILT):
        if file.is_file():
            return file
    raise Problem("the contracts are not built: run `make setup`")


def with_others(
    known: bytes, manifests: Sequence[Manifest], addresses: Mapping[str, str], token: str, tls: Tls = PLAIN
) -> bytes:
    """The known contracts, and those of services that are not among them: a running service tells its own by reflection."""
    contracts = FileDescriptorSet.FromString(known)
    services = {f"{file.package}.{service.name}" for file in contracts.file for service in file.service}
    names = {file.name for file in contracts.file}
    for manifest in manifests:
        if manifest.grpc in services:
            continue
        with Remote(addresses[manifest.name], token, tls) as remote:
            for file in remote.files():
                if file.name not in names:
                    names.add(file.name)
                    _name_in_json(file.message_type)
                    contracts.file.append(file)
    return contracts.SerializeToString()


def told_of(known: bytes, manifests: Sequence[Manifest]) -> bytes:
    """The contracts with no other services than these, as reflection tells of them."""
    names = {manifest.grpc for manifest in manifests}
    contracts = FileDescriptorSet.FromString(known)
    for file in contracts.file:
        kept = [service for service in file.service if f"{file.package}.{service.name}" in names]
        del file.service[:]
        file.service.extend(kept)
    return contracts.SerializeToString()


def without(known: bytes, manifests: Sequence[Manifest]) -> bytes:
    """The contracts but for the packages of some services."""
    packages = {manifest.grpc.rpartition(".")[0] for manifest in manifests}
    contracts = FileDescriptorSet.FromString(known)
    return FileDescriptorSet(file=[file for file in contracts.file if file.package not in packages]).SerializeToString()


def _name_in_json(messages: Iterable[DescriptorProto]) -> None:
    """Writes down how JSON spells the fields. The compiler does so, reflection leaves it out, and the gateway reads it."""
    for message in messages:
        for field in message.field:
            first, *later = field.name.split("_")
            field.json_name = field.json_name or first + "".join(part[:1].upper() + part[1:] for part in later)
        _name_in_json(message.nested_type)


def build_stubs(folder: Path, into: Path) -> list[str]:
    """Builds Python stubs of the .proto files below a folder, which may import those of the city; returns the files' names.

    Problem: there are no such files, or they cannot be compiled. The compiler writes the reason to standard error.
    """
    into.mkdir(parents=True, exist_ok=True)
    return _compiled(folder, [f"--{kind}_out={into}" for kind in ("python", "pyi", "grpc_python")])


def described(folder: Path) -> FileDescriptorSet:
    """The contracts below a folder, with places and comments, without what they import. Problem: as `build_stubs`."""
    with tempfile.TemporaryDirectory() as made:
        image = Path(made) / "contracts.binpb"
        _compiled(folder, [f"--descriptor_set_out={image}", "--include_source_info"])
        return FileDescriptorSet.FromString(image.read_bytes())


def _compiled(folder: Path, outputs: Sequence[str]) -> list[str]:
    from grpc_tools import protoc

    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.proto"))
    if not names:
        raise Problem(f"{folder} has no .proto file: name the folder below which they lie as they are imported")
    options = [f"-I{folder}", f"-I{files('grpc_tools') / '_proto'}", f"--descriptor_set_in={descriptors()}"]
    if protoc.main(["protoc", *options, *outputs, *names]):
        raise Problem(f"the contracts below {folder} cannot be compiled: mend what stands above")
    return names
