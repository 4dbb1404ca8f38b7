"""Makes docs/reference.md: every public name of the kit, its tests, workflows and the client, as the code says.

`make reference` writes; `make check` fails where the page has drifted, or a public name says nothing.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference.md"
MODULES = {
    "citybrain.mesh.service": "what a service is made of",
    "citybrain.mesh.errors": "what a service raises",
    "citybrain.mesh.testing": "how a service is tried",
    "citybrain.sagas.engine.definition": "the vocabulary of workflows",
    "citybrain.sagas.testing": "how a workflow is tried",
    "citybrain.client": "for programs outside of the mesh",
}
_HEAD = """\
# Every public name, as the code says

Made by `make reference` from the modules that others import. How they are used: [kit.md](kit.md), [testing.md](testing.md),
[sagas](../sagas/README.md), [client](../client/README.md).
"""
# Addresses of objects differ in each process.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def made() -> str:
    """The page as it should stand."""
    parts = [_HEAD]
    for name, purpose in MODULES.items():
        module = importlib.import_module(name)
        parts.append(f"## `{name}`: {purpose}\n")
        parts += [_entry(module, public) for public in sorted(module.__all__, key=str.lower)]
    return "\n".join(parts)


def silent() -> list[str]:
    """Public names without a word of their own."""
    modules = map(importlib.import_module, MODULES)
    return [f"{one.__name__}.{name}" for one in modules for name in one.__all__ if not _doc(one, name, getattr(one, name))]


def _entry(module: ModuleType, name: str) -> str:
    thing = getattr(module, name)
    lines = [f"### `{name}`", "", "```text", _signature(name, thing), "```", "", _doc(module, name, thing), ""]
    methods = [f"- `{_signature(method, each)}`: {' '.join(_own_doc(each).split())}" for method, each in _methods(thing)]
    return "\n".join([*lines, *methods, ""] if methods else lines)


def _methods(thing: Any) -> Iterator[tuple[str, Any]]:
    """The public methods of a class that it has itself and that say something."""
    if not inspect.isclass(thing):
        return
    for name, value in vars(thing).items():
        function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if not name.startswith("_") and inspect.isfunction(function) and _own_doc(function) and name != "get_dependency":
            yield name, function


def _signature(name: str, thing: Any) -> str:
    try:
        return name + _ADDRESS.sub("", str(inspect.signature(thing)))
    except (TypeError, ValueError):
        return name


def _doc(module: ModuleType, name: str, thing: Any) -> str:
    if inspect.isclass(thing) or inspect.isroutine(thing):
        return _own_doc(thing)
    # A name for a type, or a number: what stands below it in its module.
    source = inspect.getsource(module)
    found = re.search(rf'^{name}\b[^\n]*= .*?\n"""(.*?)"""', source, re.M | re.S)
    return found[1] if found else ""


def _own_doc(thing: Any) -> str:
    text = inspect.cleandoc(thing.__doc__ or "") if getattr(thing, "__doc__", None) else ""
    # What a dataclass says of itself is only its signature.
    return "" if text.startswith(f"{getattr(thing, '__name__', '')}(") else text


def main() -> int:
    """Writes it."""
    PAGE.write_text(made(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
