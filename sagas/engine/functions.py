"""What the code of a definition's functions says: what they take, whether they use the key, which steps they name."""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from types import CodeType
from typing import Any

ASKS = ("answer", "answered", "decision", "child", "key")
"""The methods of the state that take the name of a step or a wait."""
_METHOD = ("LOAD_METHOD", "LOAD_ATTR")


def takes(function: Callable[..., Any], many: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(many))
    except (TypeError, ValueError):
        return False
    return True


def uses_key(request: Callable[..., Any]) -> bool:
    """Whether a function reads its second argument, as its code says. False for what is no plain function."""
    if not inspect.isfunction(request) or request.__code__.co_argcount < 2:
        return False
    code = request.__code__
    name = code.co_varnames[1]
    kinds = ("FAST", "DEREF", "CLOSURE")
    return any(
        "LOAD" in one.opname and any(kind in one.opname for kind in kinds) and (one.argval == name or name in _both(one.argval))
        for one in dis.get_instructions(code)
    )


def _both(names: Any) -> tuple[Any, ...]:
    # Since Python 3.13 one instruction may load two.
    return names if isinstance(names, tuple) else ()


def named(function: Callable[..., Any], asks: Collection[str] = ASKS, seen: set[Any] | None = None) -> Iterator[str]:
    """The names that a function, and those of its module that it uses, give to some methods of the state: `asks`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    seen = set() if seen is None else seen
    if code is None or code in seen:
        return
    seen.add(code)
    codes = [code]
    for one in codes:
        codes += [inner for inner in one.co_consts if inspect.iscode(inner)]
        yield from (name for method, name in _calls(one) if method in asks)
        for name in one.co_names:
            used = getattr(function, "__globals__", {}).get(name)
            if inspect.isfunction(used) and used.__module__ == function.__module__:
                yield from named(used, asks, seen)


@functools.lru_cache(maxsize=4096)
def _calls(code: CodeType) -> tuple[tuple[str, str], ...]:
    """The methods that a piece of code calls with one constant, and that constant. Kept: many definitions use one function."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("PRECALL", "CACHE")]
    return tuple(
        (method.argval, str(names.argval))
        for method, names, calls in zip(steps, steps[1:], steps[2:], strict=False)
        if method.opname in _METHOD and names.opname == "LOAD_CONST" and calls.opname == "CALL"
    )
