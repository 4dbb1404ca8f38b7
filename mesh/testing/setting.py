"""The surroundings of a service under test: neighbours, rows and events that the test gives. Everything else is real."""

from __future__ import annotations

import inspect
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from citybrain.event_store.store import ANY, NewEvent, StoredEvent
from citybrain.mesh.entrypoints.timers import HANGZHOU
from citybrain.mesh.events import classification_of, type_name
from citybrain.mesh.personal.vault import lay_down
from citybrain.mesh.providers.rows import NotOfShape
from citybrain.mesh.runtime.clock import DrivenClock
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.greenlets import wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.service import Client, Provider, Streams, View
from citybrain.mesh.testing.errors import Misused
from citybrain.mesh.testing.neighbours import Fake, Neighbours
from citybrain.mesh.testing.parts import Parts, greenlets

D = TypeVar("D")
R = TypeVar("R")
MORNING = datetime(2026, 1, 5, 8, 0, tzinfo=HANGZHOU)
"""City time at the start, unless a test gives another: a Monday, eight o'clock."""


class Substitute(Provider):
    """Takes the place of a provider, and gives the object of the test."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def get_dependency(self, worker_ctx: Any) -> Any:
        """The object of the test."""
        return self._value


class Rows(Generic[R]):
    """Takes the place of a view: rows of the test, read as a view is read."""

    def __init__(self, rows: Mapping[str, R]) -> None:
        self.rows = dict(rows)

    def get(self, key: str) -> R | None:
        """The row of a key, or None."""
        return self.rows.get(key)

    def scan(self, after: str = "", limit: int = -1) -> list[tuple[str, R]]:
        """Keys and rows after a key, in the order of keys."""
        behind = [(key, self.rows[key]) for key in sorted(self.rows) if key > after]
        return behind if limit < 0 else behind[:limit]

    def derived(self, build: Callable[[list[R]], D]) -> D:
        """What `build` makes of all rows."""
        return build([row for _, row in self.scan()])


@dataclass
class Setting:
    """The service's class with what the test gave, its neighbours, and the events from before."""

    service: type
    neighbours: list[Fake]
    before: dict[str, Mapping[str, Sequence[Message]]] = field(default_factory=dict)


def set_up(service: type, neighbours: Sequence[Fake], given: Mapping[str, Any]) -> Setting:
    """Puts what the test gave into place. Misused: a name is unknown, or a neighbour is missing."""
    providers: dict[str, Any] = dict(inspect.getmembers(service, lambda member: isinstance(member, DependencyProvider)))
    if unknown := given.keys() - providers.keys():
        raise Misused(f"{service.__name__} has no {_listed(unknown)}; what can be given is: {_listed(providers)}")
    setting = Setting(service, list(neighbours))
    replaced: dict[str, Any] = {}
    for name, value in given.items():
        match providers[name], value:
            case Client() as client, Fake():
                if value.service != client.service:
                    raise Misused(f"{name} calls {client.service}, and the fake is for {value.service}")
                setting.neighbours.append(value)
            case Streams(), Mapping():
                setting.before[name] = value
            case View() as view, Mapping():
                for key, row in value.items():
                    try:
                        view.shape.encode(row)
                    except NotOfShape as problem:
                        raise Misused(f"{name} has no such rows as {key!r} is given here: {problem}") from None
                replaced[name] = Substitute(Rows(value))
            case _:
                replaced[name] = Substitute(value)
    there = {neighbour.service for neighbour in setting.neighbours}
    missing = [
        f"{name}=fake({provider.service!r}, …)"
        for name, provider in providers.items()
        if isinstance(provider, Client) and name not in replaced and provider.service not in there
    ]
    if missing:
        raise Misused(f"{service.__name__} calls others, and the test is alone: give {', '.join(missing)}")
    if replaced:
        setting.service = type(service.__name__, (service,), {**replaced, "__module__": service.__module__})
    return setting


@contextmanager
def parts_of(setting: Setting, contract: str, folder: Path | None, city_time: datetime) -> Iterator[tuple[Parts, Container]]:
    """Parts with the service set up, and nothing started. At the end all is stopped, and temporary files are removed."""
    clock = DrivenClock()

    def begin() -> tuple[Parts, Container]:
        parts = Parts(data, clock=clock)
        try:
            parts.process.outgoing = Neighbours(parts.process.tracing, parts.process.outgoing.tokens, setting.neighbours)
            container = parts.add(setting.service, contract)
            for provider in container.dependencies:
                for key, messages in setting.before.get(provider.attr_name, {}).items():
                    append(parts, provider.stream_id(key), messages, occurred_at=moment)
        except BaseException:
            parts.stop()
            raise
        return parts, container

    moment = microseconds_of(city_time)
    with tempfile.TemporaryDirectory(prefix="city-test-") as temporary:
        data = folder or Path(temporary)
        parts, container = greenlets().run(begin)
        try:
            yield parts, container
        finally:
            greenlets().run(parts.stop)


def append(
    parts: Parts, stream: str, messages: Sequence[Message], *, occurred_at: int, correlation_id: str = "", actor: str = "test"
) -> list[StoredEvent]:
    """Appends events to a stream, whatever its version is; returns them as they are stored."""
    events = [event_of(message, occurred_at=occurred_at, correlation_id=correlation_id, actor=actor) for message in messages]
    laid = [(event, lay_down(event, message)) for event, message in zip(events, messages, strict=True)]
    wait(parts.process.vault.seal(laid))
    outcome: Any = wait(parts.store.append(stream, events, ANY))
    return wait(parts.store.read(stream, outcome.first, len(events)))


def event_of(message: Message, *, occurred_at: int, correlation_id: str = "", actor: str = "test", name: str = "") -> NewEvent:
    """An event that carries a message."""
    return NewEvent(
        id=name or str(uuid.uuid4()),
        type=type_name(message),
        data=message.SerializeToString(deterministic=True),
        occurred_at=occurred_at,
        correlation_id=correlation_id,
        actor=actor,
        district=getattr(message, "district_id", ""),
        classification=classification_of(type_name(message)),
    )


def microseconds_of(moment: datetime) -> int:
    """A moment as city time counts it: in microseconds since 1970."""
    return int(moment.timestamp() * 1_000_000)


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"
