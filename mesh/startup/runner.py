"""Runs services: all of them in one process, or one alone. Starts them in order, and stops them so that nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from citybrain.event_store.feed import last_moment
from citybrain.event_store.sqlite.database import is_refused, refused
from citybrain.event_store.store import StoreError
from citybrain.mesh.access.certificates import CertificateError, certificate_of
from citybrain.mesh.access.installation import open_access
from citybrain.mesh.access.quotas import Quotas
from citybrain.mesh.audit.trail import ChainedTrail
from citybrain.mesh.contracts import look_in
from citybrain.mesh.manifest import Manifest, ManifestError
from citybrain.mesh.operations import targets
from citybrain.mesh.operations.clock_service import serve_clock
from citybrain.mesh.operations.health_protocol import Health
from citybrain.mesh.operations.mesh_service import serve_status
from citybrain.mesh.operations.neighbours import Neighbours
from citybrain.mesh.operations.presence import Presence
from citybrain.mesh.operations.readiness import Readiness
from citybrain.mesh.personal.vault import Vault
from citybrain.mesh.providers.following import OpenStreams
from citybrain.mesh.providers.waiting import WaitsForPeople
from citybrain.mesh.runtime.activity import Activity
from citybrain.mesh.runtime.clock import DrivenClock, WallClock
from citybrain.mesh.runtime.container import Container
from citybrain.mesh.runtime.garbage import collect_rarely
from citybrain.mesh.runtime.greenlets import use_asyncio_hub, wait
from citybrain.mesh.runtime.guard import Guard
from citybrain.mesh.runtime.nameko import eventlet
from citybrain.mesh.runtime.outgoing import Outgoing
from citybrain.mesh.runtime.process import Process
from citybrain.mesh.runtime.server import GrpcServer
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.startup.entry import load_entry
from citybrain.mesh.storage.backup import RESTORING
from citybrain.mesh.storage.engine import open_engine
from citybrain.mesh.subscriptions.tokens import Tokens
from citybrain.mesh.upcasting import UpcastError, load_upcasters
from citybrain.observability import names
from citybrain.observability.logs import logger
from citybrain.observability.metrics import MESH, GroupNumbers, Metrics, Numbers, WaitingNumbers
from citybrain.observability.process_numbers import watch_loop, watch_process
from citybrain.observability.tracing import Tracing

_log = logger("runner")


class StartError(Exception):
    """The mesh cannot be started on the data it found; the message says what to do."""


class Mesh:
    """Some services in this process. Use inside the greenlet world: `start()`, then `wait_until_stopped()`, then `stop()`."""

    def __init__(self, manifests: Sequence[Manifest], settings: Settings) -> None:
        self.manifests = list(manifests)
        self.settings = settings
        self.containers: list[Container] = []
        self._stopped = eventlet.event.Event()
        self._tasks: list[asyncio.Task[Any]] = []

    def start(self) -> int:
        """Starts everything; returns the port of the gRPC server. OSError when the port is taken."""
        loop = use_asyncio_hub()
        settings = self.settings
        if (settings.data / RESTORING).exists():
            raise StartError(f"a backup was not put back whole into {settings.data}: run the same `city restore` again")
        settings.data.mkdir(parents=True, exist_ok=True)
        classes = [load_entry(manifest) for manifest in self.manifests]
        if settings.contracts:
            look_in(settings.contracts)
        # The classes have loaded their contracts. Now it is checked, before any event is read, that each old type can be read.
        load_upcasters(self.manifests)
        own = certificate_of(settings.tls)
        engine = wait(open_engine(settings, self.manifests))
        clock = DrivenClock(wait(last_moment(engine.store))) if settings.time == "driven" else WallClock()
        tracing = Tracing(endpoint=settings.traces.endpoint, rate=settings.traces.rate)
        self.metrics = metrics = Metrics(endpoint=settings.metrics.endpoint, listens=settings.metrics.listen)
        own_key = settings.data / "token.key"
        access, trail = open_access(settings), ChainedTrail(engine.store, clock.now)
        quotas = Quotas(lambda: engine.quotas, settings.quotas)
        self.process = process = Process(
            settings=settings,
            loop=loop,
            engine=engine,
            clock=clock,
            activity=Activity(),
            server=GrpcServer(Guard(access.verifier, trail, quotas, metrics), Health(), settings.contracts, own),
            outgoing=Outgoing(tracing, access.tokens, own, Neighbours(settings.data).address, metrics=metrics),
            tracing=tracing,
            metrics=metrics,
            tokens=Tokens.from_file(settings.token_key, settings.resume_days)
            if settings.token_key
            else Tokens.with_key_file(own_key, settings.resume_days),
            open_streams=OpenStreams(settings.max_streams),
            vault=Vault(engine.keys, settings.personal.cipher),
            access=access,
            quotas=quotas,
            trail=trail,
        )
        for manifest, service_class in zip(self.manifests, classes, strict=True):
            # nameko's pool is larger than what we admit: a worker gives its place back a moment after its answer.
            config = {"process": process, "manifest": manifest, "max_workers": settings.max_workers * 2}
            self.containers.append(Container(service_class, config))
        if isinstance(clock, DrivenClock):
            serve_clock(process, clock)
        # Handlers first, then the server, then parts that call others: a saga that goes on after a crash then gets answers.
        for container in self.containers:
            # One after the other, not each in a greenlet as nameko does: so an error is reported once, by us.
            for extension in container.extensions:
                extension.setup()
            container.take_scopes()
        self.readiness = Readiness(process, self.containers)
        serve_status(process, self.containers, self.readiness)
        metrics.watch_groups(self._groups)
        metrics.watch_waiting(self._waiting)
        self._watch_services(metrics)
        watch_process(metrics)
        # Rest must not be answered before every extension has started.
        process.activity.begin()
        wait(process.quotas.begin())
        listening = process.server.start(
            settings.host, settings.port, share_port=settings.share_port, probe_port=settings.probe_port
        )
        port = wait(listening)
        process.outgoing.addresses.update(settings.peers)
        for manifest in self.manifests:
            process.outgoing.addresses[manifest.grpc] = f"{settings.host}:{port}"
        process.outgoing.serves(f"{settings.host}:{port}", process.server)
        for container in self.containers:
            container.started = True
            container.extensions.all.start()
        process.activity.end()
        self._tasks += [loop.create_task(process.vault.watch()), loop.create_task(watch_loop(metrics))]
        if isinstance(clock, WallClock):
            self._tasks.append(loop.create_task(clock.run()))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.request_stop)
        wait(self.readiness.begin())
        served = [manifest.name for manifest in self.manifests]
        address, serves = f"127.0.0.1:{process.server.own_port}", f"{settings.host}:{port}"
        tls = {name: str(path.absolute()) for name, path in settings.tls if path is not None}
        manifests = [manifest.model_dump() for manifest in self.manifests]
        self._presence = Presence(
            settings.data, "mesh", address=address, serves=serves, services=served, manifests=manifests, tls=tls
        )
        if metrics.door is not None:
            targets.announce(settings.data, "mesh", metrics.door.address)
        return port

    def _groups(self) -> list[GroupNumbers]:
        """The consumer groups as readiness last saw them. Of several processes the one that works on a group tells of it."""
        return [
            GroupNumbers(manifest.name, name, one.lag, one.parked, one.still_s, one.age_s, bool(one.failing), one.restarts)
            for manifest in self.manifests
            for name, one in self.readiness.states[manifest.grpc].groups.items()
            if one.leads
        ]

    def _waiting(self) -> list[WaitingNumbers]:
        views = [one for container in self.containers for one in container.dependencies if isinstance(one, WaitsForPeople)]
        return [numbers for view in views for numbers in view.numbers()]

    def _watch_services(self, metrics: Metrics) -> None:
        """Has each service's admission told, and whether it is ready."""

        def each(value: Callable[[Container], float]) -> Callable[[], Numbers]:
            return lambda: [(value(one), {names.CITY_SERVICE: one.manifest.name}) for one in self.containers]

        metrics.watch(names.SERVICE_READY, each(lambda one: self.readiness.states[one.manifest.grpc].ready))
        metrics.watch(names.CALLS_RUNNING, each(lambda one: one.places.taken))
        metrics.watch(names.CALLS_WAITING, each(lambda one: one.places.waiting))
        metrics.watch(names.CALLS_LIMIT, each(lambda one: one.places.limit))
        models = self.process.read_models
        metrics.watch(
            names.SERVICE_LEADS,
            lambda: [(one.leadership.leads, {names.CITY_SERVICE: name}) for name, one in list(models.items())],
        )
        metrics.watch(names.CLOCK, lambda: [(self._clock_s(), {names.CITY_SERVICE: MESH})])
        streams = self.process.open_streams
        metrics.watch(names.STREAMS_OPEN, lambda: [(len(streams), {names.CITY_SERVICE: MESH})])

    def _clock_s(self) -> float:
        clock = self.process.clock
        return clock.now() / 1e6 if isinstance(clock, WallClock) else time.time()

    def request_stop(self) -> None:
        """Asks for a graceful stop; `wait_until_stopped` returns."""
        if not self._stopped.ready():
            self._stopped.send(None)

    def wait_until_stopped(self) -> None:
        """Waits for `request_stop()`, SIGINT or SIGTERM."""
        self._stopped.wait()

    def stop(self) -> None:
        """Takes no more work, ends streams (followers go on with their tokens), finishes begun work, closes the engine."""
        process, settings = self.process, self.settings
        self.readiness.end()
        self._presence.leave()
        targets.withdraw(settings.data, "mesh")
        process.open_streams.end()
        until = time.monotonic() + settings.drain_s
        # Streams end before the server stops: it closes a connection after its last stream, and messages on their way are lost.
        wait(process.open_streams.ended(settings.drain_s))
        wait(process.server.stop(max(0.0, until - time.monotonic())))
        for task in self._tasks:
            task.cancel()
        for container in self.containers:
            container.stop()
        wait(process.outgoing.close())
        # After all that could still be done for a caller.
        wait(process.trail.close())
        wait(process.quotas.close())
        for models in process.read_models.values():
            models.close()
        wait(process.engine.close())
        process.tracing.shutdown()
        process.metrics.shutdown()


def serve(manifests: Sequence[Manifest], settings: Settings, ready: Callable[[int], None]) -> int:
    """Runs services until they are asked to stop; calls `ready(port)` once they answer. Returns the exit code."""
    mesh = Mesh(manifests, settings)
    try:
        port = mesh.start()
    except (OSError, ManifestError, StartError, UpcastError, StoreError, CertificateError) as error:
        if isinstance(error, OSError) and is_refused(error):
            error = refused(Path(error.filename or settings.data), error)
        sys.stderr.write(f"city: {error}\n")
        return 2
    collect_rarely()
    _log.info("serving", port=port, services=[manifest.name for manifest in manifests])
    ready(port)
    mesh.wait_until_stopped()
    _log.info("stopping")
    mesh.stop()
    return 0
