"""What is told of measurements and taken in of signals: windows that only go forward, and plans that make sense."""

from __future__ import annotations

from dataclasses import dataclass

from citybrain.traffic.v1.events_pb2 import SpeedsMeasured
from citybrain.traffic.v1.traffic_service_pb2 import Signal
from google.protobuf.message import Message

from citybrain.mesh.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Window:
    """The end of the newest window that was told, in seconds since 1970."""

    to_s: int = 0


def evolve(window: Window, event: Message) -> Window:
    """The window after an event."""
    return Window(event.to_time.seconds) if isinstance(event, SpeedsMeasured) else window


def publish(window: Window, measured: SpeedsMeasured) -> list[Message]:
    """Tells a window, unless one that is newer was told."""
    return [measured] if measured.to_time.seconds > window.to_s else []


def check(signal: Signal) -> None:
    """Raises BadRequest where phases, links and conflicts do not fit together."""
    problems = []
    letters = len(signal.phases[0].state)
    for number, phase in enumerate(signal.phases):
        if len(phase.state) != letters:
            problems.append(
                (f"signal.phases[{number}].state", f"has {len(phase.state)} letters; the first phase has {letters}")
            )
    for number, link in enumerate(signal.links):
        if link.index >= letters:
            problems.append((f"signal.links[{number}].index", f"is {link.index}; the state has {letters} letters"))
    for number, pair in enumerate(signal.conflicts):
        if max(pair.index, pair.other_index) >= letters:
            problems.append((f"signal.conflicts[{number}]", f"names an index outside of the state's {letters} letters"))
    if problems:
        raise BadRequest(problems)
