"""What of an exceedance goes into the evidence of a case. Pure. Nothing of it is about a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from citybrain.environment.v1 import environment_service_pb2 as pb
from citybrain.environment.v1 import events_pb2 as ev
from google.protobuf.json_format import MessageToDict

from citybrain.services.environment import quantities
from citybrain.services.environment.cases import Proof

STEPS_EACH = 6
"""So many steps of five minutes stand in one record."""

MOST_STEPS = 36


def of_exceedance(exceedance: pb.Exceedance, steps: Sequence[ev.SurroundingsMeasured], trace: pb.Trace | None) -> list[Proof]:
    """The readings that it rests on, what was measured around it, and where it comes from."""
    found = [Proof("exceedance", pb.EVIDENCE_KIND_READINGS, MessageToDict(exceedance))]
    kept = list(steps)[:MOST_STEPS]
    for number in range(0, len(kept), STEPS_EACH):
        body = {"surroundings": [_step(step) for step in kept[number : number + STEPS_EACH]]}
        found.append(Proof(f"surroundings-{number // STEPS_EACH + 1}", pb.EVIDENCE_KIND_READINGS, body))
    if trace is not None:
        found.append(Proof("trace", pb.EVIDENCE_KIND_TRACE, MessageToDict(trace)))
    return found


def _step(step: ev.SurroundingsMeasured) -> dict[str, Any]:
    means = [[one.station_id, quantities.name(one.quantity), one.value, one.readings] for one in step.means]
    return {"from": getattr(step, "from").ToJsonString(), "means": means}
