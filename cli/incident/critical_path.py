"""The critical path of a trace: which work, one after the other, the time between its begin and its end went into. Pure.

Walked from the end: of all the work below a span, what ended last is what came next was waiting for; before its begin what had
ended last by then; and so on, down to the leaves. What lies between is the span's own time, or, when it has ended already, a
pause: an event on its way, a wait, a ride of an ambulance.

The end is that of the last step of a saga, where there is one: after it nobody waits for what still comes in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from citybrain.observability.spans import Span
from citybrain.observability.trace_tree import Node

_STEP = "step "


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the path. `pause`: nothing worked in it, and what came next is `span`'s doing."""

    span: Span
    begin_ns: int
    end_ns: int
    pause: bool = False

    @property
    def ms(self) -> float:
        """How long it took."""
        return (self.end_ns - self.begin_ns) / 1e6


def critical_path(root: Node) -> list[Part]:
    """The path through one tree, in the order of time. Its parts touch each other: together they take as long as the whole."""
    tree = _Tree(root)
    return list(tree.walk())[::-1]


def longest(roots: Sequence[Node]) -> list[Part]:
    """The path of the tree that took longest; of an incident with several traces, the one that people wait for."""
    paths = [critical_path(root) for root in roots]
    return max(paths, key=lambda path: path[-1].end_ns - path[0].begin_ns if path else 0, default=[])


class _Tree:
    """The spans below a root, by their ends. A long story is a deep tree, so nothing here calls itself."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._above: dict[int, Node] = {}
        nodes, waiting = [], [root]
        while waiting:
            node = waiting.pop()
            nodes.append(node)
            for child in node.children:
                self._above[id(child)] = node
                waiting.append(child)
        self._by_end = sorted(nodes, key=lambda node: (node.span.end_ns, node.span.start_ns))
        self._ends = [node.span.end_ns for node in self._by_end]
        steps = [node.span.end_ns for node in nodes if node.span.name.startswith(_STEP)]
        self._end = max(steps, default=self._ends[-1])

    def walk(self) -> Iterator[Part]:
        """The parts from the last to the first."""
        # Each span with up to when it is told; the one that is worked on is the last.
        waiting = [(self._root, self._end)]
        while waiting:
            node, until = waiting.pop()
            found = self._before(node, until)
            if found is None:
                yield from _own(node.span, node.span.start_ns, until)
                continue
            child, ended = found
            yield from _own(node.span, ended, until)
            waiting += [(node, child.span.start_ns), (child, ended)]

    def _before(self, node: Node, until: int) -> tuple[Node, int] | None:
        """The child of a span below which something ended last by a moment, and when that was."""
        for number in range(bisect_right(self._ends, until) - 1, -1, -1):
            ended = self._ends[number]
            if ended <= node.span.start_ns:
                return None
            child = self._child(node, self._by_end[number])
            # Clocks of machines differ: what began before what caused it is passed over.
            if child is not None and node.span.start_ns <= child.span.start_ns < min(until, ended):
                return child, ended
        return None

    def _child(self, node: Node, below: Node) -> Node | None:
        """The child of `node` that is `below`, or that it hangs from. None: it does not."""
        while (above := self._above.get(id(below))) is not None:
            if above is node:
                return below
            below = above
        return None


def _own(span: Span, begin: int, until: int) -> Iterator[Part]:
    """What a span did between two moments: its own time until it ended, then a pause."""
    if until > max(begin, span.end_ns):
        yield Part(span, max(begin, span.end_ns), until, pause=True)
        until = max(begin, span.end_ns)
    if until > begin:
        yield Part(span, begin, until)
