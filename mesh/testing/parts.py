"""The mesh in this process: real containers over a real store and a real gRPC server. A test can use every part.

All parts run in one thread of their own, as in a mesh process. A test stays in its plain thread, and sends work there.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from typing_extensions import override

from citybrain.mesh.access.installation import caller_token, open_access
from citybrain.mesh.access.principal import EVERYTHING
from citybrain.mesh.access.quotas import Quotas
from citybrain.mesh.audit.entries import Entry, Trail, TrailAway
from citybrain.mesh.manifest import Manifest, read_manifest
from citybrain.mesh.operations.health_protocol import Health
from citybrain.mesh.personal.vault import Vault
from citybrain.mesh.providers.following import OpenStreams
from citybrain.mesh.runtime import context as ctx
from citybrain.mesh.runtime.activity import Activity
from citybrain.mesh.runtime.clock import CityClock, DrivenClock
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.greenlets import use_asyncio_hub, wait
from citybrain.mesh.runtime.guard import Guard
from citybrain.mesh.runtime.nameko import eventlet
from citybrain.mesh.runtime.outgoing import Outgoing
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.server import GrpcServer
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.storage.engine import open_engine
from citybrain.mesh.subscriptions.tokens import Tokens
from citybrain.mesh.testing.errors import Misused, NeverCame
from citybrain.mesh.upcasting import load_upcasters
from citybrain.observability.metrics import Metrics
from citybrain.observability.tracing import Tracing

T = TypeVar("T")
LIMIT_S = 60.0


class Greenlets:
    """A thread with eventlet's hub on an asyncio loop, as a mesh process has it."""

    def __init__(self) -> None:
        ready = threading.Event()
        threading.Thread(target=self._main, args=(ready,), daemon=True).start()
        ready.wait(LIMIT_S)

    def _main(self, ready: threading.Event) -> None:
        self.thread = threading.current_thread()
        self.loop = use_asyncio_hub()
        eventlet.spawn(ready.set)
        eventlet.event.Event().wait()

    def run(self, work: Callable[[], T]) -> T:
        """Runs work in a greenlet, waits for it, and returns its result."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def greenlet() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        self.loop.call_soon_threadsafe(eventlet.spawn, greenlet)
        return _within_limit(done)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop, and returns its result. May be called in a greenlet or in a plain thread."""
        if threading.current_thread() is self.thread:
            return wait(work)
        # In an empty context: a call that the test has entered must not go with it.
        return _within_limit(contextvars.Context().run(asyncio.run_coroutine_threadsafe, work, self.loop))


def _within_limit(done: concurrent.futures.Future[T]) -> T:
    try:
        return done.result(LIMIT_S)
    except TimeoutError:
        if done.done():
            raise
        raise NeverCame(f"what the test asked for was not done within {LIMIT_S:g} s") from None


@functools.cache
def greenlets() -> Greenlets:
    """The only one of this test process: gRPC wants one loop."""
    return Greenlets()


