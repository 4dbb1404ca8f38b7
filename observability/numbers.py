"""Every metric of the city: its kind, its unit, its labels, and where the values of each label come from.

`metrics.py` makes its instruments from this list, so there is no metric that is not here. Tests hold that each of them is sent,
and with these labels only. No label takes values that callers choose: so the number of series does not grow with the traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from citybrain.observability import names

Kind = Literal["histogram", "counter", "gauge"]
_UNITS = {"s": "seconds", "By": "bytes"}


@dataclass(frozen=True, slots=True)
class Number:
    """A metric. `unit` as OpenTelemetry writes it; `labels`: what a series of it may have."""

    name: str
    kind: Kind
    unit: str
    about: str
    labels: tuple[str, ...]

    @property
    def prometheus(self) -> str:
        """How Prometheus names it: after its OpenTelemetry name, its unit and its kind."""
        return "_".join(filter(None, (self.family, "total" if self.kind == "counter" else "")))

    @property
    def family(self) -> str:
        """The same without what its kind adds."""
        return "_".join(filter(None, (self.name.replace(".", "_"), _UNITS.get(self.unit, ""))))


def label(attribute: str) -> str:
    """How Prometheus names an attribute."""
    return attribute.replace(".", "_")


LABELS = {
    names.CITY_SERVICE: "the names in manifests; mesh: the process itself, or its own methods",
    names.RPC_METHOD: "the methods of the contracts",
    names.CALL_CLASS: "read, command and stream",
    names.STATUS_CODE: "the sixteen errors of gRPC, and OK",
    names.ERROR_TYPE: "the classes of errors, and the reasons of refusals, which stand in the code",
    names.CONSUMER_GROUP: "the methods that hear events, and the read models, of the services' classes",
    names.EVENT_TYPE: "the events of the contracts",
    names.AUTHORITY: "the authorities that the workflows name; empty: whoever is on duty",
    names.WORKFLOW: "the published workflows",
    names.STEP: "the steps of the published workflows",
    names.STATE: "the states of a saga and of a step, which stand in the code",
    names.STORE: "the engines that are installed",
    names.STORE_OPERATION: "append",
    names.CPU_MODE: "user and system",
}
"""Each label, and where its values come from."""

_OF = names.CITY_SERVICE
_GROUP = (_OF, names.CONSUMER_GROUP)
_CALL = (_OF, names.RPC_METHOD, names.STATUS_CODE)
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The ends of the buckets of durations: from what a cache answers to what nobody waits for. Objectives name one of these."""
STEP_BUCKETS_S = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0)
"""The same for steps of workflows, which may wait for people."""

NUMBERS = (
    Number(names.CALL_DURATION, "histogram", "s", "How long calls took until their end.", (*_CALL, names.CALL_CLASS)),
    Number(names.CLIENT_DURATION, "histogram", "s", "How long calls to other services took until their end.", _CALL),
    Number(names.CALLS_REFUSED, "counter", "{call}", "Calls that were not let in.", (_OF, names.STATUS_CODE, names.ERROR_TYPE)),
    Number(names.CALLS_RUNNING, "gauge", "{worker}", "Workers that are at work.", (_OF,)),
    Number(names.CALLS_WAITING, "gauge", "{worker}", "Work that waits for a place.", (_OF,)),
    Number(names.CALLS_LIMIT, "gauge", "{worker}", "Workers that may be at work at once.", (_OF,)),
    Number(names.STREAMS_OPEN, "gauge", "{stream}", "Streams that are open in the process.", (_OF,)),
    Number(names.SERVICE_READY, "gauge", "", "Whether a service takes calls.", (_OF,)),
    Number(names.SERVICE_LEADS, "gauge", "", "Whether a process leads a service.", (_OF,)),
    Number(names.CLOCK, "gauge", "s", "The clock that city time is taken from.", (_OF,)),
    Number(
        names.HANDLING_DURATION, "histogram", "s", "How long the handling of one event took.", (*_GROUP, names.ERROR_TYPE)
    ),
    Number(names.GROUP_LAG, "gauge", "{event}", "What a group has yet to look at.", _GROUP),
    Number(names.GROUP_AGE, "gauge", "s", "How old the oldest event is that a group has yet to handle.", _GROUP),
    Number(names.GROUP_PARKED, "gauge", "{event}", "Events of a group that wait for a person.", _GROUP),
    Number(names.GROUP_FAILING, "gauge", "", "Whether an event of a group fails and is tried again.", _GROUP),
    Number(names.GROUP_STILL, "gauge", "s", "For how long a group has done nothing though there is work.", _GROUP),
    Number(names.GROUP_RESTARTS, "counter", "{restart}", "How often a stalled subscription was begun again.", _GROUP),
    Number(names.EVENTS_APPENDED, "counter", "{event}", "Events that were written.", (_OF, names.EVENT_TYPE)),
    Number(names.TASKS, "gauge", "{task}", "Tasks that wait for people.", (_OF, names.AUTHORITY)),
    Number(names.TASKS_AGE, "gauge", "s", "For how long the oldest task has waited.", (_OF, names.AUTHORITY)),
    Number(names.SAGAS_STARTED, "counter", "{saga}", "Sagas that began.", (_OF, names.WORKFLOW)),
    Number(names.SAGAS_ENDED, "counter", "{saga}", "Sagas that ended.", (_OF, names.WORKFLOW, names.STATE)),
    Number(names.SAGAS_OPEN, "gauge", "{saga}", "Sagas that have not ended.", (_OF, names.WORKFLOW, names.STATE)),
    Number(
        names.STEP_DURATION, "histogram", "s", "How long steps took, in city time.",
        (_OF, names.WORKFLOW, names.STEP, names.STATE),
    ),
    Number(
        names.STORE_DURATION, "histogram", "s", "How long appends took.",
        (_OF, names.STORE, names.STORE_OPERATION, names.ERROR_TYPE),
    ),
    Number(names.STORE_UNKNOWN, "counter", "{write}", "Writes whose outcome was unknown at first.", (_OF, names.STORE)),
    Number(names.LOG_BEHIND, "gauge", "{event}", "Events that are in streams and not in the log yet.", (_OF, names.STORE)),
    Number(names.LOG_BEHIND_AGE, "gauge", "s", "How old the oldest of these is.", (_OF, names.STORE)),
    Number(names.CPU_TIME, "counter", "s", "Processor time of the process.", (_OF, names.CPU_MODE)),
    Number(names.MEMORY, "gauge", "By", "Memory of the process that is in RAM.", (_OF,)),
    Number(names.THREADS, "gauge", "{thread}", "Threads of the process.", (_OF,)),
    Number(names.FILES, "gauge", "{file_descriptor}", "Files and sockets that the process has open.", (_OF,)),
    Number(names.UPTIME, "gauge", "s", "For how long the process has run.", (_OF,)),
    Number(names.LOOP_DELAY, "histogram", "s", "How much too late the event loop goes on.", (_OF,)),
)  # fmt: skip
"""All metrics."""

BY_NAME = {one.name: one for one in NUMBERS}
"""The same, by their OpenTelemetry names."""
