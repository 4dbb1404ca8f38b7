"""Where the contracts of this repository are used, and who reads them: its own services, and those of other repositories."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from citybrain.cli.compatibility.contracts import OURS, READS, Consumer, NotWritten, written

ROOT = Path(__file__).resolve().parent.parent
CONSUMERS = ROOT / "protos" / READS
OTHERS = ROOT / "protos" / "consumers.d"
"""What services of other repositories read, one file for each repository, as `city contracts reads` makes it there."""
# Where the services of this repository are.
PLACES = (ROOT / "services", ROOT / "sagas")


def readers(contracts: FileDescriptorSet, others: Path = OTHERS) -> list[Consumer]:
    """Who reads what of these contracts. NotWritten: one of the files says nothing of the kind.

    A service of another repository also reads messages of its own, which are not known here: they are left out.
    """
    packages = {file.package for file in contracts.file if file.name.startswith(OURS)}
    found = written(CONSUMERS.read_text(encoding="utf-8"))
    for path in sorted(others.glob("*.yaml")):
        try:
            outside = written(path.read_text(encoding="utf-8"))
        except NotWritten as error:
            hint = "take the file that `city contracts reads` makes"
            raise NotWritten(f"protos/{others.name}/{path.name}: {error}: {hint}") from None
        for one in outside:
            reads = {name: paths for name, paths in one.reads.items() if _package(name) in packages}
            calls = [name for name in one.calls if _package(name.rpartition(".")[0]) in packages]
            found.append(replace(one, reads=reads, calls=calls))
    return found


def _package(name: str) -> str:
    """The package of a message or a service, which may be inside another message."""
    parts = name.split(".")
    return ".".join(parts[:3])
