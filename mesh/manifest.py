"""The manifest of a service (manifest.yaml), and how manifests are found.

Gateway routes and the event catalogue are made from manifests without loading services, so this module imports no service code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from citybrain.observability.numbers import BUCKETS_S

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast, where PyYAML has it: every process reads all manifests when it starts."""


class ManifestError(Exception):
    """A manifest cannot be used; the message names the file, the line, the field, and what to write instead."""


NAME = r"^[a-z][a-z0-9_]{1,40}$"
"""What the name of a service looks like."""
TEAM = r"^[a-z0-9][a-z0-9-]*$"
"""What the name of a team looks like."""


def _field(pattern: str | None, description: str) -> Any:
    return Field(pattern=pattern, description=description)


class Answered(BaseModel):
    """An objective of calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answered: float = Field(ge=95, lt=100, description="of a hundred calls so many are answered without a fault of the service")


class Calls(Answered):
    """Objectives of calls that are not streams."""

    within_s: float = Field(description="in how many seconds")
    part: float = Field(ge=95, lt=100, description="of a hundred calls so many are answered within this time")

    @field_validator("within_s")
    @classmethod
    def _is_measured(cls, seconds: float) -> float:
        if seconds not in BUCKETS_S:
            raise ValueError("is no bucket")
        return seconds


class Fresh(BaseModel):
    """An objective of what is heard and read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    within_s: float = Field(gt=0, le=3600, description="no event waits longer to be handled")
    part: float = Field(ge=95, lt=100, description="in so many hundredths of the time")


class Objectives(BaseModel):
    """What a service promises those who call it, and of what it hears. docs/observing.md says how it is watched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    read: Calls | None = None
    command: Calls | None = None
    stream: Answered | None = None
    events: Fresh | None = None


class Manifest(BaseModel):
    """One service: its team, its contract, what it publishes, hears and calls. docs/kit.md says what each key is for."""

    model_config = ConfigDict(extra="forbid")

    name: str = _field(NAME, "a short name in small letters, as its folder and its class have it: traffic")
    title: str = _field(None, "what people call it, in English and Chinese: Traffic (交通)")
    team: str = _field(TEAM, "the team that owns it, as the code owners are named: traffic-police")
    entry: str = _field(r"^[\w.]+:\w+$", "module and class of the service: citybrain.services.traffic.service:TrafficService")
    grpc: str = _field(
        r"^citybrain\.[a-z0-9_]+\.v[0-9]+\.\w+Service$",
        "the service of its contract, package and all: citybrain.traffic.v1.TrafficService",
    )
    port: int = Field(ge=1024, le=65535, description="where it listens when it runs alone, 1024 to 65535: 7103")
    publishes: list[str] = Field(
        default=[], description="a list of all events of its contract: citybrain.traffic.v1.RoadsPublished"
    )
    subscribes: list[str] = Field(
        default=[], description="a list of the events of others that it hears: citybrain.traffic.v1.RoadsPublished"
    )
    calls: list[str] = Field(
        default=[], description="a list of the services that it calls, package and all: citybrain.traffic.v1.TrafficService"
    )
    upcasters: str = Field(
        default="", pattern=r"^[\w.]*$", description="the module that says how events of types that are given up read today"
    )
    objectives: Objectives | None = Field(
        default=None,
        description="what is promised for calls that read, commands, streams and events: read: {answered: 99.9, within_s: "
        "0.25, part: 99} (within_s: "
        + ", ".join(f"{one:g}" for one in BUCKETS_S)
        + "); command the same; stream: {answered: 99.5}; "
        "events: {within_s: 10, part: 99}",
    )
    _places: dict[tuple[str | int, ...], str] = PrivateAttr(default={})

    @property
    def path(self) -> Path:
        """Its file. KeyError: it was not read from one."""
        return Path(self._places[()])

    def wrong(self, field: str, what: str, item: str | None = None) -> ManifestError:
        """An error about a field, or an item or key of it, with file and line. `what`: what is wrong, and what to write."""
        values = getattr(self, field)
        at: tuple[str | int, ...] = (field,)
        if item is not None and isinstance(values, list) and item in values:
            at = (field, values.index(item))
        elif item is not None and (field, item) in self._places:
            at = (field, item)
        return ManifestError(f"{self._places.get(at, self._places.get((), self.name))}: field {field}: {what}")


def read_manifest(path: Path) -> Manifest:
    """Reads one manifest. ManifestError says which field is wrong, and in which line."""
    try:
        loader = _LOADER(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ManifestError(f"{path}: must hold fields ({', '.join(_needed())})")
    places: dict[tuple[str | int, ...], str] = {(): str(path)}
    content: dict[str, Any] = {}
    for key_node, value_node in root.value:
        name, place = str(key_node.value), f"{path}:{key_node.start_mark.line + 1}"
        if name in content:
            raise ManifestError(f"{place}: field {name}: stands above already: take one of them out")
        try:
            content[name] = loader.construct_object(value_node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            # ValueError: e.g. a date that no calendar has.
            raise ManifestError(f"{place}: field {name}: cannot be read: {' '.join(str(error).split())}") from error
        places[name,] = place
        if isinstance(value_node, yaml.SequenceNode):
            places |= {(name, n): f"{path}:{item.start_mark.line + 1}" for n, item in enumerate(value_node.value)}
        if isinstance(value_node, yaml.MappingNode):
            places |= {(name, str(key.value)): f"{path}:{key.start_mark.line + 1}" for key, _ in value_node.value}
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise ManifestError(_explained(error, places)) from error
    manifest._places = places
    return manifest


def _needed() -> list[str]:
    return [name for name, field in Manifest.model_fields.items() if field.is_required()]


def _explained(error: ValidationError, places: Mapping[tuple[str | int, ...], str]) -> str:
    """The first mistake, and what to write."""
    first = error.errors()[0]
    loc = first["loc"]
    name = str(loc[0])
    place = places.get(loc[:2]) or places.get(loc[:1]) or places[()]
    if first["type"] == "extra_forbidden" and len(loc) == 1:
        close = difflib.get_close_matches(name, Manifest.model_fields, 1)
        return f"{place}: field {name}: there is none: " + (
            f"do you mean {close[0]}?" if close else f"there are {', '.join(Manifest.model_fields)}"
        )
    write = Manifest.model_fields[name].description
    field = ".".join(map(str, loc)) if name == "objectives" else name
    return f"{place}: field {field}: " + (
        f"is missing: {write}" if first["type"] == "missing" else f"is {first['input']!r}: {write}"
    )


def find_manifests(roots: Iterable[Path]) -> list[Manifest]:
    """All manifests in the given folders and their direct sub-folders, by name. ManifestError: two have the same name."""
    found: dict[str, Manifest] = {}
    for root in roots:
        for path in sorted([*root.glob("manifest.yaml"), *root.glob("*/manifest.yaml")]):
            manifest = read_manifest(path)
            if manifest.name in found:
                raise ManifestError(f"{path}: another service is already called {manifest.name}: choose another name")
            found[manifest.name] = manifest
    return [found[name] for name in sorted(found)]
