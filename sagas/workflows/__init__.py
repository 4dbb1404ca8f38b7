"""The cross-department workflows: each a module of this folder, found by being here.

Every `Workflow` at the top of a module is published: the newest version, and the older ones that sagas may still be on. What
was published is pinned in `published.toml`, so that sagas that run find the definition that they began with.
"""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections.abc import Mapping
from importlib.resources import files

from citybrain.sagas.engine.checking import check
from citybrain.sagas.engine.definition import Workflow

PINS = "published.toml"
RETIRED = "retired"
"""In the place of a digest: sagas of this version need a human, and its definition may go."""


def published() -> tuple[Workflow, ...]:
    """All workflows of this folder, every version of each, by name, the newest version first.

    WorkflowError: a definition is broken; its sentences say what to change, and where.
    """
    found: dict[tuple[str, int], Workflow] = {}
    for module in pkgutil.iter_modules(__path__):
        for one in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(one, Workflow):
                there = found.setdefault((one.name, -one.version), one)
                if there is not one:
                    what = f"{module.name}.py has a second {one.name} of version {one.version}"
                    raise ValueError(f"{what}: give it another name or version")
    workflows = tuple(found[key] for key in sorted(found))
    check(workflows)
    return workflows


def newest() -> tuple[Workflow, ...]:
    """The newest version of each workflow of this folder, by name."""
    return tuple({one.name: one for one in reversed(published())}.values())[::-1]


def pins() -> Mapping[tuple[str, int], str]:
    """The digest of each definition that was ever published, by name and version, or RETIRED."""
    content = tomllib.loads(files(__name__).joinpath(PINS).read_text(encoding="utf-8"))
    return {(name, int(version)): digest for name, versions in content.items() for version, digest in versions.items()}


def retired() -> frozenset[tuple[str, int]]:
    """Names and versions of the definitions that are gone."""
    return frozenset(one for one, digest in pins().items() if digest == RETIRED)
