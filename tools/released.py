"""Keeps the contracts of the last release in protos/released.binpb: what `make check` compares the tree with.

`make released` writes the file, when a version is released. Once there has been a release, it refuses to write one in which
something is broken that was released before.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from citybrain.cli.compatibility.contracts import to_keep
from tools.build_stubs import DESCRIPTORS
from tools.release import DEVELOPED, HEADING

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "protos" / "released.binpb"


def now() -> FileDescriptorSet:
    """The contracts of this tree, with what they import, and with places and comments."""
    return FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())


def released() -> FileDescriptorSet:
    """The contracts of the last release, without what they import."""
    return FileDescriptorSet.FromString(FILE.read_bytes())


def problem(version: str, changelog: str, before: FileDescriptorSet, after: FileDescriptorSet, broken: int) -> str:
    """Why the file may not be written now; empty: it may."""
    if HEADING.findall(changelog)[1:] == []:
        return ""
    if broken:
        return f"{broken} breaks of what was released: `make check` names them"
    if version.endswith(DEVELOPED) and before != to_keep(after):
        return f"contracts are released with a version, and this is {version}: they may change until then"
    return ""


def stale(version: str, kept: FileDescriptorSet, contracts: FileDescriptorSet) -> list[str]:
    """A line where a version is released and the file has not its contracts."""
    if version.endswith(DEVELOPED) or kept == to_keep(contracts):
        return []
    return [f"{FILE.relative_to(ROOT)}: has not the contracts of {version}: make released"]


def version() -> str:
    """The version of this tree."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def main() -> int:
    """Writes the file; ends with 1 where it may not be written."""
    from citybrain.cli.compatibility.breaks import findings

    contracts = now()
    if FILE.is_file():
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        refused = problem(version(), changelog, released(), contracts, len(findings(released(), contracts)))
        if refused:
            sys.stderr.write(f"{FILE.name} stays as it is: {refused}\n")
            return 1
    FILE.write_bytes(to_keep(contracts).SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
