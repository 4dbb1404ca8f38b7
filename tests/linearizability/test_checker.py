"""The checker can tell: histories that one list explains are accepted, and those that none explains are refused and shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from citybrain.event_store.store import ANY, NO_STREAM, Committed, Conflict
from tests.linearizability.checker import NotDecided, NotLinearizable, check, search, shortest
from tests.linearizability.model import Append, Asked, Find, Hear, Operation, Read, Stream, Told

A, B, C = Append(("a",), ANY), Append(("b",), ANY), Append(("c",), ANY)


def one(begun: int, ended: int | None, asked: Asked, told: Told, who: str = "w") -> Operation:
    return Operation(who, begun, ended, asked, told)


def at(version: int, again: bool = False) -> Committed:
    return Committed(version, version, 0, again=again)


def read(begun: int, ended: int, *ids: str, asked: Read | None = None, first: int = 1) -> Operation:
    return one(begun, ended, asked or Read(), tuple(enumerate(ids, first)), "r")


EXPLAINED: dict[str, Sequence[Operation]] = {
    "nothing at all": [],
    "one after the other": [one(0, 1, A, at(1)), read(2, 3, "a"), one(4, 5, B, at(2)), read(6, 7, "a", "b")],
    "a read at the time of an append sees it": [one(0, 9, A, at(1)), read(2, 3, "a")],
    "a read at the time of an append does not see it": [one(0, 9, A, at(1)), read(2, 3)],
    "the one that ended later was first": [one(0, 9, A, at(1)), one(1, 8, B, at(2)), read(20, 21, "a", "b")],
    "reads at one time see the append or not": [one(0, 9, A, at(1)), read(2, 8, "a"), read(1, 7), read(3, 4)],
    "unknown, and never was": [one(0, None, A, None), read(5, 6), one(7, 8, B, at(1)), read(9, 10, "b")],
    "unknown, and takes effect late": [one(0, None, A, None), read(5, 6), read(9, 10, "a")],
    "unknown, and takes effect between others": [
        one(0, None, A, None), one(1, 2, B, at(1)), one(3, 4, C, at(3)), read(5, 6, "b", "a", "c"),
    ],
    "unknown, and its retry finds it": [one(0, None, A, None), one(1, 2, A, at(1, again=True)), read(3, 4, "a")],
    "unknown, and its retry comes first": [one(0, None, A, None), one(1, 2, A, at(1)), one(3, 4, A, at(1, again=True))],
    "the same at two processes": [one(0, 5, A, at(1)), one(1, 6, A, at(1)), read(7, 8, "a")],
    "a conflict with another": [
        one(0, 5, Append(("a",), NO_STREAM), at(1)), one(1, 6, Append(("b",), NO_STREAM), Conflict(1)),
    ],
    "only some of the ids": [one(0, 1, A, at(1)), one(2, 3, Append(("a", "b"), ANY), Conflict(1)), read(4, 5, "a")],
    "the other way round": [
        one(0, 1, Append(("a", "b"), NO_STREAM), Committed(1, 2, 0)), one(2, 3, Append(("b", "a"), ANY), Conflict(2)),
    ],
    "the same id twice": [one(0, 1, Append(("a", "a"), ANY), Conflict(0)), read(2, 3)],
    "parts of a stream": [
        one(0, 1, Append(("a", "b", "c"), NO_STREAM), Committed(1, 3, 0)),
        read(2, 3, "b", "c", asked=Read(2), first=2),
        read(2, 3, "b", asked=Read(2, 1), first=2),
        one(2, 3, Read(0, 2, backward=True), ((3, "c"), (2, "b"))),
        one(2, 3, Read(9, 2, backward=True), ((3, "c"), (2, "b"))),
        one(2, 3, Read(2, 9, backward=True), ((2, "b"), (1, "a"))),
        one(2, 3, Find("b"), 2),
        one(2, 3, Find("d"), 0),
    ],
    "a feed that is late": [one(0, 1, Append(("a", "b"), ANY), Committed(1, 2, 0)), one(2, 3, Hear(), ((1, "a"),))],
}  # fmt: skip

REFUSED: dict[str, Sequence[Operation]] = {
    "torn: a later event without the one before": [
        one(0, 9, A, at(1)), one(0, 9, B, at(2)), one(0, 9, C, at(3)),
        one(1, 8, Read(), ((1, "a"), (3, "c")), "r"),
    ],
    "stale: what was acknowledged is not there": [one(0, 1, A, at(1)), read(2, 3)],
    "stale, backward": [one(0, 1, A, at(1)), one(2, 3, Read(0, 9, backward=True), ())],
    "stale, by its id": [one(0, 1, A, at(1)), one(2, 3, Find("a"), 0)],
    "lost: seen once and then gone": [one(0, 1, A, at(1)), read(2, 3, "a"), one(4, 5, B, at(1)), read(6, 7, "b")],
    "lost: two were told one version": [one(0, 9, A, at(1)), one(0, 9, B, at(1))],
    "a conflict with itself": [
        one(0, None, Append(("a",), NO_STREAM), None), one(1, 2, Append(("a",), NO_STREAM), Conflict(1)), read(3, 4, "a"),
    ],
    "a conflict where there was none": [one(0, 1, A, Conflict(0)), read(2, 3)],
    "a conflict, and it was written": [one(0, 1, A, at(1)), one(2, 3, Append(("b",), 0), Conflict(1)), read(4, 5, "a", "b")],
    "written in part": [one(0, 1, Append(("a", "b"), ANY), Committed(1, 2, 0)), read(2, 3, "a")],
    "written twice": [one(0, None, A, None), one(1, 2, A, at(1)), read(3, 4, "a", "a")],
    "written twice, told so": [one(0, 1, A, at(1)), one(2, 3, A, at(2))],
    "again, and it never was": [one(0, 1, A, at(1, again=True)), read(2, 3, "a")],
    "a wrong version was accepted": [one(0, 1, A, at(1)), one(2, 3, Append(("b",), 0), at(2))],
    "back in time": [one(0, 99, A, at(1)), read(1, 2, "a"), read(3, 4)],
    "back in time, though nobody was told": [one(0, None, A, None), read(1, 2, "a"), read(3, 4)],
    "one order here and another there": [one(0, 9, A, at(1)), one(0, 9, B, at(2)), read(1, 8, "b")],
    "before it was asked for": [read(0, 1, "a"), one(2, 3, A, at(1))],
    "heard before it was asked for": [one(0, 1, Hear(), ((1, "a"),)), one(2, 3, A, at(1))],
    "heard at another place": [one(0, 9, A, at(1)), one(0, 9, B, at(2)), one(1, 8, Hear(), ((1, "b"),))],
    "nobody's": [one(0, 1, A, at(1)), read(2, 3, "x")],
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_one_list_explains_is_accepted(name: str) -> None:
    check(EXPLAINED[name])
    explains(EXPLAINED[name])


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_list_explains_is_refused(name: str) -> None:
    with pytest.raises(NotLinearizable, match="no order explains"):
        check(REFUSED[name])


def explains(operations: Sequence[Operation]) -> None:
    """The order that was found is one: everybody is told what they were told, and nobody comes before who had ended."""
    order = search(operations).order
    assert {id(told) for told in operations if told.ended is not None} <= {id(placed) for placed in order}
    stream: Stream | None = Stream()
    latest = 0
    for placed in order:
        assert stream is not None
        stream = placed.asked.after(stream, placed.told)
        assert placed.ended is None or placed.ended >= latest
        latest = max(latest, placed.begun)
    assert stream is not None


def test_the_shortest_beginning_is_shown_without_what_is_not_needed_for_it() -> None:
    before = [operation for n in range(9) for operation in _appended_and_read(n)]
    torn = one(1001, 1008, Read(), (*((n + 1, f"e{n}") for n in range(9)), (11, "y")), "reader-7")
    after = [one(1000, 1009, Append(("x", "y"), ANY), Committed(10, 11, 0)), read(2000, 2001, "whatever")]
    history = [*before, torn, *after]
    assert {str(needed) for needed in shortest(history)} >= {str(torn)}
    with pytest.raises(NotLinearizable) as refused:
        check(history, "s3")
    said = str(refused.value)
    assert "callers of s3" in said and "10 of its 21 operations show it" in said
    (line,) = [line for line in said.splitlines() if line.startswith("!")]
    assert "reader-7: read from 1, at most 1000 -> 1 e0, " in line and line.endswith("9 e8, 11 y")
    assert "whatever" not in said and "r: read" not in said
    assert re.search(r"\[\S+ – …\] w: append x y at any version -> not told", said)


def _appended_and_read(number: int) -> list[Operation]:
    told = one(10 * number, 10 * number + 1, Append((f"e{number}",), ANY), at(number + 1))
    return [told, read(10 * number + 2, 10 * number + 3, *(f"e{n}" for n in range(number + 1)))]


def test_a_search_that_is_given_up_is_no_answer() -> None:
    # All at once, and none of them says where it stands.
    history = [one(0, None, Append((f"e{n}",), ANY), None) for n in range(12)]
    history.append(one(1, 2, Find("e3"), 13))
    with pytest.raises(NotDecided, match="13 operations"):
        check(history, most_steps=500)


# -- histories of a list ------------------------------------------------------------------------------------------------------


def lived(chance: Random, operations: int) -> tuple[list[Operation], Stream]:
    """What happens to a list at moments 100, 200, …; who asked for it saw it begin earlier and end later."""
    stream = Stream()
    found: list[Operation] = []
    for number in range(1, operations + 1):
        asked = _asked(chance, stream, number)
        told, then = _answer(asked, stream)
        moment = number * 100
        begun, ended = moment - chance.randrange(0, 400), moment + chance.randrange(0, 400)
        fate = chance.random()
        if isinstance(asked, Append) and fate < 0.15:
            # It happens, and nobody is told; or it never happens.
            found.append(one(begun, None, asked, None))
            stream = then if fate < 0.1 else stream
            continue
        found.append(one(begun, ended, asked, told))
        stream = then
    return found, stream


def _asked(chance: Random, stream: Stream, number: int) -> Asked:
    head = len(stream.ids)
    way = chance.random()
    if way < 0.5 or not head:
        new = tuple(f"e{number}.{n}" for n in range(chance.choice([1, 1, 2, 3])))
        ids = new if way < 0.4 or not head else (chance.choice(stream.ids), *new[1:])
        return Append(ids, chance.choice([ANY, ANY, head, chance.randrange(head + 2)]))
    if way < 0.8:
        return Read(chance.randrange(head + 2), chance.choice([1, 3, 1000]), chance.random() < 0.3)
    return Find(chance.choice([*stream.ids, "nobody's"])) if way < 0.9 else Hear()


def _answer(asked: Asked, stream: Stream) -> tuple[Told, Stream]:
    """Written without the model: what a list says."""
    ids = list(stream.ids)
    if isinstance(asked, Find):
        return (ids.index(asked.id) + 1 if asked.id in ids else 0), stream
    if isinstance(asked, Read):
        numbered = list(enumerate(ids, 1))
        if asked.backward:
            numbered = [place for place in reversed(numbered) if not asked.first or place[0] <= asked.first]
        else:
            numbered = [place for place in numbered if place[0] >= asked.first]
        return tuple(numbered[: asked.limit]), stream
    if isinstance(asked, Hear):
        return tuple(enumerate(ids[: len(ids) // 2], 1)), stream
    known = [name for name in asked.ids if name in ids]
    if known:
        first = ids.index(asked.ids[0]) + 1 if asked.ids[0] in ids else 0
        if first and tuple(ids[first - 1 : first - 1 + len(asked.ids)]) == asked.ids:
            return Committed(first, first + len(asked.ids) - 1, 0, again=True), stream
        return Conflict(len(ids)), stream
    if asked.expected not in (ANY, len(ids)):
        return Conflict(len(ids)), stream
    return Committed(len(ids) + 1, len(ids) + len(asked.ids), 0), stream.with_more(asked.ids)


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), operations=st.integers(1, 40))
def test_whatever_happens_to_a_list_is_explained_by_it(seed: int, operations: int) -> None:
    history, _ = lived(Random(seed), operations)
    check(history)
    explains(history)


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32), operations=st.integers(4, 40))
def test_one_answer_that_is_changed_so_that_it_cannot_be_is_refused(seed: int, operations: int) -> None:
    chance = Random(seed)
    history, stream = lived(chance, operations)
    last = max((told.ended or told.begun for told in history), default=0)
    whole = tuple(enumerate(stream.ids, 1))
    # Read when all is over, so that everybody's fate is known.
    history.append(one(last + 1, last + 2, Read(), whole, "end"))
    check(history)
    for changed in _changed(chance, history):
        with pytest.raises(NotLinearizable):
            check(changed)


def _changed(chance: Random, history: list[Operation]) -> list[list[Operation]]:
    """The history with one answer changed in a way that none can explain."""
    found = []
    for number, told in enumerate(history):
        said: list[Told] = []
        if isinstance(told.asked, Read) and isinstance(told.told, tuple) and told.told:
            said.append((*told.told[:-1], (told.told[-1][0], "nobody's")))
            if len(told.told) > 1:
                said.append(told.told[::-1])
            if len(told.told) > 2:
                # Torn.
                hole = chance.randrange(1, len(told.told) - 1)
                said.append(told.told[:hole] + told.told[hole + 1 :])
            # Stale: without what was acknowledged before the read began.
            old = {name for other in history if (other.ended or last_of(history)) < told.begun for _, name in other.places}
            if told.told[-1][1] in old and not told.asked.backward:
                said.append(told.told[:-1])
        elif isinstance(told.told, Committed):
            said.append(replace(told.told, first=told.told.first + 1, last=told.told.last + 1))
            said.append(Conflict(told.told.last))
        elif isinstance(told.asked, Find):
            said.append(10_000)
        found += [[*history[:number], replace(told, told=other), *history[number + 1 :]] for other in said]
    return chance.sample(found, min(len(found), 6))


def last_of(history: Sequence[Operation]) -> int:
    return max(told.ended or told.begun for told in history)
