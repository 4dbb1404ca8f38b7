"""The address of Cassandra, how to log in, and how to ask it. The driver's threads deliver answers; no thread waits for one.

The driver never repeats a request by itself: only its caller knows whether the request may take effect twice.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import warnings
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from typing_extensions import override

from cassandra import AuthenticationFailed, ConsistencyLevel, CoordinationFailure, OperationTimedOut, Timeout, Unavailable
from cassandra.auth import PlainTextAuthProvider
from cassandra.connection import ConnectionException, ConnectionShutdown
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import DCAwareRoundRobinPolicy, FallthroughRetryPolicy, RoundRobinPolicy, TokenAwarePolicy
from cassandra.protocol import OverloadedErrorMessage, ServerError
from cassandra.query import tuple_factory
from citybrain.event_store.distributed.interfaces import TimedOut
from citybrain.event_store.distributed.passwords import read_password
from citybrain.event_store.store import StoreError

with warnings.catch_warnings():
    # The driver loads every event loop that it could run on. Eventlet's prints that it is old, to anybody who types a command.
    warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")
    from cassandra.cluster import _NOT_SET, EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session

# The consistency of requests, and of conditions: a majority in the data centre that is asked, or in all of them.
_LEVELS = {
    "LOCAL_QUORUM": (ConsistencyLevel.LOCAL_QUORUM, ConsistencyLevel.LOCAL_SERIAL),
    "QUORUM": (ConsistencyLevel.QUORUM, ConsistencyLevel.SERIAL),
}

# After these errors nobody knows whether the request took effect.
_UNKNOWN = (
    OperationTimedOut, Timeout, Unavailable, CoordinationFailure, NoHostAvailable, ConnectionException, ConnectionShutdown,
    OverloadedErrorMessage, ServerError, OSError,
)  # fmt: skip

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _TRIES = 0.02, 1.0, 30

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """A Cassandra cluster, and the keyspace of the city on it."""

    # host:port, more with commas between.
    addresses: str
    keyspace: str = "city"
    # The one data centre whose nodes are asked; empty: any.
    data_centre: str = ""
    # Whose majority decides: LOCAL_QUORUM (of the data centre that is asked) or QUORUM (of all).
    consistency: str = "LOCAL_QUORUM"
    # Copies by data centre; empty: one copy, for one node.
    replication: Mapping[str, int] = field(default_factory=dict)
    tls: bool = False
    # The authorities that are trusted (PEM); None: those of this machine.
    authorities: Path | None = None
    user: str = ""
    password_file: Path | None = None
    # How long one request may take before its outcome counts as unknown, in seconds.
    answer_s: float = 5.0

    def contact_points(self) -> list[tuple[str, int]]:
        """The addresses as pairs of host and port. StoreError: one is no address."""
        found = []
        for address in self.addresses.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdigit():
                raise StoreError(f"{address!r} is no address of Cassandra: write host:port, e.g. 127.0.0.1:9042")
            found.append((host, int(port)))
        return found


class Asked:
    """A session. `await Asked.open(…)` inside the running event loop; `close()` when done."""

    def __init__(self, cluster: Cluster, session: Session, serial: int) -> None:
        self._cluster = cluster
        self._serial = serial
        self._loop = asyncio.get_running_loop()
        self.session = session
        # No pages: an answer comes whole. Callers ask for long answers in parts.
        session.default_fetch_size = None

    @classmethod
    async def open(cls, place: Place) -> Self:
        """Connects; StoreError says why that is not possible."""
        cluster = _cluster(place)
        loop = asyncio.get_running_loop()
        wrong = ""
        try:
            session = await loop.run_in_executor(None, _connect, cluster)
        except Exception as error:
            wrong = f"does not let us in: {_first_line(error)}{_hint(place, error)}"
        # If there is no such data centre, connecting fails and the driver does not say why. So it is checked here.
        wrong = wrong_centre(place, {host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter}) or wrong
        if wrong:
            await loop.run_in_executor(None, cluster.shutdown)
            raise StoreError(f"Cassandra at {place.addresses} {wrong}")
        return cls(cluster, session, _LEVELS[place.consistency][1])

    def close(self) -> None:
        """Disconnects."""
        self._cluster.shutdown()

    async def prepare(self, cql: str, *, serial: bool = False) -> Any:
        """A prepared statement; `serial`: it reads what the last decided conditional write left."""
        statement = await self._loop.run_in_executor(None, self.session.prepare, cql)
        if serial:
            statement.consistency_level = self._serial
        return statement

    def ask(
        self, statement: Any, values: Sequence[object] | None = None, *, answer_s: Any = _NOT_SET
    ) -> asyncio.Future[list[tuple[Any, ...]]]:
        """The rows of an answer. TimedOut: nobody knows whether the request took effect."""
        done: asyncio.Future[list[tuple[Any, ...]]] = self._loop.create_future()
        try:
            asked = self.session.execute_async(statement, values, timeout=answer_s)
        except _UNKNOWN as error:
            done.set_exception(TimedOut(_first_line(error)))
            return done
        asked.add_callbacks(self._tell, self._tell_error, callback_args=(done,), errback_args=(done,))
        return done

    def _tell(self, rows: list[tuple[Any, ...]] | None, done: asyncio.Future[Any]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, done, rows or [], None)

    def _tell_error(self, error: Exception, done: asyncio.Future[Any]) -> None:
        unknown = isinstance(error, _UNKNOWN)
        told = TimedOut(_first_line(error)) if unknown else StoreError(f"Cassandra refused: {_first_line(error)}")
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, done, None, told)


async def surely(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again after TimedOut, for about half a minute. Only for requests that may take effect twice."""
    pause = _FIRST_PAUSE_S
    for _ in range(_TRIES):
        try:
            return await ask()
        except TimedOut:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
    return await ask()


