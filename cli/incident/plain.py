"""An incident for programs: `city incident --json`, and what the page is made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from google.protobuf import json_format

from citybrain.cli.incident.steps import StepRun
from citybrain.cli.incident.story import Incident, findings, timeline
from citybrain.observability.trace_tree import as_json


def plain(incident: Incident) -> dict[str, Any]:
    """Everything, with moments of machines in nanoseconds and of the city in microseconds since 1970."""
    return {
        "incident": incident.incident_id,
        "notKnown": list(incident.missing),
        "cityTimeUs": incident.now,
        "findings": [asdict(one) for one in findings(incident)],
        "sagas": [json_format.MessageToDict(saga) for saga in incident.sagas],
        "tasks": [json_format.MessageToDict(task) for task in incident.tasks],
        "steps": [_step(run, incident.now) for run in incident.steps],
        "criticalPath": [
            {
                "spanId": part.span.span_id, "service": part.span.service, "name": part.span.name, "beginNs": part.begin_ns,
                "ms": round(part.ms, 3), "pause": part.pause,
            }
            for part in incident.path
        ],
        "causes": [asdict(one) for one in incident.causes],
        "timeline": [asdict(one) for one in timeline(incident)],
        "traces": as_json(incident.roots),
    }  # fmt: skip


def _step(run: StepRun, now: int) -> dict[str, Any]:
    return {**asdict(run), "leftUs": run.left(now) if run.ended or now else None}
