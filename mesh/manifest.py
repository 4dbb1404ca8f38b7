"""What a service says of itself in its manifest.yaml, and where manifests are found.

The gateway's routes, the runner and the event catalogue are made from manifests, so this module imports no service code.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class ManifestError(Exception):
    """A manifest that cannot be used; the message names the file, the field and what to write instead."""


class Objectives(BaseModel):
    """What the team promises to its callers."""

    model_config = ConfigDict(extra="forbid")

    availability_percent: float = Field(default=99.9, gt=0, le=100)
    latency_p99_ms: float = Field(default=500, gt=0)


class Manifest(BaseModel):
    """One service: who owns it, what it answers, what it publishes and hears."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{1,40}$")
    title: str
    team: str
    kind: Literal["sector", "platform", "hub", "app"]
    # module:Class of the nameko service.
    entry: str = Field(pattern=r"^[\w.]+:\w+$")
    # Full name of the gRPC service.
    grpc: str = Field(pattern=r"^citybrain\.[a-z0-9_]+\.v[0-9]+\.\w+Service$")
    # Where it listens when it runs alone.
    port: int = Field(ge=1024, le=65535)
    publishes: list[str] = []
    subscribes: list[str] = []
    # Module that says how events of types that are given up read today.
    upcasters: str = Field(default="", pattern=r"^[\w.]*$")
    objectives: Objectives = Objectives()


def read_manifest(path: Path) -> Manifest:
    """Reads one manifest; raises ManifestError that says which field is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ManifestError(f"{path}: must hold fields (name, title, team, kind, entry, grpc, port)")
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path}: field {field}: {first['msg']}") from error


def find_manifests(roots: Iterable[Path]) -> list[Manifest]:
    """All manifests directly below the given folders or in their sub-folders, by name; two of one name are an error."""
    found: dict[str, Manifest] = {}
    for root in roots:
        for path in sorted([*root.glob("manifest.yaml"), *root.glob("*/manifest.yaml")]):
            manifest = read_manifest(path)
            if manifest.name in found:
                raise ManifestError(f"{path}: another service is already called {manifest.name}: choose another name")
            found[manifest.name] = manifest
    return [found[name] for name in sorted(found)]
