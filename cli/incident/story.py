"""All that is known of an incident, and what follows from it for whoever is on duty. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from citybrain.events.v1.event_pb2 import Event
from citybrain.mesh.v1 import mesh_service_pb2 as mesh
from citybrain.sagas.v1 import saga_service_pb2 as pb

from citybrain.cli.incident.critical_path import Part, longest
from citybrain.cli.incident.log_lines import LogLine
from citybrain.cli.incident.steps import StepRun, runs
from citybrain.cli.incident.streams import Cause, causes, service_of, short
from citybrain.observability import names
from citybrain.observability.spans import Span
from citybrain.observability.trace_tree import Node, build
from citybrain.observability.words import counted

SLOW_MS = 1000.0
"""What worked so long on the critical path is told as slow."""


@dataclass(frozen=True)
class Incident:
    """What was found. `troubles`: what is wrong in the mesh now, whatever incident it is; `missing`: what is not known, a
    sentence each; `now`: city time in microseconds, 0: not known.
    """

    incident_id: str
    events: Sequence[Event] = ()
    sagas: Sequence[pb.Saga] = ()
    tasks: Sequence[pb.Task] = ()
    spans: Sequence[Span] = ()
    lines: Sequence[LogLine] = ()
    parked: Sequence[mesh.ParkedEvent] = ()
    troubles: Sequence[Finding] = ()
    missing: Sequence[str] = ()
    now: int = 0

    @cached_property
    def steps(self) -> list[StepRun]:
        """The runs of steps of its sagas."""
        return runs(self.events)

    @cached_property
    def roots(self) -> list[Node]:
        """The trees of its spans."""
        return build(self.spans)

    @cached_property
    def path(self) -> list[Part]:
        """The critical path of its longest trace."""
        return longest(self.roots)

    @cached_property
    def causes(self) -> list[Cause]:
        """Which service wrote which event because of which."""
        return causes(self.events)

    @property
    def found(self) -> bool:
        """Whether there is anything."""
        return bool(self.events or self.sagas or self.spans or self.lines)


def of_one(incident_id: str, spans: Iterable[Span]) -> list[Span]:
    """The spans without those of other incidents, and without what hangs from these: a caller may report two in one trace."""
    given = list(spans)
    parents = {(one.trace_id, one.span_id): one for one in given}

    def mine(span: Span) -> bool:
        seen: set[str] = set()
        at: Span | None = span
        while at is not None and at.span_id not in seen:
            if at.incident_id:
                return at.incident_id == incident_id
            seen.add(at.span_id)
            at = parents.get((at.trace_id, at.parent_span_id))
        return True

    return [one for one in given if mine(one)]


def numbers(incident: Incident) -> str:
    """How much there is, for people."""
    services = {service_of(event) for event in incident.events} | {span.service for span in incident.spans}
    parts = [(incident.events, "event"), (incident.spans, "span"), (incident.lines, "log line"), (services, "service")]
    return ", ".join(counted(len(things), name) for things, name in parts)


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the timeline. `kind`: event, call, log or acknowledgement; `state`: failed, slow or empty."""

    at_ns: int
    kind: str
    service: str
    text: str
    state: str = ""


_ACKNOWLEDGED = ("Acknowledged", "Confirmed", "Answered", "HumanDecided")


def timeline(incident: Incident) -> list[Moment]:
    """All departments in one order, by the clocks of the machines: events when they were recorded, calls when they began."""
    # What has the same moment stays in its order: events of one append have.
    return sorted(_moments(incident), key=lambda one: one.at_ns)


def _moments(incident: Incident) -> Iterator[Moment]:
    for event in incident.events:
        name = short(event.type)
        kind = "acknowledgement" if name.endswith(_ACKNOWLEDGED) and not name.startswith(("Step", "Undo")) else "event"
        text = f"{name}  {event.stream} {event.version}" + (f"  by {event.actor}" if event.actor else "")
        yield Moment(event.recorded_at.ToNanoseconds(), kind, service_of(event), text, _state_of(name))
    slow = {id(part.span) for part in slow_parts(incident)}
    for span in incident.spans:
        if span.kind in ("server", "client") or span.status == "error":
            state = "failed" if span.status == "error" else "slow" if id(span) in slow else ""
            # What was refused is no failure of who refused it.
            ended = str(span.attributes.get(names.STATUS_CODE, "OK"))
            why = span.status_message or ("" if ended == "OK" else ended)
            yield Moment(
                span.start_ns, "call", span.service, f"{called(span)}  {took(span.duration_ms)}  {why}".rstrip(), state
            )
    for line in incident.lines:
        state = "failed" if line.level in ("error", "critical") else ""
        yield Moment(line.at_ns, "log", line.service, f"{line.level}: {line.message}  {line.more}".rstrip(), state)


def _state_of(name: str) -> str:
    return "failed" if name in ("StepFailed", "StepTimedOut", "UndoFailed", "SagaNeedsHuman") else ""


def called(span: Span) -> str:
    """What a span did, without the package: HealthService/ReserveBed."""
    service, slash, method = span.name.lstrip("/").rpartition("/")
    return f"{short(service)}/{method}" if slash and service.startswith("citybrain.") else span.name.replace("citybrain.", "")


def took(ms: float) -> str:
    """For people: 12.3 ms, 4.5 s, 12 min."""
    if ms < 1000:
        return f"{ms:.1f} ms"
    return f"{ms / 1000:.1f} s" if ms < 120_000 else f"{ms / 60_000:.0f} min"


