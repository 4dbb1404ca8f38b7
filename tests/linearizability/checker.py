"""The search for an order that explains a history of one stream (Wing and Gong, with states that were tried before kept).

Operations are put in order one by one. The next may be each that began before any other that is left had ended. What changes
nothing is put there at once: that loses no order. What else is possible is tried in turn, and no place is tried twice: the same
operations done, and the same list. What anybody was ever told of a version holds for ever, so an append whose fate is not known
is tried only where its events would stand as told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from citybrain.event_store.store import Conflict
from tests.linearizability.model import Append, Operation, Stream

MOST_STEPS = 50_000
_NEVER = 1 << 63
_LINES = 40


class NotLinearizable(AssertionError):
    """There is no order; the text shows the shortest beginning that has none."""


class NotDecided(Exception):
    """The search was given up: the check has failed, and nothing is known of the store."""


@dataclass(slots=True)
class Search:
    """How far the search came: an order of all that was told, or the longest beginning of one."""

    found: bool
    order: list[Operation]
    stream: Stream


_Path = tuple[Operation, "_Path | None"] | None


def search(operations: Iterable[Operation], most_steps: int = MOST_STEPS) -> Search:
    """Looks for an order. NotDecided after so many steps."""
    ops = sorted(operations, key=lambda one: one.begun)
    needed = sum(1 << number for number, one in enumerate(ops) if one.ended is not None)
    known = {version: name for one in ops for version, name in one.places}
    longest = max([*known, *(one.told.actual for one in ops if isinstance(one.told, Conflict))], default=0)
    tried: set[tuple[int, Stream]] = set()
    stack: list[tuple[int, Stream, _Path]] = [(0, Stream(), None)]
    best: tuple[int, Stream, _Path] = stack[0]
    while stack:
        done, stream, path = stack.pop()
        done, path, writes = _settled(ops, done, stream, path)
        if (done & needed).bit_count() > (best[0] & needed).bit_count():
            best = (done, stream, path)
        if done & needed == needed:
            break
        # Of those whose fate is not known the list says all: what it holds is not written again.
        if (done & needed, stream) in tried:
            continue
        tried.add((done & needed, stream))
        if len(tried) > most_steps:
            raise NotDecided(f"no order of {len(ops)} operations was found or ruled out in {most_steps} steps")
        for number, longer in reversed(writes):
            new = enumerate(longer.ids[len(stream.ids) :], len(stream.ids) + 1)
            if len(stream.ids) < longest and all(known.get(version, one) == one for version, one in new):
                stack.append((done | 1 << number, longer, (ops[number], path)))
    done, stream, path = best
    return Search(done & needed == needed, _listed(path), stream)


def _settled(
    ops: Sequence[Operation], done: int, stream: Stream, path: _Path
) -> tuple[int, _Path, list[tuple[int, Stream]]]:  # fmt: skip
    """Takes all that may come next and changes nothing; then lists what may come next and changes it, first what was told."""
    while True:
        took = False
        until = _NEVER
        told: list[tuple[int, Stream]] = []
        unknown: list[tuple[int, Stream]] = []
        # Up to the first that is left all are done.
        for number in range((~done & (done + 1)).bit_length() - 1, len(ops)):
            if done >> number & 1:
                continue
            one = ops[number]
            if one.begun > until:
                break
            if one.ended is not None and one.ended < until:
                until = one.ended
            then = one.asked.after(stream, one.told)
            if then is None:
                continue
            if then is not stream:
                (unknown if one.ended is None else told).append((number, then))
            elif one.ended is not None:
                done, path, took = done | 1 << number, (one, path), True
        if not took:
            return done, path, told + unknown


def _listed(path: _Path) -> list[Operation]:
    found = []
    while path is not None:
        one, path = path
        found.append(one)
    return found[::-1]


def check(operations: Iterable[Operation], name: str = "a stream", most_steps: int = MOST_STEPS) -> None:
    """Raises NotLinearizable where no order explains what was told."""
    ops = list(operations)
    if not search(ops, most_steps).found:
        raise NotLinearizable(explained(shortest(ops, most_steps), name, len(ops), most_steps))


def shortest(operations: Sequence[Operation], most_steps: int = MOST_STEPS) -> list[Operation]:
    """The shortest beginning of a history without an order that has none either, and of its reads those that are needed."""
    moments = sorted(one.ended for one in operations if one.ended is not None)
    good, bad = -1, len(moments) - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if _has_none(_until(operations, moments[middle]), most_steps):
            bad = middle
        else:
            good = middle
    left = _until(operations, moments[bad])
    for one in [one for one in left if not isinstance(one.asked, Append)]:
        fewer = [other for other in left if other is not one]
        if _has_none(fewer, most_steps):
            left = fewer
    return left


def _has_none(operations: Sequence[Operation], most_steps: int) -> bool:
    try:
        return not search(operations, most_steps).found
    except NotDecided:
        return False


def _until(operations: Sequence[Operation], moment: int) -> list[Operation]:
    """What was known at a moment."""
    found = []
    for one in operations:
        if one.ended is not None and one.ended <= moment:
            found.append(one)
        elif one.begun <= moment and isinstance(one.asked, Append):
            found.append(one.cut_off())
    return found


def explained(operations: Sequence[Operation], name: str, of: int, most_steps: int = MOST_STEPS) -> str:
    """A history without an order, for people."""
    ops = sorted(operations, key=lambda one: one.begun)
    tried = search(ops, most_steps)
    placed = {id(one) for one in tried.order}
    told, found = (sum(one.ended is not None for one in some) for some in (ops, tried.order))
    start = ops[0].begun
    lines = [
        f"no order explains what callers of {name} were told: {told} of its {of} operations show it"
        " (reads that are not needed for it are left out)",
        f"an order was found for {found} of them; then the stream is {tried.stream}",
        "times are milliseconds, each operation from its beginning to its end; ! was never reached by any order",
    ]
    if len(ops) > _LINES:
        lines.append(f"({len(ops) - _LINES} earlier ones are not shown)")
    for one in ops[-_LINES:]:
        mark = " " if id(one) in placed or one.ended is None else "!"
        ended = "…" if one.ended is None else f"{(one.ended - start) / 1e6:.3f}"
        lines.append(f"{mark} [{(one.begun - start) / 1e6:.3f} – {ended}] {one}")
    return "\n".join(lines)
