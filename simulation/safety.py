"""Watches every signal in every second, and reports what no signal may do.

It trusts nobody: it reads the network file itself, asks SUMO itself what is shown, and shares no code with those who set the
signals. Two movements are foes when the junction's own matrix says so. What the plan does while it runs by itself is exempt,
because such plans were made by others (many know no all-red, some show foes green together): the promise is to be no worse.
"""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

MIN_YELLOW_S = 3


class Fault(StrEnum):
    """The kinds of fault."""

    DROPPED = "green to red without yellow"
    SHORT_YELLOW = "yellow shorter than 3 s"
    NO_GAP = "opened before its foe was closed for a second"
    FOES_GREEN = "two foes green together"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault at a letter of a signal; `other` is the foe's letter where there is one."""

    second: int
    signal_id: str
    fault: Fault
    index: int
    other: int | None = None


class Street(Protocol):
    """What the checker needs of SUMO."""

    def signal_ids(self) -> list[str]:
        """Every signal."""

    def shown(self, signal_id: str) -> str:
        """Its letters now."""

    def program(self, signal_id: str) -> str:
        """The program that runs it now."""

    def programs(self, signal_id: str) -> Mapping[str, Iterable[str]]:
        """Its own programs, each with its states."""


@dataclass(slots=True)
class _Watch:
    foes: frozenset[tuple[int, int]]
    programs: frozenset[str]
    plan_states: frozenset[str]
    state: str = ""
    in_plan: bool = True
    # By letter: for how many seconds it has been yellow, and whether all of them were in the plan.
    yellow_s: list[int] = field(default_factory=list)
    yellow_of_plan: list[bool] = field(default_factory=list)


class Checker:
    """Look once a second, after the step. Made before anybody has set a signal: the programs it has then are its own.

    A network may change from one of them to another by the time of day: that is its own doing too.
    """

    def __init__(self, net_file: Path, street: Street) -> None:
        foes = read_foes(net_file)
        self._street = street
        self._watched = {}
        for signal_id in street.signal_ids():
            programs = street.programs(signal_id)
            states = frozenset(state for states in programs.values() for state in states)
            if states:
                self._watched[signal_id] = _Watch(foes.get(signal_id, frozenset()), frozenset(programs), states)
        self.findings: list[Finding] = []

    def accept(self, signal_id: str, program: str, states: Iterable[str]) -> None:
        """A plan that people have decided on counts as the signal's own from now on: what it does by itself is theirs."""
        watch = self._watched[signal_id]
        watch.programs |= {program}
        watch.plan_states |= set(states)

    def look(self, second: int) -> list[Finding]:
        """The faults of this second. They are kept in `findings` too."""
        found: list[Finding] = []
        for signal_id, watch in self._watched.items():
            state = self._street.shown(signal_id)
            in_plan = self._street.program(signal_id) in watch.programs
            found += _judge(second, signal_id, watch, state, in_plan)
            _remember(watch, state, in_plan)
        self.findings += found
        return found

    def counts(self) -> dict[str, int]:
        """How many faults of each kind, zeros included."""
        counted = Counter(finding.fault for finding in self.findings)
        return {fault.name.lower(): counted[fault] for fault in Fault}


def _judge(second: int, signal_id: str, watch: _Watch, state: str, in_plan: bool) -> Iterator[Finding]:
    if state not in watch.plan_states:
        for a, b in sorted(watch.foes):
            if state[a] == "G" and state[b] == "G":
                yield Finding(second, signal_id, Fault.FOES_GREEN, a, b)
    before = watch.state
    if not before or before == state:
        return
    for index, (was, now) in enumerate(zip(before, state, strict=True)):
        # A yellow that is too short is the plan's fault if the plan showed all of it and ended it.
        short = watch.yellow_s[index] < MIN_YELLOW_S and not (watch.yellow_of_plan[index] and in_plan)
        if was == "y" and now != "y" and short:
            yield Finding(second, signal_id, Fault.SHORT_YELLOW, index)
    if watch.in_plan and in_plan:
        return
    for index, (was, now) in enumerate(zip(before, state, strict=True)):
        if was in "Gg" and now == "r":
            yield Finding(second, signal_id, Fault.DROPPED, index)
    for a, b in sorted(watch.foes):
        for index, other in ((a, b), (b, a)):
            opens = before[index] not in "Gg" and state[index] in "Gg"
            if opens and before[other] in "Ggy" and state[other] in "yrs":
                yield Finding(second, signal_id, Fault.NO_GAP, index, other)


def _remember(watch: _Watch, state: str, in_plan: bool) -> None:
    lasted = watch.yellow_s or [0] * len(state)
    own = watch.yellow_of_plan or [True] * len(state)
    watch.yellow_s = [n + 1 if letter == "y" else 0 for n, letter in zip(lasted, state, strict=True)]
    watch.yellow_of_plan = [
        (in_plan and (o or n == 0)) if letter == "y" else True for n, o, letter in zip(lasted, own, state, strict=True)
    ]
    watch.state, watch.in_plan = state, in_plan


def read_foes(net_file: Path) -> dict[str, frozenset[tuple[int, int]]]:
    """Per signal: the pairs of its letters whose movements are foes, from the request matrices of the junctions.

    A request stands for the internal lane of the same place in the junction's list. A movement that waits inside the junction
    crosses it on two internal lanes one after the other, of which the list names one.
    """
    with gzip.open(net_file, "rb") if net_file.suffix == ".gz" else net_file.open("rb") as stream:
        root = ET.parse(stream).getroot()  # noqa: S314
    onward = {
        f"{c.get('from')}_{c.get('fromLane')}": c.get("via", "")
        for c in root.iter("connection")
        if c.get("from", "").startswith(":")
    }
    place: dict[str, tuple[str, int]] = {}
    matrix: dict[str, list[str]] = {}
    for junction in root.iter("junction"):
        # A place where vehicles wait inside a junction is a junction of its own; its list names lanes of other junctions.
        if junction.get("type") == "internal":
            continue
        requests = sorted(junction.iter("request"), key=lambda r: int(r.get("index", "0")))
        matrix[junction.get("id", "")] = [r.get("foes", "") for r in requests]
        for number, lane in enumerate(junction.get("intLanes", "").split()):
            place[lane] = (junction.get("id", ""), number)
    crossing: dict[str, list[tuple[int, str, int]]] = {}
    for c in root.iter("connection"):
        if c.get("tl") is None or c.get("linkIndex") is None:
            continue
        lane = c.get("via") or f"{c.get('to')}_{c.get('toLane')}"
        while lane not in place and lane in onward:
            lane = onward[lane]
        if lane in place:
            crossing.setdefault(c.get("tl", ""), []).append((int(c.get("linkIndex", "0")), *place[lane]))
    return {signal_id: frozenset(_pairs(links, matrix)) for signal_id, links in crossing.items()}


def _pairs(links: list[tuple[int, str, int]], matrix: Mapping[str, list[str]]) -> Iterator[tuple[int, int]]:
    for index, junction, number in links:
        row = matrix[junction][number] if number < len(matrix[junction]) else ""
        for other_index, other_junction, other_number in links:
            # The rightmost character belongs to the first request.
            foe = other_number < len(row) and row[len(row) - 1 - other_number] == "1"
            if junction == other_junction and index != other_index and foe:
                yield min(index, other_index), max(index, other_index)
