"""Finds what a change of the city's contracts breaks, compared with its last release.

Run by `make check`, before types and tests tell the same in other words. What is released is in protos/released.binpb. Who
reads what is in protos/consumers.yaml, and of other repositories in protos/consumers.d. cli/compatibility/breaks.py says what
is a break.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from citybrain.cli.compatibility.breaks import buf_breaking, findings, unneeded
from citybrain.cli.compatibility.contracts import NotWritten
from citybrain.mesh.manifest import find_manifests
from citybrain.mesh.upcasting import steps
from tools.contracts import CONSUMERS, OTHERS, PLACES, readers
from tools.released import FILE as RELEASED
from tools.released import now, released, stale, version

# Breaks of permissions and of limits that were chosen: the full name of the method or field, and why. Never of an event.
CHOSEN: Mapping[str, str] = {}
CHOSEN_IN = "CHOSEN of tools/compatible.py"
BUF = str(Path(sys.executable).parent / "buf")


def upcasters() -> tuple[dict[str, str], list[str]]:
    """The types that services say how to read, and what they are read as; a line for each module that cannot be loaded."""
    failed = []
    for manifest in find_manifests(PLACES):
        if manifest.upcasters:
            try:
                importlib.import_module(manifest.upcasters)
            except Exception as error:
                failed.append(f"{manifest.upcasters} cannot be loaded: {type(error).__name__}: {error}")
    return {old: to for old, to, _ in steps()}, failed


def main(write: Callable[[str], Any] = sys.stdout.write, others: Path = OTHERS) -> int:
    """Prints what is broken; 1 if anything is."""
    for file, target in ((RELEASED, "released"), (CONSUMERS, "consumers")):
        if not file.is_file():
            write(f"protos/{file.name} is missing, so nothing can be compared: put it back, or make {target}\n")
            return 1
    before, after = released(), now()
    upcast, lines = upcasters()
    try:
        consumers = readers(FileDescriptorSet(file=[*before.file, *after.file]), others)
    except NotWritten as error:
        write(f"{error}\n")
        return 1
    found = findings(before, after, consumers, upcast, CHOSEN)
    lines += [one.line(CHOSEN_IN) for one in found]
    lines += buf_breaking(BUF, before, after, (one.place for one in found))
    lines += unneeded(findings(before, after), CHOSEN, CHOSEN_IN) + stale(version(), before, after)
    for line in lines:
        write(f"{line}\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