def slow_parts(incident: Incident) -> list[Part]:
    """The parts of the critical path that worked for a second or longer, the longest first."""
    return sorted((p for p in incident.path if not p.pause and p.ms >= SLOW_MS), key=lambda part: -part.ms)


@dataclass(frozen=True, slots=True)
class Finding:
    """What whoever is on duty should know. `do`: the command to type next; empty: none."""

    kind: str
    text: str
    do: str = ""
    who: str = ""


def culprit_of(span: Span) -> str:
    """The service to which a failed span leads: who was called and did not answer, or who failed."""
    if span.kind == "client":
        package = str(span.attributes.get(names.RPC_METHOD) or span.name).lstrip("/").rpartition("/")[0]
        parts = package.split(".")
        if len(parts) >= 3 and parts[0] == "citybrain":
            return parts[1]
    return span.service


def failures(incident: Incident) -> list[tuple[str, Span, int]]:
    """Where errors began: service, one span, and how often. Who only passes on what failed below is not named."""
    times: dict[tuple[str, str, str], tuple[Span, int]] = {}
    waiting = list(incident.roots)
    while waiting:
        node = waiting.pop()
        waiting += node.children
        failed_below = any(child.span.status == "error" for child in node.children)
        if node.span.status == "error" and not failed_below:
            key = (culprit_of(node.span), called(node.span), node.span.status_message)
            first, count = times.get(key, (node.span, 0))
            times[key] = (min(first, node.span, key=lambda one: one.start_ns), count + 1)
    found = [(service, span, count) for (service, _, _), (span, count) in times.items()]
    return sorted(found, key=lambda one: (-one[2], one[1].start_ns))


def findings(incident: Incident) -> list[Finding]:
    """What failed, what waits and for whom, what was slow; each with what to do next. The gravest first."""
    return [
        *_tasks(incident),
        *_waiting(incident),
        *_parked(incident),
        *incident.troubles,
        *_failed(incident),
        *_slow(incident),
        *_orphans(incident),
    ]


def _tasks(incident: Incident) -> Iterator[Finding]:
    for task in incident.tasks:
        who = ", ".join(task.authorities) or "whoever is on duty"
        match task.kind:
            case pb.TASK_KIND_QUESTION:
                option = task.options[0] if task.options else "OPTION"
                do = f'city sagas answer {task.saga_id} {task.step} {option} --reason "…"'
                yield Finding("waits", f"{task.step}: {task.text} ({', '.join(task.options)})", do, who)
            case pb.TASK_KIND_CLEARANCE:
                do = f'city sagas clear {task.saga_id} {task.step} --reason "…"'
                yield Finding("waits", f"{task.step} protects life and is to be undone: {task.text}", do, who)
            case _:
                do = f'city sagas resume {task.saga_id} --reason "…"'
                yield Finding("waits", f"{task.saga_id} cannot go on by itself: {task.text}", do, who)


def _waiting(incident: Incident) -> Iterator[Finding]:
    asked = {(task.saga_id, task.step) for task in incident.tasks}
    for saga in incident.sagas:
        for step in saga.steps:
            if step.status not in ("sent", "pausing", "waiting") or (saga.saga_id, step.name) in asked:
                continue
            why = f": {step.reason}" if step.reason else ""
            again = ", it is tried again" if step.status == "pausing" else ""
            text = f"{step.name} is {step.status}{again}{_left(step, incident.now)}{why}"
            yield Finding("waits", text, f"city sagas watch {saga.saga_id}", "the city")


def _left(step: pb.SagaStep, now: int) -> str:
    if not step.HasField("deadline") or not now:
        return ""
    seconds = step.deadline.seconds - now / 1e6
    return f", {took(abs(seconds) * 1000)} {'left' if seconds >= 0 else 'late'}"


def _parked(incident: Incident) -> Iterator[Finding]:
    for one in incident.parked:
        if not one.being_tried:
            text = f"{one.group} could not handle {short(one.type)}: {one.reason}"
            yield Finding("failed", text, f"city events replay {one.group} {one.stream}", one.group.partition(".")[0])


def _failed(incident: Incident) -> Iterator[Finding]:
    for service, span, count in failures(incident):
        times = f", {count} times" if count > 1 else ""
        why = f": {span.status_message}" if span.status_message else ""
        yield Finding("failed", f"{called(span)}{why}{times}", f"city trace {span.trace_id}", service)
    for run in incident.steps:
        if run.outcome in ("failed", "timed out"):
            late = "" if run.outcome == "failed" else " (its deadline is over)"
            text = f"{run.named} has {run.outcome}{late}" + (f": {run.reason}" if run.reason else "")
            yield Finding("failed", text, f"city sagas show {run.saga_id}", "sagas")


def _slow(incident: Incident) -> Iterator[Finding]:
    for part in slow_parts(incident):
        yield Finding("slow", f"{called(part.span)} took {took(part.ms)} by itself", "city events lag", part.span.service)


def _orphans(incident: Incident) -> Iterator[Finding]:
    """Spans without their parent: something was killed before it could send what it did."""
    # A caller outside may have a trace of its own, of which nothing comes here.
    lost = [one.span for one in incident.roots if one.parent_missing and one.span.service != names.GATEWAY]
    for service in sorted({span.service for span in lost}):
        count = sum(span.service == service for span in lost)
        text = f"{counted(count, 'span')} came without what caused it: a process was killed, or it is older than what is kept"
        yield Finding("missing", text, "city status", service)
