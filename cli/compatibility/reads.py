"""Which fields of messages a function reads, found in its source without running it.

A message is followed through names, fields, loops, `match` and `isinstance`, and into functions of the same package and of the
read models that the kit has for several sectors. Where it goes to anything else (another library, a state, an answer), it
counts as read whole: the result may name too much, never too little. The module is long because each kind of expression has a
line of its own.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType, MethodType, ModuleType, UnionType
from typing import Any, cast, get_args

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from citybrain.mesh import closed_roads
from citybrain.mesh.events import type_name
from citybrain.mesh.storage.code_digests import node_of

WHOLE = "*"
_NONE: Any = object()
# What is a part of a service though it stands in the kit.
_OF_SECTORS = (closed_roads.__name__,)
# How often a loop is gone through: more than names hand on to each other in one.
_ROUNDS = 4
_KEEP = (list, tuple, sorted, set, frozenset, reversed, iter, enumerate, zip, filter)
_LOOK = (isinstance, issubclass, type, type_name, id, callable, len, any, all, bool)
_ONE_OF = (next, min, max)


@dataclass(frozen=True, slots=True)
class Ref:
    """A message inside an event: the event's type, the fields that lead there, and its own type."""

    root: str
    path: tuple[str, ...]
    kind: Descriptor


@dataclass(frozen=True, slots=True)
class Saga:
    """The state of a saga, as functions of a workflow get it: what it began with, what it heard, and each step's answer."""

    began: frozenset[Ref]
    answers: Mapping[str, frozenset[Ref]] = field(hash=False)
    heard: frozenset[Ref] = frozenset()

    @property
    def all(self) -> frozenset[Ref]:
        """Every message in it."""
        return self.began.union(self.heard, *self.answers.values())


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression may be: a message, something that holds some, an event as heard or as stored, a saga, an object."""

    one: frozenset[Ref] = frozenset()
    many: frozenset[Ref] = frozenset()
    heard: frozenset[Ref] = frozenset()
    stored: frozenset[Ref] = frozenset()
    saga: Saga | None = None
    known: Any = _NONE

    @property
    def refs(self) -> frozenset[Ref]:
        """Every message that it is or holds."""
        return self.one | self.many | self.heard | self.stored | (self.saga.all if self.saga is not None else frozenset())

    def or_(self, other: Value) -> Value:
        """What is this or the other."""
        same = self.known is other.known or (isinstance(self.known, str) and self.known == other.known)
        return Value(
            self.one | other.one,
            self.many | other.many,
            self.heard | other.heard,
            self.stored | other.stored,
            self.saga or other.saga,
            self.known if same else _NONE,
        )

    def inside(self) -> Value:
        """What a loop over it gives."""
        return Value(one=self.many, many=self.many)


NOTHING = Value()
Told = Callable[[Sequence[Value], Mapping[str, Value]], Value]


@dataclass(slots=True)
class _Scope:
    """Names at one place of a function; expressions whose type is known there more narrowly; where other names are found."""

    outer: Callable[[str], Value]
    names: dict[str, Value] = field(default_factory=dict)
    narrow: dict[str, Value] = field(default_factory=dict)
    given: list[Value] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)

    def find(self, name: str) -> Value:
        return self.names[name] if name in self.names else self.outer(name)

    def bind(self, name: str, value: Value) -> None:
        self.names[name] = value
        self.narrow = {text: v for text, v in self.narrow.items() if text != name and not text.startswith(f"{name}.")}

    def copy(self) -> _Scope:
        return replace(self, names=dict(self.names), narrow=dict(self.narrow))

    def become(self, others: Sequence[_Scope]) -> None:
        """Goes on as any of these may have ended."""
        names = {name for one in others for name in one.names}
        self.names = {name: _any(one.find(name) for one in others) for name in names}
        texts = set.intersection(*(set(one.narrow) for one in others)) if others else set()
        self.narrow = {text: _any(one.narrow[text] for one in others) for text in texts}


@dataclass(frozen=True, slots=True)
class _Code:
    """A function that can be followed: its source, where its free names are found, and what it is bound to."""

    node: ast.AST
    outer: Callable[[str], Value]
    first: Value | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a class: `self` in its methods."""

    kind: type


