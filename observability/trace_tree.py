"""The spans of an incident as trees: for people, as JSON, and as edges that tests compare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.markup import escape
from rich.tree import Tree

from citybrain.observability.spans import Span
from citybrain.observability.terminal import escaped

# The beginning of every method of ours, which is left out for people.
_PACKAGE = re.compile(r"/?citybrain\.[a-z0-9_.]*\.v[0-9]+\.")
# So many siblings that look alike, or more, are shown as one.
_ALIKE = 4


class Edge(NamedTuple):
    """One span that led to another: `service` and `name` of both."""

    parent_service: str
    parent_name: str
    child_service: str
    child_name: str


@dataclass(slots=True)
class Node:
    """A span and its children, in the order of their start."""

    span: Span
    children: list[Node] = field(default_factory=list)
    # Its parent is not among the kept spans: it is lost, has not arrived yet, or is a caller's own.
    parent_missing: bool = False


@dataclass(slots=True)
class Group:
    """Siblings that look alike; `node` is the first of them."""

    node: Node
    count: int
    total_ms: float
    longest_ms: float
    children: list[Group]


def build(spans: Iterable[Span]) -> list[Node]:
    """The trees of the spans, in the order of their start. A span without its parent is a root, with `parent_missing`."""
    ordered = sorted(spans, key=lambda span: (span.start_ns, span.end_ns, span.span_id))
    nodes = {(span.trace_id, span.span_id): Node(span) for span in ordered}
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get((node.span.trace_id, node.span.parent_span_id))
        if parent is None:
            node.parent_missing = bool(node.span.parent_span_id)
            roots.append(node)
        else:
            parent.children.append(node)
    return roots


def edges(spans: Iterable[Span]) -> set[Edge]:
    """Every (parent → child) among the spans."""
    known = {(span.trace_id, span.span_id): span for span in spans}
    found = set()
    for span in known.values():
        parent = known.get((span.trace_id, span.parent_span_id))
        if parent is not None:
            found.add(Edge(parent.service, parent.name, span.service, span.name))
    return found


def link_edges(spans: Iterable[Span]) -> set[Edge]:
    """Every (linked span → span that names it) among the spans."""
    known = {(span.trace_id, span.span_id): span for span in spans}
    found = set()
    for span in known.values():
        for link in span.links:
            other = known.get((link.trace_id, link.span_id))
            if other is not None:
                found.add(Edge(other.service, other.name, span.service, span.name))
    return found


def as_json(roots: Sequence[Node]) -> list[dict[str, Any]]:
    """The trees as plain data, with every span once; alike siblings are not put together."""
    first = min((root.span.start_ns for root in roots), default=0)
    return [_node_json(root, first) for root in roots]


def collapse(siblings: Sequence[Node]) -> list[Group]:
    """Groups of siblings that look alike (same service, name, status and children), each at the place of its first one."""
    alike: dict[object, list[Node]] = {}
    for node in siblings:
        alike.setdefault(_look(node), []).append(node)
    groups: list[Group] = []
    for node in siblings:
        same = alike[_look(node)]
        if len(same) < _ALIKE:
            groups.append(_group([node]))
        elif same[0] is node:
            groups.append(_group(same))
    return groups


def render(roots: Sequence[Node], title: str) -> Tree:
    """The trees for a terminal (print with rich): service, name, duration and status of each span, and when roots began."""
    first = min((root.span.start_ns for root in roots), default=0)
    last = max((root.span.end_ns for root in _all(roots)), default=0)
    names = {(node.span.trace_id, node.span.span_id): node.span for node in _all(roots)}
    total = len({node.span.trace_id for node in _all(roots)})
    traces = f"{total} trace{'s' if total != 1 else ''}"
    spans = f"{len(names)} span{'s' if len(names) != 1 else ''}"
    since = f" · since {_moment(first):%Y-%m-%d %H:%M:%S %z}" if first else ""
    tree = Tree(f"[bold]{_text(title)}[/] · {traces} · {spans} · {_ms((last - first) / 1e6)}{since}")
    for group in collapse(roots):
        _render(tree, group, first, names, root=True)
    return tree


def _group(same: Sequence[Node]) -> Group:
    durations = [node.span.duration_ms for node in same]
    return Group(same[0], len(same), sum(durations), max(durations), collapse(same[0].children))


def _look(node: Node) -> object:
    """Two spans look alike if this is equal. The number of alike children does not matter."""
    below = frozenset(_look(child) for child in node.children)
    return (node.span.service, node.span.name, node.span.status, node.parent_missing, below)


def _render(tree: Tree, group: Group, first: int, names: dict[tuple[str, str], Span], root: bool = False) -> None:
    span = group.node.span
    parts = [f"[cyan]{_text(span.service)}[/] {_text(_short(span.name))}", f"[dim]+{_ms((span.start_ns - first) / 1e6)}[/]"]
    if root:
        moment = _moment(span.start_ns)
        parts.insert(0, f"[dim]{moment:%H:%M:%S}.{moment.microsecond // 1000:03}[/]")
    if group.count > 1:
        parts.append(f"[bold]×{group.count}[/] [green]{_ms(group.total_ms)}[/] in all, longest {_ms(group.longest_ms)}")
    else:
        parts.append(f"[green]{_ms(span.duration_ms)}[/]")
    if span.status == "error":
        parts.append(f"[red]{_text('error: ' + span.status_message if span.status_message else 'error')}[/]")
    if group.node.parent_missing:
        parts.append("[yellow]parent not recorded here[/]")
    branch = tree.add("  ".join(parts))
    for link in span.links:
        other = names.get((link.trace_id, link.span_id))
        what = f"{other.service} {_short(other.name)}" if other else f"trace {link.trace_id}"
        branch.add(f"[dim]because of {_text(what)}[/]")
    for child in group.children:
        _render(branch, child, first, names)


def _node_json(node: Node, first: int) -> dict[str, Any]:
    span = node.span
    return {
        "service": span.service,
        "name": span.name,
        "kind": span.kind,
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_span_id,
        "parentMissing": node.parent_missing,
        "startedAfterMs": round((span.start_ns - first) / 1e6, 3),
        "durationMs": round(span.duration_ms, 3),
        "status": span.status,
        "statusMessage": span.status_message,
        "attributes": dict(span.attributes),
        "events": [{"name": event.name, "attributes": dict(event.attributes)} for event in span.events],
        "links": [{"traceId": link.trace_id, "spanId": link.span_id} for link in span.links],
        "children": [_node_json(child, first) for child in node.children],
    }


def _all(roots: Sequence[Node]) -> Iterable[Node]:
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.children)


def _text(text: str) -> str:
    # Escapes line breaks too: text after one would look like another span.
    return escape(escaped(text))


def _short(name: str) -> str:
    return _PACKAGE.sub("", name)


def _ms(milliseconds: float) -> str:
    # Without a blank, so that a number stays with its unit when a line is broken.
    return f"{milliseconds / 1000:.2f}s" if milliseconds >= 1000 else f"{milliseconds:.1f}ms"


def _moment(nanoseconds: int) -> datetime:
    """A moment of the wall clock, in the reader's time zone."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).astimezone()
