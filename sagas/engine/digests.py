"""A digest of a workflow's definition: equal as long as its sagas would do the same.

It is made of the values of the definition, and of the source of its functions with all that they use in this package. Comments,
layout, docstrings and type annotations do not count, nor does the release of Python.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from citybrain.sagas.engine.definition import Workflow

# Functions from elsewhere are named, and not looked into: what they do is the engine's, the same for all workflows.
_OURS = "citybrain.sagas.workflows"
_NOT_CODE = frozenset({"annotation", "returns", "type_comment", "type_params", "kind", "ctx"})


class DigestError(Exception):
    """A definition of which no digest can be made; the message says what in it is the matter."""


def digest(workflow: Workflow, package: str = _OURS) -> str:
    """The SHA-256 of a definition in hex. `package`: functions of its modules are looked into.

    DigestError where the definition holds something that has no text of its own.
    """
    return hashlib.sha256("\n".join(_lines(workflow, package, [])).encode()).hexdigest()


def _lines(value: Any, package: str, above: list[Any]) -> Iterator[str]:
    """A value as text. `above`: the functions that led here, of which none is written twice."""
    if isinstance(value, bool | int | float | str | bytes | None):
        yield repr(value)
    elif isinstance(value, type):
        descriptor = getattr(value, "DESCRIPTOR", None)
        yield f"class {value.__module__}.{value.__qualname__}" if descriptor is None else f"message {descriptor.full_name}"
    elif isinstance(value, ModuleType):
        yield f"module {value.__name__}"
    elif isinstance(value, functools.partial):
        yield "partial"
        yield from _lines((value.func, value.args, value.keywords), package, above)
    elif isinstance(value, FunctionType):
        yield from _function(value, package, above)
    elif isinstance(value, Mapping):
        yield "mapping"
        for key, item in value.items():
            yield from _lines((key, item), package, above)
    elif isinstance(value, tuple | list):
        yield f"{len(value)} of"
        for item in value:
            yield from _lines(item, package, above)
    elif dataclasses.is_dataclass(value):
        yield type(value).__name__
        for field in dataclasses.fields(value):
            held = getattr(value, field.name)
            # A word that the vocabulary gets later changes no definition that does not use it.
            if not _is_default(field, held):
                yield field.name
                yield from _lines(held, package, above)
    else:
        raise DigestError(
            f"a definition holds {value!r}: make it of functions, messages, numbers, texts, tuples, mappings and dataclasses"
        )


def _is_default(field: dataclasses.Field[Any], held: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(held == field.default_factory())
    return field.default is not dataclasses.MISSING and bool(held is field.default or held == field.default)


def _function(function: FunctionType, package: str, above: list[Any]) -> Iterator[str]:
    if not f"{function.__module__}.".startswith(f"{package}."):
        yield f"function {function.__module__}.{function.__qualname__}"
        return
    if function in above:
        yield f"again {function.__qualname__}"
        return
    node = _node(function)
    body = [node.body] if isinstance(node, ast.Lambda) else _without_docstring(node.body)
    yield _text(node.args)
    yield from map(_text, body)
    inside = [*above, function]
    yield from _lines((function.__defaults__ or (), function.__kwdefaults__ or {}), package, inside)
    yield from _lines([cell.cell_contents for cell in function.__closure__ or ()], package, inside)
    names = {inner.id for part in body for inner in ast.walk(part) if isinstance(inner, ast.Name)}
    for name in sorted(names & function.__globals__.keys()):
        yield name
        yield from _lines(function.__globals__[name], package, inside)


def _node(function: FunctionType) -> ast.Lambda | ast.FunctionDef:
    """The source of a function. Of lambdas that begin on one line it is the smallest that holds all of the code."""
    code = function.__code__
    nodes = list(ast.walk(_parsed(Path(inspect.getfile(function)))))
    if code.co_name != "<lambda>":
        named = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == code.co_name]
        found: list[ast.Lambda | ast.FunctionDef] = [node for node in named if _begins(node) == code.co_firstlineno]
    else:
        places = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column]
        lambdas = [node for node in nodes if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
        holding = [node for node in lambdas if all(_begin(node.body) <= place < _end(node.body) for place in places)]
        found = [max(holding, key=_begin)] if holding else []
    if len(found) != 1:
        raise DigestError(
            f"the source of {function.__qualname__} in {function.__module__} cannot be told from others beside it"
        )
    return found[0]


def _begin(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _begins(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(one.lineno for one in node.decorator_list)])


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return body[1:] if is_docstring else body


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _text(node: Any) -> str:
    """A piece of source without its layout. Not `ast.dump`: what that leaves out differs between releases of Python."""
    if isinstance(node, ast.AST):
        fields = [(name, held) for name, held in ast.iter_fields(node) if name not in _NOT_CODE and held not in (None, [])]
        return f"{type(node).__name__}({', '.join(f'{name}={_text(held)}' for name, held in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    return repr(node)
