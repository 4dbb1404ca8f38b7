"""The cross-department workflows: each a module of this folder, found by being here.

Every `Workflow` at the top of a module is published: the newest version, and the older ones that sagas may still be on.
"""

from __future__ import annotations

import importlib
import pkgutil

from citybrain.sagas.engine.definition import Workflow


def published() -> tuple[Workflow, ...]:
    """All workflows of this folder, every version of each, by name, the newest version first."""
    found: dict[tuple[str, int], Workflow] = {}
    for module in pkgutil.iter_modules(__path__):
        for one in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(one, Workflow):
                there = found.setdefault((one.name, -one.version), one)
                if there is not one:
                    what = f"{module.name}.py has a second {one.name} of version {one.version}"
                    raise ValueError(f"{what}: give it another name or version")
    return tuple(found[key] for key in sorted(found))
