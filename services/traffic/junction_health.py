"""How healthy a junction is, and which part makes it bad beside what is usual. Pure.

    score = 100 − Σ weight · part, each part from 0 to 1

The *factor* is the part that takes most points beside what is usual at this hour: weight · (part now − part usually). The
score is a sum, so these terms add up to its difference from what is usual, and they are its Shapley values (L. Shapley, 1953):
no other division among the parts is fair in his sense. The weights are a proposal of this project.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from citybrain.traffic.v1.outlook_pb2 import HealthPart

VERSION = "junction-health-1"
WEIGHTS: Mapping[HealthPart, float] = {
    HealthPart.HEALTH_PART_DELAY: 45.0,
    HealthPart.HEALTH_PART_IMBALANCE: 15.0,
    HealthPart.HEALTH_PART_QUEUE: 15.0,
    HealthPart.HEALTH_PART_DETECTORS: 10.0,
    HealthPart.HEALTH_PART_INCIDENT: 15.0,
}
"""Points that a part takes where it is 1. Together 100."""
PARTS = tuple(WEIGHTS)
VEHICLE_M = 7.5
"""The length of a road that one vehicle in a queue takes."""


@dataclass(frozen=True, slots=True)
class Approach:
    """A road that ends at the junction: the share of its time that is delay, its flow, vehicles in a queue (None: not known),
    its detectors and those that do not count, and whether an incident is open on it.
    """

    length_m: float
    index: float | None = None
    flow: float | None = None
    queue: int | None = None
    detectors: int = 0
    missing: int = 0
    incident: bool = False


def parts(approaches: Sequence[Approach]) -> tuple[dict[HealthPart, float], bool]:
    """The parts, and whether something of them was not measured.

    Two approaches with 0.2 and 0.6, as much flow on both: delay 0.4, imbalance 0.2.
    """
    known = [one for one in approaches if one.index is not None]
    # A road on which nobody was counted weighs as one with a vehicle an hour: it is not forgotten.
    weights = [max(1.0, one.flow or 0.0) for one in known]
    indices = [one.index or 0.0 for one in known]
    delay = sum(w * i for w, i in zip(weights, indices, strict=True)) / sum(weights) if known else 0.0
    queued = [min(1.0, one.queue * VEHICLE_M / one.length_m) for one in approaches if one.queue is not None and one.length_m]
    detectors = sum(one.detectors for one in approaches)
    found = {
        HealthPart.HEALTH_PART_DELAY: delay,
        HealthPart.HEALTH_PART_IMBALANCE: max(0.0, max(indices) - sum(indices) / len(indices)) if known else 0.0,
        HealthPart.HEALTH_PART_QUEUE: max(queued, default=0.0),
        HealthPart.HEALTH_PART_DETECTORS: sum(one.missing for one in approaches) / detectors if detectors else 0.0,
        HealthPart.HEALTH_PART_INCIDENT: float(any(one.incident for one in approaches)),
    }
    return found, len(known) < len(approaches) or any(one.missing for one in approaches)


def score(found: Mapping[HealthPart, float]) -> float:
    """From 0 to 100."""
    return 100.0 - sum(WEIGHTS[part] * found[part] for part in PARTS)


def takes(now: Mapping[HealthPart, float], usual: Mapping[HealthPart, float]) -> dict[HealthPart, float]:
    """Points that each part takes beside what is usual; below zero: it gives some."""
    return {part: WEIGHTS[part] * (now[part] - usual[part]) for part in PARTS}


def factor(taken: Mapping[HealthPart, float]) -> HealthPart:
    """The part that takes most, if any takes something."""
    most = max(PARTS, key=lambda part: taken[part])
    return most if taken[most] > 0 else HealthPart.HEALTH_PART_UNSPECIFIED
