"""A whole city on this machine: the processes of the mesh, Envoy in front of them, and a trace store that outlives both.

It is long because it starts and stops each part, in an order that all of them need.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO

from citybrain.gateway.settings import Gateway, GatewaySettings
from citybrain.local.certificates import for_mesh
from citybrain.local.contracts import descriptors, told_of, with_others, without
from citybrain.local.engine_processes import EngineProcesses
from citybrain.local.envoy import Envoy
from citybrain.local.guests import Guest, Guests
from citybrain.local.issuer_keys import other_issuers, own_issuer
from citybrain.local.problems import Problem
from citybrain.local.processes import Processes, groups_of
from citybrain.local.supervisor import Supervisor
from citybrain.local.traces import span_file
from citybrain.mesh.access.installation import caller_token, open_ring
from citybrain.mesh.manifest import Manifest
from citybrain.mesh.operations import targets
from citybrain.mesh.operations.presence import Presence, forget, present
from citybrain.mesh.personal.secret_files import OWN_FILES
from citybrain.mesh.settings.engines import DISTRIBUTED, EngineFeatures, features_of
from citybrain.mesh.settings.values import Settings, Tls, Traces
from citybrain.mesh.startup.serve import choose
from citybrain.observability.logs import LogFile, logger
from citybrain.observability.receiver import Receiver

ROOT = Path(__file__).resolve().parents[1]
MIN_FREE_BYTES = 200 * 1024 * 1024
ANY_PORT = Gateway(port=0)
# How often the size of the access log is looked at.
_LOOK_S = 2.0
# How often the end of certificates is looked at.
_RENEW_S = 3600.0
_log = logger("city")


class LocalError(Problem):
    """The city cannot run here; the message says what to do."""


class LocalCity:
    """Receiver, mesh and gateway, kept up until they are stopped. `kill()` and `start_again()` are for demonstrating faults.

    `only`: the services that run; empty: all. `folders`: with more services. `engines`: with a Kafka and a Cassandra of its
    own. `tls`: with certificates of its own between its processes, if the settings have none. `say`: gets a sentence when
    something happens to a process.
    """

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway = ANY_PORT,
        *,
        only: Sequence[str] = (),
        without: Sequence[str] = (),
        folders: Sequence[Path] = (),
        engines: bool = False,
        tls: bool = False,
        say: Callable[[str], None] = _log.warning,
    ) -> None:
        self.data = settings.data
        self._settings = settings
        self._folders = [folder.absolute() for folder in folders]
        self._gateway_settings = gateway
        self._manifests = [manifest for manifest in choose(list(only), self._folders) if manifest.name not in without]
        self._certificates = for_mesh((settings.data / "mesh-tls").absolute()) if tls and not settings.tls.given else None
        self._told_to = say
        self._said: LogFile | None = None
        self._with_engines = engines
        self._engines: EngineProcesses | None = None
        self._lock: IO[str] | None = None
        self._receiver: Receiver | None = None
        self._presence: Presence | None = None
        # The file that tells others what should run here, and whether it is up.
        self._told: Presence | None = None
        self._telling = threading.Lock()
        self.mesh: Processes | None = None
        self.gateway: Envoy | None = None
        self._keeper: Supervisor | None = None
        self._stopped = threading.Event()
        self._rotating: threading.Thread | None = None
        self._guests: Guests | None = None

    @property
    def traces(self) -> Path:
        """The file of the trace store."""
        return self.data / "traces.db"

    def token(self) -> str:
        """The installation's own token, with which everything may be called."""
        return caller_token(self._settings, open_ring(self._settings))

    @property
    def features(self) -> EngineFeatures:
        """How the engine of this city differs from others."""
        return features_of(DISTRIBUTED if self._with_engines else self._settings.store)

    def start(self) -> str:
        """Starts everything; returns the gateway's address."""
        # The umask is put back, because other code in this process (the demo) writes reports for everybody to read.
        theirs = os.umask(OWN_FILES)
        try:
            return self._start()
        finally:
            os.umask(theirs)

    def _start(self) -> str:
        contracts = descriptors()
        self.data.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.data).free < MIN_FREE_BYTES:
            raise LocalError(
                f"less than {MIN_FREE_BYTES >> 20} MB are free where {self.data} is: make room, or give another --data"
            )
        self._lock = _only_one(self.data)
        self._said = self._log_file("up.log")
        self._stopped.clear()
        for one in present(self.data):
            if not one.runs:
                forget(self.data, one)
        try:
            # If no collector is configured, traces are kept here.
            endpoint = self._settings.traces.endpoint
            if not endpoint:
                self._receiver = Receiver(self.traces)
                with span_file(self.traces):
                    endpoint = self._receiver.start()
            changes = {"traces": Traces(endpoint=endpoint), **self._start_engines()}
            if self._certificates is not None:
                self._certificates.renew()
                changes["tls"] = self._certificates.tls
            mesh = self._settings.model_copy(update=changes)
            groups = groups_of(self._manifests, mesh)
            self._reflect(contracts.read_bytes(), self._manifests)
            self.mesh = Processes(
                groups, self._manifests, mesh, self._say, contracts=self._reflected, changed=self._tell_lives,
                arguments=[part for folder in self._folders for part in ("--folder", str(folder))],
            )  # fmt: skip
            self._told = Presence(self.data, "city", address="", **self._lives())
            self.mesh.start()
            self._at_gateway = settings = GatewaySettings(
                **dict(self._gateway_settings),
                upstreams=self.mesh.addresses,
                system_upstream=next(iter(self.mesh.addresses.values())),
                spread=any(group.copies > 1 for group in groups),
                driven=self._settings.time == "driven",
                otlp_endpoint=endpoint,
                access_log=self.data / "access.log",
                own_tls=self.data / "tls",
                mesh_tls=mesh.tls,
                identity=own_issuer(self._settings),
                issuers=other_issuers(self._settings),
            )
            known = with_others(contracts.read_bytes(), self._manifests, self.mesh.addresses, self.token(), mesh.tls)
            self._reflect(known, self._manifests)
            self.gateway = Envoy(self._manifests, known, settings, self.data / "gateway")
            restarts = self._settings.processes.restarts
            self._keeper = Supervisor([("gateway", self.gateway)], self._say, restarts, self._tell_lives)
            self._keeper.start()
            address, admin = self.gateway.address, f"127.0.0.1:{self.gateway.settings.admin_port}"
            self._presence = Presence(self.data, "gateway", address=address, admin=admin)
            if self._settings.metrics.listen:
                targets.announce(self.data, "gateway", admin, "/stats/prometheus")
            self._rotating = threading.Thread(target=self._rotate, name="rotate", daemon=True)
            self._rotating.start()
            own = {manifest.name for manifest in self._manifests}
            self._guests = Guests(self.data, own, partial(self._take, known, mesh.tls), self._say)
            self._guests.start()
            self._note(f"the city answers at {address}")
            return address
        except BaseException:
            self.stop()
            raise

    def _take(self, contracts: bytes, tls: Tls, guests: Mapping[str, Guest]) -> None:
        """Opens the gateway to services of processes beside the city, and to no others than these."""
        assert self.mesh is not None and self.gateway is not None
        manifests = [*self._manifests, *(guest.manifest for guest in guests.values())]
        upstreams = {**self.mesh.addresses, **{name: guest.address for name, guest in guests.items()}}
        asked = {name: address.partition(",")[0] for name, address in upstreams.items()}
        # What a guest serves may be newer than what is known here.
        known = without(contracts, [guest.manifest for guest in guests.values()])
        known = with_others(known, manifests, asked, self.token(), tls)
        self.gateway.update(manifests, known, self._at_gateway.model_copy(update={"upstreams": upstreams}))
        self._reflect(known, manifests)
        self._note(f"services beside the city: {', '.join(guests) or 'none'}")

    @property
    def _reflected(self) -> Path:
        """The file with the contracts of which reflection tells."""
        return self.data / "contracts.binpb"

    def _reflect(self, contracts: bytes, manifests: Sequence[Manifest]) -> None:
        draft = self._reflected.with_suffix(".draft")
        draft.write_bytes(told_of(contracts, manifests))
        draft.rename(self._reflected)

    def _log_file(self, name: str) -> LogFile:
        log = self._settings.log
        return LogFile(self.data / name, log.file_mb, log.files_kept)

    def _say(self, what: str) -> None:
        """Tells what happens to a process, and writes it to the log with its time."""
        self._note(what)
        self._told_to(what)

    def _note(self, what: str) -> None:
        if self._said is not None:
            time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self._said.write(json.dumps({"time": time, "service": "city", "message": what}, ensure_ascii=False))

    def _rotate(self) -> None:
        """Begins the gateway's access log anew when it is full (Envoy only adds to it), and renews certificates."""
        path = self.data / "access.log"
        full = self._settings.log.file_mb * 1024 * 1024
        renewed = time.monotonic()
        while not self._stopped.wait(_LOOK_S):
            if time.monotonic() - renewed > _RENEW_S:
                renewed = time.monotonic()
                with contextlib.suppress(OSError):
                    self.renew_certificates()
            # The disk may be full, or the gateway away: try again at the next look.
            with contextlib.suppress(OSError):
                if path.stat().st_size >= full and self.gateway is not None:
                    log = self._log_file(path.name)
                    log.doRollover()
                    log.close()
                    self.gateway.reopen_logs()

    def renew_certificates(self) -> None:
        """Makes certificates anew that end soon; all processes take them up. OSError: they cannot be written."""
        if self.gateway is not None:
            self.gateway.renew_certificate()
        if self._certificates is not None:
            self._certificates.renew()

    def _lives(self) -> dict[str, object]:
        assert self.mesh is not None
        lives = [*self.mesh.lives.values(), *(self._keeper.lives.values() if self._keeper else ())]
        runs = [{**asdict(one), "services": self.mesh.services.get(one.name, ())} for one in lives]
        return {"steady_s": self._settings.processes.restarts.steady_s, "runs": runs}

    def _tell_lives(self) -> None:
        with self._telling:
            if self._told is not None:
                self._told.say(**self._lives())

    def _start_engines(self) -> dict[str, object]:
        """Starts the city's own engines, if it has some; returns the settings that name them."""
        if not self._with_engines:
            return {}
        self._engines = engines = EngineProcesses.start(self.data / "engines", say=self._say)
        kafka = self._settings.kafka.model_copy(update={"addresses": engines.kafka.address})
        cassandra = self._settings.cassandra.model_copy(update={"addresses": engines.cassandra.address})
        return {"store": DISTRIBUTED, "kafka": kafka, "cassandra": cassandra}

    def kill(self) -> None:
        """Ends mesh and gateway by SIGKILL, as a crash would."""
        assert self.mesh is not None and self._keeper is not None
        self.mesh.kill()
        self._keeper.kill()

    def start_again(self) -> None:
        """Starts mesh and gateway again, on the same files and ports."""
        assert self.mesh is not None and self._keeper is not None
        self.mesh.start()
        self._keeper.start()

    def stop(self) -> None:
        """Stops everything: each part before the parts that it calls."""
        self._stopped.set()
        if self._guests is not None:
            self._guests.stop()
            self._guests = None
        if self._rotating is not None:
            self._rotating.join()
            self._rotating = None
        if self._presence is not None:
            self._presence.leave()
            targets.withdraw(self.data, "gateway")
            self._presence = None
        with self._telling:
            if self._told is not None:
                self._told.leave()
                self._told = None
        if self._keeper is not None:
            self._keeper.stop()
        if self.mesh is not None:
            self.mesh.close()
        if self._engines is not None:
            self._engines.stop()
            self._engines = None
        if self._receiver is not None:
            self._receiver.stop()
            self._receiver = None
        if self._said is not None:
            self._note("the city is stopped")
            self._said.close()
            self._said = None
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> LocalCity:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _only_one(data: Path) -> IO[str]:
    """Locks a data folder for this process, until the file is closed or the process ends. LocalError: another city has it."""
    lock = (data / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise LocalError(f"another city runs on {data}: stop it, or give another --data") from None
    return lock
