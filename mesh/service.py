"""Everything that a sector team imports to write a service: the base class, entrypoints and dependency providers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from citybrain.mesh.access.hearing import require_events
from citybrain.mesh.access.rules import require_at_least, require_district
from citybrain.mesh.entrypoints import Reading, Window, at, every, passed, rpc, subscribe, window
from citybrain.mesh.events import Heard
from citybrain.mesh.providers.auditing import AuditRecords
from citybrain.mesh.providers.correlated import Correlated
from citybrain.mesh.providers.every_event import EveryEvent, Recorded
from citybrain.mesh.providers.following import Follow
from citybrain.mesh.providers.journal import Journal
from citybrain.mesh.providers.owners import Owner
from citybrain.mesh.providers.paging import Key, one_page, ordered_page, scan_page
from citybrain.mesh.providers.readings import Readings
from citybrain.mesh.providers.sources import Source
from citybrain.mesh.providers.streams import Cause, Streams
from citybrain.mesh.providers.token_keys import TokenKeys
from citybrain.mesh.providers.views import View
from citybrain.mesh.providers.waiting import Task, Waiting, WaitsForPeople
from citybrain.mesh.runtime.clock import MICROSECONDS
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.context import correlate, current, new_id
from citybrain.mesh.runtime.greenlets import off_loop, wait
from citybrain.mesh.runtime.nameko import DependencyProvider
from citybrain.mesh.upcasting import upcast
from citybrain.observability.logs import logger

__all__ = [
    "AuditRecords",
    "Caller",
    "Cause",
    "Client",
    "Clock",
    "Correlated",
    "EveryEvent",
    "Follow",
    "Heard",
    "Journal",
    "Log",
    "Owner",
    "Paging",
    "People",
    "Provider",
    "Reading",
    "Readings",
    "Recorded",
    "Service",
    "Source",
    "Streams",
    "Task",
    "TokenKeys",
    "Usage",
    "View",
    "Waiting",
    "WaitsForPeople",
    "Window",
    "at",
    "correlate",
    "every",
    "new_id",
    "off_loop",
    "passed",
    "rpc",
    "subscribe",
    "upcast",
    "window",
]

R = TypeVar("R")


class Service:
    """Base of a service class. `name` is the name in its manifest."""

    name: str


class Provider(DependencyProvider):  # type: ignore[misc]
    """Base of other providers: `setup`, `start`, `stop` run once in a process, `get_dependency` once for each call."""

    container: Container
    # Full names of the gRPC services that it calls: readiness reports when one of them is out.
    calls: Sequence[str] = ()


class Clock(Provider):
    """City time; inside a method: `self.clock.now()` in microseconds since 1970."""

    def get_dependency(self, worker_ctx: Any) -> Any:
        """The clock of the process."""
        return self.container.process.clock


class Log(Provider):
    """A structured logger. Its lines carry the trace and the correlation id (the incident)."""

    def setup(self) -> None:
        """Binds the service's name."""
        self._logger = logger(self.container.manifest.name)

    def get_dependency(self, worker_ctx: Any) -> Any:
        """The logger."""
        return self._logger


