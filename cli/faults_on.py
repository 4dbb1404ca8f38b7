"""Faults that are on in a mesh, in words: what processes tell of the same fault is put together. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from citybrain.mesh.v1 import mesh_service_pb2 as pb

from citybrain.mesh.fault_kinds import Kind


def together(faults: Iterable[pb.Fault]) -> list[pb.Fault]:
    """Each fault once, by its id: a process of a service knows only how many calls and events it has met itself."""
    found: dict[str, pb.Fault] = {}
    for one in faults:
        known = found.setdefault(one.fault_id, pb.Fault())
        hits = known.hits + one.hits
        known.CopyFrom(one)
        known.hits = hits
    return [found[name] for name in sorted(found)]


def kind_of(fault: pb.Fault) -> Kind:
    """Its kind, as `city fault set` names it."""
    return Kind.named(pb.FaultKind.Name(fault.kind))


def until(fault: pb.Fault) -> datetime:
    """When it ends by itself, here."""
    return datetime.fromtimestamp(fault.until.seconds).astimezone()


def sentence(fault: pb.Fault) -> str:
    """What it is, of what, until when, and who wanted it."""
    kind, seconds = kind_of(fault), f" of {fault.seconds:g} s" if fault.seconds else ""
    part = f" in {fault.share:.1%} of the cases" if fault.HasField("share") and fault.share < 1 else ""
    met = f", it has met {fault.hits:,}" if fault.hits else ""
    why = f": {fault.reason}" if fault.reason else ""
    what = f"{kind}{seconds} of {fault.target or fault.service}{part}{met}"
    return f"the fault {fault.fault_id} is on: {what}, until {until(fault):%H:%M:%S}, by {fault.who}{why}"
