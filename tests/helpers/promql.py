"""What an expression of Prometheus asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser


def selectors(part: Any, used: frozenset[str] = frozenset()) -> Iterator[tuple[str, dict[str, str], frozenset[str]]]:
    """Each selector in an expression: its metric, the values it asks for, and every label that the expression uses of it."""
    match part:
        case promql_parser.VectorSelector():
            matchers = part.matchers.matchers
            wanted = {one.name: one.value for one in matchers if one.op == promql_parser.MatchOp.Equal}
            yield str(part.name), wanted, used | {one.name for one in matchers}
        case promql_parser.MatrixSelector():
            yield from selectors(part.vector_selector, used)
        case promql_parser.AggregateExpr():
            yield from selectors(part.expr, used | set(part.modifier.labels if part.modifier else ()))
        case promql_parser.Call():
            for one in part.args:
                yield from selectors(one, used)
        case promql_parser.BinaryExpr():
            yield from selectors(part.lhs, used)
            yield from selectors(part.rhs, used)
        case promql_parser.ParenExpr():
            yield from selectors(part.expr, used)
        case promql_parser.NumberLiteral():
            pass
        case _:
            raise AssertionError(f"an expression holds what this test cannot read: {part}")