class Client(Provider):
    """Calls to another service: `Client("citybrain.traffic.v1.TrafficService")`, then `self.traffic.GetSignal(request)`.

    The deadline, the trace, the correlation id and a request id (the same for every retry) are sent along. Raises CallFailed.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.calls = (service,)

    def get_dependency(self, worker_ctx: Any) -> Any:
        """A stand-in with the methods of the other service."""
        return _Remote(self.container, self.service)


class People(Provider):
    """Ids of persons by what is known of them; inside a method: `self.people.of("phone", number)`.

    The value itself is kept nowhere; only a digest of it, under a secret key, leads to the id. Ids are random. A person who was
    erased and comes again gets a new id.
    """

    def get_dependency(self, worker_ctx: Any) -> People:
        """The provider itself."""
        return self

    def of(self, kind: str, value: str) -> str:
        """The id of the person with this telephone number, identity number …; a new id for an unknown value."""
        return wait(self.container.process.vault.keys.person(kind, value))

    def known(self, kind: str, value: str) -> str:
        """The id as `of` gives it, for somebody who is asked about. Empty: the value is unknown, and gets no id by this."""
        return wait(self.container.process.vault.keys.known_person(kind, value))


@dataclass(frozen=True, slots=True)
class Usage:
    """How many calls of each class somebody has made today. Limit 0: there is none. `begins_anew`: microseconds since 1970."""

    used: Mapping[str, int]
    limits: Mapping[str, int]
    begins_anew: int


class Caller(Provider):
    """Who calls; inside a method: `self.caller.require_district(district)`, `self.caller.name`.

    Scopes need no code: the contract names them. Nor do districts that requests, answers and streams name themselves.
    """

    def get_dependency(self, worker_ctx: Any) -> Caller:
        """The provider itself."""
        return self

    @property
    def name(self) -> str:
        """The subject of who calls; for a service `service:` and its name."""
        return current().caller

    @property
    def team(self) -> str:
        """The team of who calls, as their token names it; empty: it names none."""
        return current().principal.team

    @property
    def district(self) -> str:
        """The district that the caller is bound to; empty: to none."""
        return current().principal.district

    @property
    def exercise(self) -> str:
        """The exercise that the call names; empty: it is the city's own work."""
        return current().exercise

    def holds(self, scope: str) -> bool:
        """Whether the caller's token holds a scope, besides the one that the contract asks for."""
        return current().principal.holds(scope)

    def usage(self) -> Usage:
        """What the caller has used today, and may use. Unavailable: it is not known now."""
        quotas = self.container.process.quotas
        use = wait(quotas.of(current().principal))
        return Usage(dict(use.used), dict(use.limits), int(quotas.begins_anew * MICROSECONDS))

    def require_district(self, district: str) -> None:
        """Forbidden: the caller is bound to another district."""
        require_district(current().principal, district)

    def require_events(self, types: Iterable[str], *, told: Collection[str] = ()) -> None:
        """BadRequest: there is no such type of event. Forbidden: the caller may not hear its events.

        Those that are not public need the scope `<package>.events`. `told`: types for which the scope of the method is enough.
        """
        require_events(current().principal, types, told=told)

    def require_at_least(self, scopes: Iterable[str], clearance: int, district: str) -> None:
        """Forbidden: the caller may not give all of this on, because their own token does not hold it."""
        require_at_least(current().principal, scopes, clearance, district)


class _Remote:
    def __init__(self, container: Container, service: str) -> None:
        self._container = container
        self._service = service

    def __getattr__(self, method: str) -> Callable[[Message], Message]:
        def call(request: Message, deadline_s: float | None = None) -> Message:
            outgoing = self._container.process.outgoing
            caller = self._container.manifest.name
            return wait(outgoing.call(caller, f"{self._service}/{method}", request, deadline_s=deadline_s))

        return call


class Paging(Provider):
    """Lists in pages, which stay right when rows come or go between two pages; see `citybrain.mesh.providers.paging`.

    The request has `page_size` and `page_token`. Its other fields are the question; a token is good for one question only.
    """

    def get_dependency(self, worker_ctx: Any) -> Paging:
        """The provider itself."""
        return self

    def page(
        self, request: Any, rows: Iterable[R], key: Callable[[R], Key], *, newest_first: bool = False, default: int = 50
    ) -> tuple[list[R], str]:
        """One page of rows in the order of `key`, which must never change for a row, and the token of the next page."""
        tokens = self.container.process.tokens
        return one_page(tokens, request, rows, key, newest_first=newest_first, default=default)

    def ordered(
        self, request: Any, rows: Callable[[Key | None], Iterable[R]], key: Callable[[R], Key], *, default: int = 50
    ) -> tuple[list[R], str]:
        """As `page`, of rows that are in order already. `rows` gives those after a key; only those of this page are taken."""
        return ordered_page(self.container.process.tokens, request, rows, key, default=default)

    def scan(self, request: Any, view: View[R], *, default: int = 500, prefix: str = "") -> tuple[list[tuple[str, R]], str]:
        """One page of a view, in the order of its keys, and the token of the next page. `prefix`: how the keys begin."""
        return scan_page(self.container.process.tokens, request, view, default=default, prefix=prefix)
