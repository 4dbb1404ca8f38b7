"""What is wrong now with the processes of the mesh, whatever incident is asked for. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from citybrain.mesh.v1 import mesh_service_pb2 as mesh

from citybrain.cli import faults_on
from citybrain.cli.incident.story import Finding
from citybrain.mesh.events import microseconds
from citybrain.observability.words import counted

STILL_S = 5.0
"""A subscription that has work and has done nothing for so long is told."""

CLOCK_S = 5.0
"""So is a process whose city time is so far from the clock of who asks."""


def troubles(statuses: Iterable[mesh.GetStatusResponse], at: int) -> list[Finding]:
    """Of processes that answered: faults that are on, subscriptions that fail, stand still, or that nobody leads; wrong clocks.

    `at`: microseconds, by the clock of who asks, when they answered.
    """
    every = list(statuses)
    return [*_faults(every), *_clocks(every, at), *_unled(every), *_groups(every)]


def _faults(every: list[mesh.GetStatusResponse]) -> Iterator[Finding]:
    for fault in faults_on.together(fault for one in every for fault in one.faults):
        yield Finding("failed", faults_on.sentence(fault), f"city fault clear {fault.fault_id}", fault.service)


def _clocks(every: list[mesh.GetStatusResponse], at: int) -> Iterator[Finding]:
    for one in every:
        away_s = (microseconds(one.city_time) - at) / 1e6
        if not one.driven and abs(away_s) >= CLOCK_S:
            who = ", ".join(service.name for service in one.services)
            told = f"the clock of process {one.pid} is {abs(away_s):.0f} s {'ahead' if away_s > 0 else 'behind'}"
            text = f"{told}: its events carry wrong times, and its timers fire at wrong moments"
            yield Finding("failed", text, "city status", who)


def _unled(every: list[mesh.GetStatusResponse]) -> Iterator[Finding]:
    led: dict[str, bool] = defaultdict(bool)
    groups: dict[str, int] = defaultdict(int)
    for one in every:
        for service in one.services:
            if service.groups:
                led[service.name] |= any(group.role == mesh.GROUP_ROLE_LEADS for group in service.groups)
                groups[service.name] = len(service.groups)
    for name in sorted(name for name, is_led in led.items() if not is_led):
        what = f"no process leads {name}: {counted(groups[name], 'subscription')} and read models hear nothing"
        yield Finding("waits", what, "city status", name)


def _groups(every: list[mesh.GetStatusResponse]) -> Iterator[Finding]:
    for one in every:
        for service in one.services:
            for group in service.groups:
                still_s = group.still.ToTimedelta().total_seconds()
                if group.role != mesh.GROUP_ROLE_LEADS:
                    continue
                if group.failing:
                    text = f"{group.name} fails and is tried again: {group.failing}"
                    yield Finding("failed", text, "city events lag", service.name)
                elif still_s >= STILL_S:
                    left = counted(group.lag, "position")
                    text = f"{group.name} has done nothing for {still_s:.0f} s, and has {left} to look at"
                    yield Finding("waits", text, "city events lag", service.name)
