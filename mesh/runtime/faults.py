"""Faults that people switch on in a process to see what follows from them and how it is found: for exercises of those on duty.

None is on when a process starts, each ends by itself, and a process with the profile `production` takes none.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from citybrain.mesh.errors import Unavailable
from citybrain.mesh.fault_kinds import Kind
from citybrain.mesh.runtime.greenlets import wait
from citybrain.observability.logs import logger

_LOOK_S = 0.05
_log = logger("faults")


class Poisoned(Exception):
    """What a method raises on an event that it cannot handle, however often it is tried."""


@dataclass(slots=True)
class Fault:
    """A fault that is on. `target`: a method of the contract, or a consumer group; empty: all of the service.

    `share`: of the calls or events that it meets, 0 to 1. `seconds`: of latency, or by which the clock is ahead. `until`: in
    seconds of the machine's clock (`time.time`).
    """

    fault_id: str
    kind: Kind
    service: str
    until: float
    target: str = ""
    share: float = 1.0
    seconds: float = 0.0
    who: str = ""
    reason: str = ""
    hits: int = 0

    def meets(self, kind: Kind, service: str, target: str) -> bool:
        """Whether it is of a kind and about this."""
        return self.kind is kind and self.service == service and self.target in ("", target)


class Faults:
    """The faults of one process. `any` is False where there is none: then nothing else is asked."""

    def __init__(self) -> None:
        self.any = False
        self._on: dict[str, Fault] = {}
        self._changed: list[Callable[[], None]] = []

    def watch(self, changed: Callable[[], None]) -> None:
        """Has a function called whenever a fault is switched on or off."""
        self._changed.append(changed)

    def switch_on(self, fault: Fault) -> None:
        """Switches a fault on, or changes it, until its end."""
        self._on[fault.fault_id] = fault
        asyncio.get_running_loop().call_later(max(0.0, fault.until - time.time()), self._end, fault)
        _log.warning("fault is on", fault=fault.fault_id, kind=str(fault.kind), of=fault.service, target=fault.target,
                     share=fault.share, seconds=fault.seconds, who=fault.who)  # fmt: skip
        self._tell()

    def switch_off(self, fault_id: str) -> int:
        """Switches a fault off, or all; returns how many."""
        gone = [one for one in self._on if fault_id in ("", one)]
        for one in gone:
            _log.warning("fault is off", fault=one, hits=self._on.pop(one).hits)
        self._tell()
        return len(gone)

    def list(self) -> list[Fault]:
        """Those that are on."""
        return sorted(self._on.values(), key=lambda fault: fault.fault_id)

    # -- where they are met -----------------------------------------------------------------------------------------------

    def in_call(self, service: str, method: str) -> None:
        """In a worker, before a method runs. Unavailable: calls fail."""
        self._slow(service, method)
        if (fault := self._hit(Kind.ERRORS, service, method)) is not None:
            raise _unavailable(fault)

    def in_event(self, service: str, group: str) -> None:
        """In a worker, before an event is handled. Unavailable, Poisoned: it cannot be, now or at all."""
        self._slow(service, group)
        if (fault := self._hit(Kind.ERRORS, service, group)) is not None:
            raise _unavailable(fault)
        if (fault := self._hit(Kind.POISON, service, group)) is not None:
            raise Poisoned(_said(fault))

    async def stalled(self, service: str, group: str) -> None:
        """Returns when a group may go on."""
        if (fault := self._hit(Kind.STALL, service, group)) is not None:
            while fault.fault_id in self._on:
                await asyncio.sleep(_LOOK_S)

    def loses_lead(self, service: str) -> bool:
        """Whether this process must not lead a service."""
        return self._find(Kind.LOST_LEAD, service, "") is not None

    def skew_s(self) -> float:
        """By how many seconds the clock of the process is ahead."""
        return sum(one.seconds for one in self._on.values() if one.kind is Kind.CLOCK_SKEW)

    # -- below ------------------------------------------------------------------------------------------------------------

    def _slow(self, service: str, target: str) -> None:
        if (fault := self._hit(Kind.LATENCY, service, target)) is not None:
            wait(asyncio.sleep(fault.seconds))

    def _find(self, kind: Kind, service: str, target: str) -> Fault | None:
        return next((one for one in self._on.values() if one.meets(kind, service, target)), None)

    def _hit(self, kind: Kind, service: str, target: str) -> Fault | None:
        fault = self._find(kind, service, target)
        if fault is None or random.random() >= fault.share:
            return None
        fault.hits += 1
        return fault

    def _end(self, fault: Fault) -> None:
        # It may have been changed meanwhile: then it ends at another moment.
        if self._on.get(fault.fault_id) is fault:
            self.switch_off(fault.fault_id)

    def _tell(self) -> None:
        self.any = bool(self._on)
        for changed in self._changed:
            changed()


def _said(fault: Fault) -> str:
    return f"fault {fault.fault_id} is switched on here: `city fault list` shows it, `city fault clear` ends it"


def _unavailable(fault: Fault) -> Unavailable:
    return Unavailable(_said(fault), "FAULT")