class Reader:
    """Follows functions of one package. `reads`: for each type of event the paths that were read, so far."""

    def __init__(self, package: str, told: Mapping[Any, Told] | None = None) -> None:
        """`told`: functions and classes that are not followed, with what they give for their arguments."""
        self.reads: dict[str, set[str]] = {}
        self._package = package
        self._told = told or {}
        self._open: list[ast.AST] = []

    def follow(self, function: Callable[..., Any], *given: Value) -> None:
        """Follows a function that somebody else calls with these arguments."""
        self._escape(self._call(Value(known=function), given, {}))

    # -- what is read -------------------------------------------------------------------------------------------------

    def _read(self, ref: Ref, *names: str) -> None:
        self.reads.setdefault(ref.root, set()).add(".".join((*ref.path, *names)))

    def _escape(self, *values: Value) -> None:
        """These go where nobody follows them: all of them counts as read."""
        for ref in (ref for value in values for ref in value.refs):
            if not _is_foreign(ref.kind):
                self._read(ref, WHOLE)

    def _field(self, value: Value, name: str) -> Value:
        """A field of a message; of several messages, of those that have it."""
        having = [ref for ref in value.one if name in ref.kind.fields_by_name]
        if value.one and not having and not all(_is_foreign(ref.kind) for ref in value.one):
            self._escape(Value(value.one))
        return _any(self._of(ref, ref.kind.fields_by_name[name]) for ref in having)

    def _of(self, ref: Ref, one: FieldDescriptor) -> Value:
        if _is_foreign(ref.kind):
            return NOTHING
        self._read(ref, one.name)
        kind = one.message_type
        if kind is None:
            return NOTHING
        inner = frozenset({Ref(ref.root, (*ref.path, one.name), kind)})
        if kind.GetOptions().map_entry:
            self._escape(Value(inner))
            return NOTHING
        return Value(many=inner) if one.is_repeated else Value(inner)

    # -- expressions --------------------------------------------------------------------------------------------------

    def _of_expression(self, node: ast.AST | None, scope: _Scope) -> Value:
        if node is None:
            return NOTHING
        if scope.narrow and isinstance(node, ast.Name | ast.Attribute) and (text := ast.unparse(node)) in scope.narrow:
            return scope.narrow[text]
        match node:
            case ast.Constant():
                return Value(known=node.value)
            case ast.Name():
                return scope.find(node.id)
            case ast.Attribute():
                return self._attribute(self._of_expression(node.value, scope), node.attr)
            case ast.Call():
                return self._of_call(node, scope)
            case ast.NamedExpr():
                # The name outlives the condition that it stands in.
                value = self._of_expression(node.value, scope)
                self._escape(value)
                self._bind(node.target, value, scope)
                return value
            case ast.Lambda():
                code = _Code(node, scope.find)
                self._of_body(code, (), {})
                return Value(known=code)
            case ast.IfExp():
                self._of_expression(node.test, scope)
                yes, no = self._under(node.test, scope, True), self._under(node.test, scope, False)
                return self._of_expression(node.body, yes).or_(self._of_expression(node.orelse, no))
            case ast.BoolOp():
                return self._of_choice(node, scope)
            case ast.Tuple() | ast.List() | ast.Set():
                values = [self._of_expression(one, scope) for one in node.elts]
                known = tuple(value.known for value in values)
                held = self._holding(values)
                return replace(held, known=known) if _NONE not in known and isinstance(node, ast.Tuple) else held
            case ast.Dict():
                return self._holding([self._of_expression(one, scope) for one in (*node.keys, *node.values)])
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                inner = scope.copy()
                for loop in node.generators:
                    self._of_round(loop.target, loop.iter, inner, inner)
                    for test in loop.ifs:
                        self._of_expression(test, inner)
                        inner = self._under(test, inner, True)
                made = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
                return self._holding([self._of_expression(one, inner) for one in made])
            case ast.Starred() | ast.Await():
                return self._of_expression(node.value, scope)
            case ast.Yield() | ast.YieldFrom():
                value = self._of_expression(node.value, scope)
                scope.given.append(self._holding([value]) if isinstance(node, ast.Yield) else value)
                return NOTHING
            case ast.Subscript():
                held = self._of_expression(node.value, scope)
                self._of_expression(node.slice, scope)
                self._escape(Value(held.one - held.many, heard=held.heard, saga=held.saga))
                return Value(many=held.many) if isinstance(node.slice, ast.Slice) else held.inside()
            case ast.Compare():
                values = [self._of_expression(one, scope) for one in (node.left, *node.comparators)]
                if not all(isinstance(one, ast.Is | ast.IsNot) for one in node.ops):
                    self._escape(*values)
                return NOTHING
            case ast.BinOp(op=ast.BitOr()):
                left, right = self._of_expression(node.left, scope), self._of_expression(node.right, scope)
                if isinstance(left.known, type | UnionType) and isinstance(right.known, type | UnionType):
                    return Value(known=left.known | right.known)
                return self._holding([left, right])
            case ast.UnaryOp(op=ast.Not()):
                self._of_expression(node.operand, scope)
                return NOTHING
        self._escape(*(self._of_expression(one, scope) for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)))
        return NOTHING

    def _holding(self, values: Iterable[Value]) -> Value:
        """A list, tuple or dict of these."""
        values = list(values)
        self._escape(*(replace(value, one=frozenset(), many=frozenset()) for value in values))
        return Value(many=frozenset().union(*(value.one | value.many for value in values)))

    def _attribute(self, value: Value, name: str) -> Value:
        if value.heard:
            return Value(value.heard) if name == "data" else Value(stored=value.heard) if name == "stored" else NOTHING
        if value.stored:
            if name in ("data", "sealed"):
                self._escape(value)
            return NOTHING
        if value.saga is not None:
            if name == "input":
                return Value(value.saga.began)
            if name == "heard":
                return Value(many=value.saga.heard)
            if name == "answers":
                self._escape(value)
            return NOTHING
        if value.one:
            return self._field(value, name)
        return self._known(value.known, name)

    def _known(self, owner: Any, name: str) -> Value:
        """An attribute of a module, a class or an object, without running any code of it."""
        if isinstance(owner, ModuleType | type):
            found = getattr(owner, name, _NONE)
            return Value(known=found)
        if not isinstance(owner, Instance):
            return NOTHING
        found = inspect.getattr_static(owner.kind, name, _NONE)
        if isinstance(found, property) and found.fget is not None:
            return self._call(Value(known=found.fget), (Value(known=owner),), {})
        if isinstance(found, FunctionType):
            code = None if found in self._told else self._code(found)
            return Value(known=replace(code, first=Value(known=owner)) if code is not None else found)
        if found is _NONE or isinstance(found, str | int | float | bool | None | staticmethod | classmethod):
            return NOTHING
        return Value(known=Instance(type(found)))

    def _of_choice(self, node: ast.BoolOp, scope: _Scope) -> Value:
        found, under = NOTHING, scope
        for one in node.values:
            found = found.or_(self._of_expression(one, under))
            under = self._under(one, under, isinstance(node.op, ast.And))
        return found

    # -- calls --------------------------------------------------------------------------------------------------------

    def _of_call(self, node: ast.Call, scope: _Scope) -> Value:
        given = [self._of_expression(one, scope) for one in node.args]
        named = {one.arg: self._of_expression(one.value, scope) for one in node.keywords if one.arg is not None}
        spread = [one for one in node.args if isinstance(one, ast.Starred)]
        self._escape(*(self._of_expression(one, scope) for one in spread))
        self._escape(*(self._of_expression(one.value, scope) for one in node.keywords if one.arg is None))
        if isinstance(node.func, ast.Attribute):
            owner = self._of_expression(node.func.value, scope)
            if owner.refs:
                return self._method(owner, node.func.attr, given, named)
        return self._call(self._of_expression(node.func, scope), given, named)

    def _method(self, owner: Value, name: str, given: Sequence[Value], named: Mapping[str, Value]) -> Value:
        """A method of a message, of something that holds messages, or of the state of a saga."""
        what = given[0].known if given else _NONE
        if owner.saga is not None and name in ("answer", "answered", "child", "key"):
            if name not in ("answer", "child"):
                return NOTHING
            steps = [what] if isinstance(what, str) and what in owner.saga.answers else list(owner.saga.answers)
            return Value(frozenset().union(*(owner.saga.answers[step] for step in steps)))
        if owner.one and name == "HasField" and isinstance(what, str):
            self._field(owner, what)
            return NOTHING
        self._escape(*given, *named.values(), replace(owner, many=frozenset(), one=owner.one - owner.many))
        return owner.inside()

    def _call(self, function: Value, given: Sequence[Value], named: Mapping[str, Value]) -> Value:
        known = function.known
        if _hashable(known) and known in self._told:
            return self._told[known](given, named)
        if _among(known, (getattr, hasattr)) and len(given) > 1 and isinstance(given[1].known, str):
            return self._attribute(given[0], given[1].known).or_(given[2] if len(given) > 2 else NOTHING)
        if known is cast and len(given) == 2:
            return given[1]
        if _among(known, _LOOK):
            return NOTHING
        if known is map or _among(known, (*_KEEP, *_ONE_OF)):
            return self._of_builtin(known, given, named)
        code = known if isinstance(known, _Code) else self._code(known)
        if code is None or code.node in self._open:
            self._escape(function, *given, *named.values())
            return NOTHING
        return self._of_body(code, given, named)

    def _of_builtin(self, known: Any, given: Sequence[Value], named: Mapping[str, Value]) -> Value:
        with_function = known in (map, filter)
        held = _any(given[1:] if with_function else given)
        made = NOTHING
        for function in (*(given[:1] if with_function else ()), *(one for name, one in named.items() if name == "key")):
            made = self._call(function, [held.inside()], {})
        if known is map:
            return self._holding([made])
        self._escape(Value(held.one - held.many, heard=held.heard, saga=held.saga) if not _among(known, _ONE_OF) else NOTHING)
        return (
            held.inside().or_(Value(held.one)).or_(named.get("default", NOTHING)) if known in _ONE_OF else Value(many=held.many)
        )

    def _code(self, function: Any) -> _Code | None:
        """The source of a function of the package; None: it is none, or has no source."""
        if isinstance(function, MethodType):
            code = self._code(function.__func__)
            return code and replace(code, first=Value(known=function.__self__))
        if not isinstance(function, FunctionType):
            return None
        if function.__module__ not in _OF_SECTORS and not f"{function.__module__}.".startswith(f"{self._package}."):
            return None
        # What stands around a function may read too.
        node = None if hasattr(function, "__wrapped__") else node_of(function)
        return None if node is None else _Code(node, functools.partial(_global, function))

    def _of_body(self, code: _Code, given: Sequence[Value], named: Mapping[str, Value]) -> Value:
        node = code.node
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        scope = _Scope(code.outer)
        values = [*([code.first] if code.first is not None else []), *given]
        places = [*node.args.posonlyargs, *node.args.args]
        scope.names = {one.arg: NOTHING for one in (*places, *node.args.kwonlyargs)}
        scope.names |= {place.arg: value for place, value in zip(places, values, strict=False)}
        self._escape(*(value for name, value in named.items() if name not in scope.names))
        scope.names |= {name: value for name, value in named.items() if name in scope.names}
        if node.args.vararg is not None:
            scope.names[node.args.vararg.arg] = self._holding(values[len(places) :])
        else:
            self._escape(*values[len(places) :])
        if node.args.kwarg is not None:
            scope.names[node.args.kwarg.arg] = NOTHING
        self._open.append(node)
        try:
            if isinstance(node, ast.Lambda):
                return self._of_expression(node.body, scope)
            self._run(node.body, scope)
            return _any(scope.given)
        finally:
            self._open.pop()

    # -- statements ---------------------------------------------------------------------------------------------------

    def _run(self, body: Iterable[ast.stmt], scope: _Scope) -> bool:
        """Whether what stands behind these statements can be reached."""
        return all(self._of_statement(one, scope) for one in body)

    def _of_statement(self, node: ast.stmt, scope: _Scope) -> bool:
        match node:
            case ast.Return():
                scope.given.append(self._of_expression(node.value, scope))
                return False
            case ast.Raise():
                self._escape(self._of_expression(node.exc, scope), self._of_expression(node.cause, scope))
                return False
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        values = [self._of_expression(one, scope) for one in node.value.elts]
                        for one, value in zip(target.elts, values, strict=False):
                            self._bind(one, value, scope)
                    else:
                        self._bind(target, self._of_expression(node.value, scope), scope)
            case ast.AugAssign():
                value = self._of_expression(node.target, scope).or_(self._of_expression(node.value, scope))
                self._bind(node.target, self._holding([value]), scope)
            case ast.If():
                self._of_expression(node.test, scope)
                return self._branches(
                    [(node.body, self._under(node.test, scope, True)), (node.orelse, self._under(node.test, scope, False))],
                    scope,
                )
            case ast.Assert():
                self._of_expression(node.test, scope)
                scope.become([self._under(node.test, scope, True)])
            case ast.For() | ast.AsyncFor() | ast.While():
                self._of_loop(node, scope)
                return self._run(node.orelse, scope)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    value = self._of_expression(item.context_expr, scope)
                    self._escape(value)
                    if item.optional_vars is not None:
                        self._bind(item.optional_vars, value, scope)
                return self._run(node.body, scope)
            case ast.Try() | ast.TryStar():
                return self._of_try(node, scope)
            case ast.Match():
                return self._of_match(node, scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                code = _Code(node, scope.find)
                scope.bind(node.name, Value(known=code))
                self._of_body(code, (), {})
            case ast.ClassDef():
                for inner_node in ast.walk(node):
                    if isinstance(inner_node, ast.Name):
                        self._escape(scope.find(inner_node.id))
            case ast.Expr():
                self._of_expression(node.value, scope)
            case ast.Global() | ast.Nonlocal():
                scope.shared.update(node.names)
            case ast.Delete():
                for gone in node.targets:
                    self._of_expression(gone, scope)
        # What follows a `break` or a `continue` is followed too: that names too much, never too little.
        return True

    def _of_loop(self, node: ast.For | ast.AsyncFor | ast.While, scope: _Scope) -> None:
        """Goes round until nothing new comes; what still changes then is no longer followed."""
        for _ in range(_ROUNDS):
            before = {name: value.refs for name, value in scope.names.items()}
            inner = scope.copy()
            if isinstance(node, ast.While):
                self._of_expression(node.test, scope)
            else:
                self._of_round(node.target, node.iter, scope, inner)
            self._run(node.body, inner)
            scope.become([scope.copy(), inner])
            if before == {name: value.refs for name, value in scope.names.items()}:
                return
        self._escape(*(value for name, value in scope.names.items() if value.refs != before.get(name)))

    def _of_round(self, target: ast.expr, over: ast.expr, scope: _Scope, inner: _Scope) -> None:
        """Binds the names of a loop for one round. A message cannot be the key of a dict, so the key of an item is none."""
        inside = self._of_expression(over, scope).inside()
        match target, over:
            case ast.Tuple(elts=[ast.Name() as key, one]), ast.Call(func=ast.Attribute(value=holder, attr="items"), args=[]):
                if self._of_expression(holder, scope).many:
                    self._bind(key, NOTHING, inner)
                    self._bind(one, inside, inner)
                    return
        self._bind(target, inside, inner)

    def _branches(self, ways: Sequence[tuple[Sequence[ast.stmt], _Scope]], scope: _Scope) -> bool:
        """Ways that may be gone; goes on as any of those ended that does not leave the function."""
        ended = [inner for body, inner in ways if self._run(body, inner)]
        if ended:
            scope.become(ended)
        return bool(ended)

    def _of_try(self, node: ast.Try | ast.TryStar, scope: _Scope) -> bool:
        any_moment, inner = [scope.copy()], scope.copy()
        through = True
        for one in node.body:
            through = through and self._of_statement(one, inner)
            any_moment.append(inner.copy())
        ended = [inner] if through and self._run(node.orelse, inner) else []
        for handler in node.handlers:
            caught = scope.copy()
            caught.become(any_moment)
            if handler.name:
                caught.bind(handler.name, NOTHING)
            if self._run(handler.body, caught):
                ended.append(caught)
        scope.become(ended or any_moment)
        return self._run(node.finalbody, scope) and bool(ended)

    def _of_match(self, node: ast.Match, scope: _Scope) -> bool:
        left = self._of_expression(node.subject, scope)
        text, ways = ast.unparse(node.subject), []
        for case in node.cases:
            inner = scope.copy()
            fits = self._pattern(case.pattern, left, inner)
            inner.narrow[text] = fits
            if case.guard is not None:
                self._of_expression(case.guard, inner)
                inner = self._under(case.guard, inner, True)
            elif _is_plain(case.pattern):
                left = replace(left, one=left.one - fits.one)
            ways.append((case.body, inner))
        rest = scope.copy()
        rest.narrow[text] = left
        return self._branches([*ways, ((), rest)], scope)

    def _pattern(self, pattern: ast.pattern, value: Value, scope: _Scope) -> Value:
        """What a value is if it fits a pattern; binds the names of the pattern."""
        match pattern:
            case ast.MatchClass():
                fits = _narrowed(value, _classes(self._of_expression(pattern.cls, scope).known), True)
                if pattern.patterns:
                    self._escape(fits)
                for name, inner in zip(pattern.kwd_attrs, pattern.kwd_patterns, strict=True):
                    self._pattern(inner, self._attribute(fits, name), scope)
                return fits
            case ast.MatchAs():
                fits = value if pattern.pattern is None else self._pattern(pattern.pattern, value, scope)
                if pattern.name is not None:
                    scope.bind(pattern.name, fits)
                return fits
            case ast.MatchOr():
                return _any([self._pattern(one, value, scope) for one in pattern.patterns])
            case ast.MatchValue():
                self._escape(value)
                return value
        for one in ast.walk(pattern):
            if isinstance(one, ast.MatchClass) and one.kwd_attrs:
                self._escape(value)
            if isinstance(one, ast.MatchAs | ast.MatchStar) and one.name is not None:
                scope.bind(one.name, value.or_(value.inside()))
        return value

    def _bind(self, target: ast.AST, value: Value, scope: _Scope) -> None:
        match target:
            case ast.Name():
                if target.id in scope.shared:
                    self._escape(value)
                scope.bind(target.id, value)
            case ast.Tuple() | ast.List():
                for one in target.elts:
                    self._bind(one, value.inside(), scope)
            case ast.Starred():
                self._bind(target.value, Value(many=value.one | value.many), scope)
            case _:
                # Kept in an object, or under a key of one.
                self._escape(value)
                self._of_expression(target, scope)

    # -- what a condition says ----------------------------------------------------------------------------------------

    def _under(self, test: ast.expr, scope: _Scope, truth: bool) -> _Scope:
        """The scope where a condition is true, or is not."""
        inner = scope.copy()
        for expression, classes, positive in self._facts(test, scope, truth):
            inner.narrow[ast.unparse(expression)] = _narrowed(self._of_expression(expression, inner), classes, positive)
        return inner

    def _facts(self, test: ast.expr, scope: _Scope, truth: bool) -> Iterator[tuple[ast.expr, frozenset[str], bool]]:
        match test:
            case ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name() | ast.Attribute() as what, kinds]):
                classes = _classes(self._of_expression(kinds, scope).known)
                if classes:
                    yield what, classes, truth
            case ast.UnaryOp(op=ast.Not()):
                yield from self._facts(test.operand, scope, not truth)
            case ast.BoolOp() if isinstance(test.op, ast.And) == truth:
                for one in test.values:
                    yield from self._facts(one, scope, truth)


