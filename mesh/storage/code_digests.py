"""The code of functions as text, for digests: without comments and layout, and with what they use from the files beside them.

Comments, layout, docstrings and type annotations are left out, and the text is the same under every release of Python.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from types import CellType, CodeType, ModuleType
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NOT_CODE = frozenset({"annotation", "returns", "type_comment", "type_params", "kind", "ctx"})
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def digest_of(*functions: Callable[..., Any]) -> str:
    """A digest of the code of some functions. Empty: one of them has no source."""
    texts = [text_of(function) for function in functions]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest() if all(texts) else ""


def text_of(function: Callable[..., Any]) -> str:
    """The code of a function as text. Empty: it has no source.

    Functions, classes and constants that it names are in the text too, if they are of the same module or of one in the same
    folder. So are the values that it closes over, and its defaults. What comes from elsewhere is not.
    """
    return "\n".join(_lines(function, ()))


def node_of(function: Callable[..., Any]) -> ast.AST | None:
    """The source of a function, parsed, without docstrings. None: it has no source."""
    module, code = _module(function.__module__), getattr(function, "__code__", None)
    if module is None or code is None:
        return None
    return next(iter(_own(module.functions.get(code.co_firstlineno, []), code)), None)


def _lines(function: Callable[..., Any], above: tuple[Any, ...]) -> list[str]:
    """The same, line by line. `above`: the functions that close over this one."""
    plain = inspect.unwrap(function)
    module = _module(getattr(plain, "__module__", ""))
    code = getattr(plain, "__code__", None)
    if module is None or code is None:
        return []
    own = _own(module.functions.get(code.co_firstlineno, []), code)
    used: dict[tuple[Path, str], str] = {}
    _follow(module, _names(own), used)
    held = [*(plain.__defaults__ or ()), *(plain.__kwdefaults__ or {}).values(), *map(_content, plain.__closure__ or ())]
    values = [line for value in held for line in _value(value, (*above, plain))]
    return [*map(_text, own), *(used[place] for place in sorted(used)), *values] if own else []


def _own(found: list[ast.AST], code: CodeType) -> list[ast.AST]:
    """Which of the functions that begin on one line has this code: of lambdas, the smallest in which all of it stands."""
    if code.co_name != "<lambda>":
        return [node for node in found if getattr(node, "name", "") == code.co_name]
    places = [(line, column) for line, _, column, _ in code.co_positions() if line is not None and column]
    lambdas = [node for node in found if isinstance(node, ast.Lambda)]
    holding = [node for node in lambdas if all(_begin(node.body) <= place < _end(node.body) for place in places)]
    return [max(holding, key=lambda node: _begin(node.body))] if holding else []


def _begin(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # It is filled later.
        return None


def _value(value: Any, above: tuple[Any, ...]) -> list[str]:
    """A value that a function holds. Of an object without a text of its own only the class is seen."""
    if isinstance(value, bool | int | float | str | bytes | None):
        return [repr(value)]
    if isinstance(value, type):
        return [f"{value.__module__}.{value.__qualname__}"]
    if isinstance(value, Set):
        return sorted(line for one in value for line in _value(one, above))
    if isinstance(value, Mapping):
        return [line for item in value.items() for one in item for line in _value(one, above)]
    if isinstance(value, Sequence):
        return [line for one in value for line in _value(one, above)]
    if callable(value) and value not in above:
        return _lines(value, above) or [f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"]
    return [type(value).__qualname__]


def _text(node: Any) -> str:
    """A piece of source. Not by `ast`: what that writes differs between releases of Python."""
    if isinstance(node, ast.AST):
        fields = [(name, held) for name, held in ast.iter_fields(node) if name not in _NOT_CODE and held not in (None, [])]
        return f"{type(node).__name__}({', '.join(f'{name}={_text(held)}' for name, held in fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    return repr(node)


class _Module:
    """The source of a module: its functions by first line, its definitions by name, its imports by the name they have here."""

    def __init__(self, module: ModuleType) -> None:
        self.file = Path(inspect.getfile(module))
        self.functions: dict[int, list[ast.AST]] = {}
        self.defined: dict[str, list[ast.stmt]] = {}
        # Of what is defined: its text and the names in it. Most functions of a folder use the same.
        self._told: dict[str, tuple[str, list[tuple[str, str]]]] = {}
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

    def told(self, name: str) -> tuple[str, list[tuple[str, str]]]:
        """The text of what is defined under a name, and the names in it."""
        if name not in self._told:
            statements = self.defined[name]
            self._told[name] = "\n".join(map(_text, statements)), list(dict.fromkeys(_names(statements)))
        return self._told[name]


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


def _follow(module: _Module, names: Iterable[tuple[str, str]], used: dict[tuple[Path, str], str]) -> None:
    """Adds the definitions that have these names in a module to `used`, and the definitions that those name."""
    for named, attribute in names:
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
            used[found.file, name], inner = found.told(name)
            _follow(found, inner, used)


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
