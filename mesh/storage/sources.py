"""Digests of functions: of their text without comments and layout, and of what they use from the files beside them."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def digest_of(*functions: Callable[..., Any]) -> str:
    """A digest of the code of some functions. Empty: one of them has no source.

    Functions, classes and constants that they name count too, if they are of the same module or of one in the same folder. What
    comes from elsewhere does not count, nor what a function closes over.
    """
    texts = [_text(function) for function in functions]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest() if all(texts) else ""


def _text(function: Callable[..., Any]) -> str:
    plain = inspect.unwrap(function)
    module = _module(getattr(plain, "__module__", ""))
    code = getattr(plain, "__code__", None)
    if module is None or code is None:
        return ""
    # Two functions can begin in one line; then both count.
    own = module.functions.get(code.co_firstlineno, [])
    used: dict[tuple[Path, str], str] = {}
    _follow(module, own, used)
    return "\n".join([*map(ast.unparse, own), *(used[place] for place in sorted(used))]) if own else ""


class _Module:
    """The source of a module: its functions by first line, its definitions by name, its imports by the name they have here."""

    def __init__(self, module: ModuleType) -> None:
        self.file = Path(inspect.getfile(module))
        self.functions: dict[int, list[ast.AST]] = {}
        self.defined: dict[str, list[ast.stmt]] = {}
        self.imported: dict[str, tuple[str, str]] = {}
        tree = ast.parse(inspect.getsource(module))
        for node in ast.walk(tree):
            if isinstance(node, _DOCUMENTED):
                node.body = [one for one in node.body if not _is_docstring(one)] or [ast.Pass()]
            if isinstance(node, _FUNCTIONS):
                self.functions.setdefault(_line(node), []).append(node)
        for statement in tree.body:
            if isinstance(statement, ast.ImportFrom):
                named = "." * statement.level + (statement.module or "")
                origin = importlib.util.resolve_name(named, module.__package__)
                self.imported |= {one.asname or one.name: (origin, one.name) for one in statement.names}
            for name in _defines(statement):
                self.defined.setdefault(name, []).append(statement)


def _module(name: str, folder: Path | None = None) -> _Module | None:
    """A module by its name; None: it is not loaded, has no source, or does not lie in this folder."""
    module = sys.modules.get(name)
    if module is None or (folder is not None and Path(getattr(module, "__file__", None) or "").parent != folder):
        return None
    return _read(module)


@functools.cache
def _read(module: ModuleType) -> _Module | None:
    try:
        return _Module(module)
    except (OSError, TypeError):
        # The module has no file, or the file is gone.
        return None


def _follow(module: _Module, nodes: Iterable[ast.AST], used: dict[tuple[Path, str], str]) -> None:
    """Adds the definitions that these nodes name to `used`, and the definitions that those name."""
    for named, attribute in _names(nodes):
        name = named
        found: _Module | None = module
        if name in module.imported:
            origin, real = module.imported[name]
            found = _module(f"{origin}.{real}", module.file.parent)
            if found is not None:
                name = attribute
            else:
                found, name = _module(origin, module.file.parent), real
        if found is not None and name in found.defined and (found.file, name) not in used:
            statements = found.defined[name]
            used[found.file, name] = "\n".join(map(ast.unparse, statements))
            _follow(found, statements, used)


def _names(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Names in these nodes, each with the attribute that is read of it, or none."""
    for node in nodes:
        for one in ast.walk(node):
            if isinstance(one, ast.Name):
                yield one.id, ""
            elif isinstance(one, ast.Attribute) and isinstance(one.value, ast.Name):
                yield one.value.id, one.attr


def _defines(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        yield from (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str)
    )


def _line(node: ast.AST) -> int:
    """The first line of a function, decorators included."""
    lines: list[int] = [one.lineno for one in (node, *getattr(node, "decorator_list", ()))]
    return min(lines)