def paths(read: Iterable[str]) -> list[str]:
    """Paths in order, without those that another one says already."""
    found = set(read)
    if WHOLE in found:
        return [WHOLE]
    whole = {path.removesuffix(f".{WHOLE}") for path in found if path.endswith(f".{WHOLE}")}
    kept = {path for path in found if not any(path != f"{one}.{WHOLE}" and f"{path}.".startswith(f"{one}.") for one in whole)}
    return sorted(path for path in kept if not any(one.startswith(f"{path}.") for one in kept))


def _any(values: Iterable[Value]) -> Value:
    return functools.reduce(Value.or_, list(values) or [NOTHING])


def _among(known: Any, some: Iterable[Any]) -> bool:
    return any(known is one for one in some)


def _hashable(known: Any) -> bool:
    return isinstance(known, FunctionType | MethodType | type)


def _is_foreign(kind: Descriptor) -> bool:
    """A message of protobuf itself (a timestamp, an Any): what is in it never changes."""
    return kind.full_name.startswith("google.protobuf.")


def _classes(known: Any) -> frozenset[str]:
    """The types of messages that a class, a tuple of classes or a union names. Empty: something else is among them."""
    kinds = get_args(known) if isinstance(known, UnionType) else known if isinstance(known, tuple) else (known,)
    names = [getattr(getattr(kind, "DESCRIPTOR", None), "full_name", "") for kind in kinds]
    return frozenset(names) if all(names) else frozenset()


def _narrowed(value: Value, classes: frozenset[str], positive: bool) -> Value:
    if not classes:
        return value
    return replace(value, one=frozenset(ref for ref in value.one if (ref.kind.full_name in classes) == positive))


def _is_plain(pattern: ast.pattern) -> bool:
    """Whether it asks for the type alone."""
    if isinstance(pattern, ast.MatchOr):
        return all(map(_is_plain, pattern.patterns))
    return isinstance(pattern, ast.MatchClass) and not pattern.patterns and not pattern.kwd_attrs


def _global(function: FunctionType, name: str) -> Value:
    """A name that a function takes from around it."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    if name in cells:
        try:
            return Value(known=cells[name].cell_contents)
        except ValueError:
            return NOTHING
    return Value(known=function.__globals__.get(name, getattr(builtins, name, _NONE)))