class ListedTrail(Trail):
    """A trail that keeps entries in a list. `away`: why it cannot record anything now; empty: it can."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        # Those of them that were durable before their calls were answered.
        self.kept: list[Entry] = []
        self.away = ""

    @override
    def admit(self, *, durable: bool = False) -> None:
        if self.away:
            raise TrailAway(self.away)

    @override
    def note(self, entry: Entry) -> None:
        self.admit()
        self.entries.append(entry)

    @override
    async def keep(self, entry: Entry) -> None:
        self.note(entry)
        self.kept.append(entry)

    @override
    def unwell(self) -> str:
        return self.away

    @override
    async def close(self) -> None:
        """It ends with its list."""


class Parts:
    """The parts of one mesh process, inside the test process. Use them inside `greenlets().run`."""

    def __init__(
        self,
        data: Path,
        *,
        clock: CityClock | None = None,
        max_workers: int = 8,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        loop = greenlets().loop
        data.mkdir(parents=True, exist_ok=True)
        settings = Settings(data=data, max_workers=max_workers)
        engine = wait(open_engine(settings, []))
        access = open_access(settings)
        quotas = Quotas(lambda: engine.quotas, settings.quotas)
        self.store = engine.store
        # What was done, as the audit trail would keep it.
        self.trail = ListedTrail()
        self.process = Process(
            settings=settings,
            loop=loop,
            engine=engine,
            clock=clock or DrivenClock(),
            activity=Activity(),
            server=GrpcServer(Guard(access.verifier, self.trail, quotas, metrics := metrics or Metrics()), Health()),
            outgoing=Outgoing(tracing := tracing or Tracing(), access.tokens, metrics=metrics),
            tracing=tracing,
            metrics=metrics,
            tokens=Tokens(b"k" * 32),
            open_streams=OpenStreams(64),
            vault=Vault(engine.keys, settings.personal.cipher),
            access=access,
            quotas=quotas,
            trail=self.trail,
        )
        self.containers: list[Container] = []

    def add(self, service: type, grpc: str = "") -> Container:
        """Sets a service up. `grpc`: the contract it answers; empty: its manifest says that. `start` starts it."""
        manifest = manifest_of(service, grpc)
        load_upcasters([manifest])
        config = {"process": self.process, "manifest": manifest, "max_workers": self.process.settings.max_workers * 2}
        container = Container(service, config)
        for extension in container.extensions:
            extension.setup()
        container.take_scopes()
        self.containers.append(container)
        return container

    def token(self, subject: str = "test", *, actor: str = "", **claims: Any) -> str:
        """A token of a caller outside of the mesh; without more, one who may do everything.

        `actor`: the service that calls for them, by its name.
        """
        if actor:
            self.process.outgoing.tokens.grant(actor, [EVERYTHING])
            return self.process.outgoing.tokens.token(actor, subject)
        return caller_token(self.process.settings, self.process.access.ring, subject=subject, **claims)

    def bearer(self, subject: str = "test", **claims: Any) -> tuple[str, str]:
        """The header that carries such a token."""
        return ctx.AUTHORIZATION, f"Bearer {self.token(subject, **claims)}"

    def start(self, *, serve: bool = True) -> None:
        """Starts everything that was added; `serve`: with a gRPC server."""
        if serve:
            self.address = f"127.0.0.1:{wait(self.process.server.start('127.0.0.1', 0))}"
            for container in self.containers:
                self.process.outgoing.addresses[container.manifest.grpc] = self.address
            self.process.outgoing.serves(self.address, self.process.server)
        for container in self.containers:
            container.started = True
            container.extensions.all.start()

    def stop(self) -> None:
        """Ends everything and closes the files."""
        self.process.open_streams.end()
        wait(self.process.server.stop(0))
        for container in self.containers:
            if container.started:
                container.stop()
        wait(self.process.outgoing.close())
        for models in self.process.read_models.values():
            models.close()
        wait(self.process.engine.close())

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition is true. NeverCame: it was not within LIMIT_S."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > end:
                raise NeverCame("it never came to be")
            wait(asyncio.sleep(0.001))


def on_parts(data: Path, test: Callable[[Parts], T], **options: Any) -> T:
    """Runs a test inside a greenlet, on parts that are stopped afterwards."""

    def run() -> T:
        parts = Parts(data, **options)
        try:
            # In a context of its own: a call that the test has entered must end before the parts are stopped.
            return contextvars.copy_context().run(test, parts)
        finally:
            parts.stop()

    return greenlets().run(run)


def together(*work: Callable[[], T]) -> list[T | BaseException]:
    """Runs each function in a greenlet of its own and waits for all. An error that one raises is its result."""
    done = [eventlet.event.Event() for _ in work]

    def one(number: int) -> None:
        try:
            done[number].send(work[number]())
        except BaseException as error:
            done[number].send(error)

    for number in range(len(work)):
        eventlet.spawn(one, number)
    return [event.wait() for event in done]


def manifest_of(service: type, grpc: str = "") -> Manifest:
    """The manifest beside a service's module; if `grpc` names a contract, one that is made up."""
    name: str = service.name  # type: ignore[attr-defined]
    if grpc:
        return Manifest(name=name, title=name, team="t", entry="m:S", grpc=grpc, port=7999)
    path = Path(inspect.getfile(service)).with_name("manifest.yaml")
    if not path.is_file():
        raise Misused(f"{service.__name__} has no manifest.yaml beside its module: say which contract it answers, grpc='…'")
    return read_manifest(path)