def wrong_centre(place: Place, centres: Collection[str]) -> str:
    """Why a place must not be used, given the data centres there are; empty: it may be used."""
    there = ", ".join(sorted(centres))
    if centres and place.data_centre and place.data_centre not in centres:
        return f"has no data centre {place.data_centre}; there are: {there}"
    if place.consistency == "LOCAL_QUORUM" and not place.data_centre and len(centres) > 1:
        return (
            f"has several data centres ({there}), and with LOCAL_QUORUM whichever is asked decides: say which one, the same "
            "for every process (`cassandra.data_centre`), or let all decide (`cassandra.consistency: QUORUM`)"
        )
    return ""


_connecting = threading.local()


def _connect(cluster: Cluster) -> Session:
    _connecting.here = True
    try:
        return cluster.connect()
    finally:
        _connecting.here = False


class _InOneLine(logging.Filter):
    """The driver's log lines, without tracebacks; none while we connect, since we then report the error ourselves."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            record.msg, record.args = f"{record.getMessage()} {_first_line(record.exc_info[1])}", ()
            record.exc_info = None
        return not getattr(_connecting, "here", False)


for _name in ("cluster", "connection", "pool"):
    logging.getLogger(f"cassandra.{_name}").addFilter(_InOneLine())


def _hint(place: Place, error: Exception) -> str:
    """What to do if Cassandra refuses us, as far as it can be known."""
    told = _of_nodes(error) or [error]
    if any(isinstance(one, AuthenticationFailed) for one in told):
        return "; set the login in `cassandra.user` and `cassandra.password_file`, for the keys in `cassandra.keys_user`"
    if any("CERTIFICATE_VERIFY_FAILED" in str(one) for one in told):
        return "; set the trusted authorities in `cassandra.authorities`"
    if not place.tls and any(isinstance(one, ConnectionResetError | BrokenPipeError | ConnectionException) for one in told):
        return "; if it speaks TLS, say so: `cassandra.tls`"
    return ""


def _settle(done: asyncio.Future[Any], rows: Any, error: Exception | None) -> None:
    if done.done():
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(rows)


def _cluster(place: Place) -> Cluster:
    inner = DCAwareRoundRobinPolicy(place.data_centre) if place.data_centre else RoundRobinPolicy()
    level, serial = _LEVELS[place.consistency]
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(inner),
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=level,
        serial_consistency_level=serial,
        request_timeout=place.answer_s,
        row_factory=tuple_factory,
    )
    context = ssl.create_default_context(cafile=place.authorities) if place.tls else None
    auth = None
    if place.user:
        auth = PlainTextAuthProvider(place.user, read_password("Cassandra", place.addresses, place.password_file))
    points = place.contact_points()
    return Cluster(
        points,
        port=points[0][1],
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connection_class=LibevConnection,
        ssl_context=context,
        auth_provider=auth,
        connect_timeout=place.answer_s,
        protocol_version=5,
        # Not needed: only migrations change tables, and statements are prepared.
        schema_metadata_enabled=False,
        token_metadata_enabled=True,
        reconnection_policy=_AlwaysSoon(),
    )


class _AlwaysSoon:
    """A node that is away is looked for twice a second."""

    def new_schedule(self) -> Any:
        """How many seconds to wait before each try."""
        while True:
            yield 0.5


def _first_line(error: BaseException) -> str:
    if of_nodes := _of_nodes(error):
        return "; ".join(sorted(set(map(_first_line, of_nodes))))
    return (str(error).splitlines() or [""])[0][:300] or type(error).__name__


def _of_nodes(error: BaseException) -> list[BaseException]:
    """What each node said, if the error tells; other errors only name nodes, or come from one node."""
    errors = error.errors if isinstance(error, NoHostAvailable) else None
    return list(errors.values()) if isinstance(errors, dict) else []
