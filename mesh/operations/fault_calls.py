"""Faults that operators switch on in a process: `city fault`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from citybrain.mesh.v1 import mesh_service_pb2 as pb

from citybrain.mesh.entrypoints.calls import Rpc
from citybrain.mesh.entrypoints.reactions import Subscribe
from citybrain.mesh.errors import BadRequest, NotFound, Refused
from citybrain.mesh.events import microseconds, timestamp
from citybrain.mesh.fault_kinds import Kind
from citybrain.mesh.runtime.clock import WallClock
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.faults import Fault
from citybrain.mesh.runtime.process import Process

LONGEST_S = 6 * 3600.0
"""A fault is on for so long at most: nobody is to find it a week later."""

MOST = 20
"""So many are on at a time."""

# These meet the events of a subscription, and no calls.
_OF_SUBSCRIPTIONS = (Kind.POISON, Kind.STALL)
_OF_PROCESSES = (Kind.LOST_LEAD, Kind.CLOCK_SKEW)


class FaultCalls:
    """Switches faults of one process on and off."""

    def __init__(self, process: Process, containers: Sequence[Container]) -> None:
        self._process = process
        self._containers = {container.manifest.name: container for container in containers}
        process.faults.watch(self._set_clock)

    async def set(self, request: pb.SetFaultRequest) -> pb.SetFaultResponse:
        """Refused: this is production. NotFound: there is no such service here. BadRequest: it has no such target."""
        if self._process.settings.profile == "production":
            what = "the profile here is production, which takes no faults: exercise them where nobody depends on it"
            raise Refused(what, "PRODUCTION")
        said = request.fault
        fault = Fault(
            said.fault_id, Kind.named(pb.FaultKind.Name(said.kind)), said.service, microseconds(said.until) / 1e6, said.target,
            said.share if said.HasField("share") else 1.0, said.seconds, said.who, said.reason,
        )  # fmt: skip
        self._check(fault)
        self._process.faults.switch_on(fault)
        return pb.SetFaultResponse()

    async def clear(self, request: pb.ClearFaultsRequest) -> pb.ClearFaultsResponse:
        """How many were on."""
        return pb.ClearFaultsResponse(cleared=self._process.faults.switch_off(request.fault_id))

    async def listed(self, _request: pb.ListFaultsRequest) -> pb.ListFaultsResponse:
        """Those that are on."""
        return pb.ListFaultsResponse(faults=self.shown())

    def shown(self) -> list[pb.Fault]:
        """Those that are on, as the contract has them."""
        return [
            pb.Fault(
                fault_id=one.fault_id, kind=one.kind.in_contract, service=one.service, target=one.target, share=one.share,
                seconds=one.seconds, until=timestamp(round(one.until * 1e6)), who=one.who, reason=one.reason, hits=one.hits,
            )
            for one in self._process.faults.list()
        ]  # fmt: skip

    def _check(self, fault: Fault) -> None:
        container = self._containers.get(fault.service)
        if container is None:
            raise NotFound(f"{fault.service} does not run here; here run: {', '.join(self._containers)}", "NO_SUCH_SERVICE")
        on = {one.fault_id for one in self._process.faults.list()}
        if fault.fault_id not in on and len(on) >= MOST:
            raise Refused(f"{MOST} faults are on here: `city fault clear` ends them", "TOO_MANY_FAULTS")
        left_s = fault.until - time.time()
        if not 0 < left_s <= LONGEST_S:
            raise BadRequest([("fault.until", f"is {left_s:.0f} s from now: it must end within {LONGEST_S / 3600:g} hours")])
        if fault.kind is Kind.CLOCK_SKEW and not isinstance(self._process.clock, WallClock):
            raise BadRequest([("fault.kind", "city time is driven here, so no clock can be wrong: move it instead")])
        methods = {one.method_name for one in container.entrypoints if isinstance(one, Rpc)}
        groups = {one.label for one in container.entrypoints if isinstance(one, Subscribe)}
        known = groups if fault.kind in _OF_SUBSCRIPTIONS else methods | groups
        if fault.kind in _OF_PROCESSES and fault.target:
            raise BadRequest([("fault.target", f"a fault of kind {fault.kind} is of the process: leave it empty")])
        if fault.target and fault.target not in known:
            raise BadRequest([("fault.target", f"{fault.service} has no {fault.target}; it has: {', '.join(sorted(known))}")])
        if fault.seconds < 0 and fault.kind is not Kind.CLOCK_SKEW:
            raise BadRequest([("fault.seconds", "nothing takes less than no time: give 0 or more")])

    def _set_clock(self) -> None:
        if isinstance(self._process.clock, WallClock):
            self._process.clock.skew_us = round(self._process.faults.skew_s() * 1e6)
