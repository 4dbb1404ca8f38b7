"""Which engines there are, by the names that `store` in the configuration has for them, and what each of them is.

The two engines of this project stand in a table here and are no entry points of our package. Entry points are found only where
a package is installed, and our engines must be found in a checkout too. To look for entry points also takes time in every
process. So it is done only for a name that is not in the table. Other packages bring engines as entry points of the group
`citybrain.engines`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from citybrain.event_store.store import Features, StoreError

GROUP = "citybrain.engines"
EMBEDDED = "embedded"
DISTRIBUTED = "distributed"
OURS = {
    EMBEDDED: "citybrain.mesh.storage.embedded:Embedded",
    DISTRIBUTED: "citybrain.mesh.storage.distributed:Distributed",
}


@dataclass(frozen=True, slots=True)
class EngineFeatures:
    """How an engine differs from others. Nothing is opened, and no driver is loaded, to know this."""

    store: Features
    """What its event store promises."""

    many_machines: bool
    """Processes on several machines may share it. Without it, all events are on one machine and are lost with it."""

    files: bool
    """Everything is in files of the data folder, so `city backup` and `city restore` work."""

    log_apart: bool
    """The log is kept apart from the streams and could lose what they hold, so `city log verify` compares the two."""

    rest_is_seen: bool
    """A process can see that no work is left. Without it, driven city time has to move at a pace."""


class NoSuchEngine(StoreError, ValueError):
    """No engine has this name, or two packages bring one; the message says which there are."""


def names() -> list[str]:
    """The names of all engines that are installed."""
    return sorted({*OURS, *(one.name for one in entry_points(group=GROUP))})


def known(name: str) -> str:
    """The name itself, if an engine has it; else NoSuchEngine."""
    _entry_point(name)
    return name


def load_engine(name: str) -> Any:
    """What stands under the name of an engine; StoreError if there is nothing, or it cannot be loaded."""
    entry = _entry_point(name)
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise StoreError(f"the engine {name} ({entry.value}) cannot be loaded: {error}") from error


def features_of(name: str) -> EngineFeatures:
    """What the engine of a name is; StoreError as `load_engine`, and if it does not say so."""
    features = getattr(load_engine(name), "features", None)
    if not isinstance(features, EngineFeatures):
        raise StoreError(f"the engine {name} has no EngineFeatures: is it a class that inherits from Engine?")
    return features


def _entry_point(name: str) -> EntryPoint:
    if name in OURS:
        return EntryPoint(name, OURS[name], GROUP)
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        do = "for another one, install its package where the city runs"
        raise NoSuchEngine(f"there is no such engine: there are {', '.join(names())}; {do}")
    if len(found) > 1:
        packages = " and ".join(sorted(f"{one.dist.name} ({one.value})" if one.dist else one.value for one in found))
        raise NoSuchEngine(f"several packages bring an engine of this name: {packages}; uninstall all but one")
    return found[0]
