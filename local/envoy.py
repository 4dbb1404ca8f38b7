"""Envoy as a process of ours: its configuration is checked; it is started, changed, stopped. It never outlives us."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
import time
import urllib.error
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from citybrain.gateway.configuration import LISTENER, bootstrap
from citybrain.gateway.errors import GatewayError
from citybrain.gateway.reload import apart
from citybrain.gateway.settings import GatewaySettings
from citybrain.local.certificates import certified
from citybrain.local.envoy_files import EnvoyFiles
from citybrain.local.envoy_program import ask, check, command_of, post, why_not
from citybrain.local.issuer_keys import KeyWatch, issuer_keys
from citybrain.local.spawn import tethered
from citybrain.local.supervisor import Kept
from citybrain.mesh.manifest import Manifest

_READY_S = 60.0
_STOP_S = 10.0
_PAUSE_S = 0.02


class Envoy(Kept):
    """One gateway. Its files are in `folder`: envoy.yaml, envoy.log, and the files that Envoy watches.

    For port 0 a port is chosen at the first start, and kept: after a restart callers find the gateway at the same address.
    """

    def __init__(self, manifests: Sequence[Manifest], descriptors: bytes, settings: GatewaySettings, folder: Path) -> None:
        """Makes the configuration. GatewayError: it cannot be made."""
        self._manifests = list(manifests)
        self._descriptors = descriptors
        self._settings = certified(settings)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._files = EnvoyFiles(folder, self.ask)
        self._checked = False
        # One change at a time.
        self._changing = threading.RLock()
        self._keys = KeyWatch(lambda: issuer_keys(self._settings), self._take_keys)
        self._whole()

    @property
    def settings(self) -> GatewaySettings:
        """The settings; the ports are known after the first start."""
        return self._settings

    @property
    def port(self) -> int:
        """The port for callers; 0: none was given, and it was never started."""
        return self._settings.port

    @property
    def address(self) -> str:
        """host:port for callers."""
        return f"{self._settings.host}:{self._settings.port}"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> Path:
        """Envoy's own log."""
        return self._folder / "envoy.log"

    def validate(self) -> None:
        """Lets Envoy check the configuration without starting. GatewayError, in one line: Envoy refuses it."""
        check(self._whole(), self._folder)

    def update(self, manifests: Sequence[Manifest], descriptors: bytes, settings: GatewaySettings) -> None:
        """Changes a gateway while it runs: it keeps its process, its ports and its streams.

        Returns when Envoy has taken all of it. GatewayError, in one line: it cannot be made, Envoy refuses it,
        or it has settings that only a restart takes up. Then everything stays as it was.
        """
        with self._changing:
            ports = {name: getattr(settings, name) or getattr(self._settings, name) for name in ("port", "admin_port")}
            settings = certified(settings.model_copy(update=ports))
            whole = bootstrap(manifests, descriptors, settings, issuer_keys(settings))
            check(whole, self._folder)
            if self.running:
                self._refuse_what_is_fixed(settings)
                self._files.change(apart(whole, self._folder.absolute()))
            self._manifests, self._descriptors, self._settings = list(manifests), descriptors, settings

    def renew_certificate(self) -> None:
        """Makes the gateway's own certificate anew if it ends soon; Envoy takes it up by itself."""
        certified(self._settings)

    def _whole(self, **changes: Any) -> dict[str, Any]:
        settings = self._settings.model_copy(update=changes)
        return bootstrap(self._manifests, self._descriptors, settings, issuer_keys(settings))

    def _take_keys(self) -> None:
        with self._changing:
            if self.running:
                self.update(self._manifests, self._descriptors, self._settings)

    def _refuse_what_is_fixed(self, settings: GatewaySettings) -> None:
        def fixed(**changes: Any) -> dict[str, Any]:
            return apart(self._whole(**changes), self._folder.absolute()).bootstrap

        own = fixed()
        found = [
            f"gateway.{name}"
            for name in GatewaySettings.model_fields
            if getattr(settings, name) != getattr(self._settings, name) and name not in ("upstreams", "system_upstream")
            if fixed(**{name: getattr(settings, name)}) != own
        ]
        if found:
            names = ", ".join(found)
            raise GatewayError(f"these settings are taken up only when the gateway starts, and all stays as it was: {names}")

    @override
    def start(self) -> str:
        """Starts and waits until calls are taken; returns host:port. GatewayError, in one line: it could not start."""
        with self._changing:
            return self._start()

    def _start(self) -> str:
        if self.running:
            return self.address
        self._admin_file.unlink(missing_ok=True)
        whole = self._whole()
        if not self._checked:
            # What stands in watched files would not end an Envoy that starts; it would never be ready.
            check(whole, self._folder)
            self._checked = True
        configuration = self._files.begin(apart(whole, self._folder.absolute()))
        command = [*command_of(configuration), "--admin-address-path", str(self._admin_file)]
        command += ["--drain-strategy", "immediate", "--file-flush-interval-msec", "500", "--log-level", "warning"]
        with self.log.open("wb") as log:
            try:
                self._process = tethered(command, log.fileno(), signal.SIGTERM)
            except OSError as error:
                raise GatewayError(f"Envoy cannot be started: {error}") from error
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        self._keys.start(issuer_keys(self._settings))
        return self.address

    @override
    def stop(self) -> None:
        """Takes no new connections, lets calls end, and ends it; kills it if it does not end in time."""
        self._keys.stop()
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            # It may hang, or not be ready yet.
            with contextlib.suppress(OSError, ValueError):
                self._drain()
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()

    @override
    def kill(self) -> None:
        """Ends it at once, as a crash would (SIGKILL)."""
        self._keys.stop()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    @override
    def answers(self, timeout_s: float) -> bool:
        """Asks its admin interface. Any status counts as an answer."""
        try:
            self.ask("/ready", timeout_s)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return not self.running
        return True

    @override
    def wait(self) -> str:
        """Waits for its end; says how it ended."""
        process = self._process
        if process is None:
            return "does not run"
        code = process.wait()
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else self._why_not(code)

    def restart(self) -> str:
        """Stops it if it runs, and starts it again on the same ports."""
        self.stop()
        return self.start()

    def ask(self, path: str, timeout_s: float = 5.0) -> str:
        """The admin interface's answer to a GET, e.g. `/stats?format=json&filter=grpc`. OSError: there is no answer."""
        return ask(self._settings.admin_port, path, timeout_s)

    def _drain(self) -> None:
        # Each answer from now on tells its caller to connect anew.
        post(self._settings.admin_port, "/healthcheck/fail")
        post(self._settings.admin_port, "/drain_listeners")
        end = time.monotonic() + self._settings.drain_s
        while self._files.calls_under_way() and time.monotonic() < end:
            time.sleep(_PAUSE_S)

    def reopen_logs(self) -> None:
        """Makes it open its access log again, as a new file. OSError: it does not answer."""
        post(self._settings.admin_port, "/reopen_logs")

    def __enter__(self) -> Self:
        """Starts."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops."""
        self.stop()

    # -- files ----------------------------------------------------------------------------------------------------------

    @property
    def _admin_file(self) -> Path:
        return self._folder / "envoy.admin"

    # -- start ----------------------------------------------------------------------------------------------------------

    def _wait_until_ready(self) -> None:
        process = self._process
        assert process is not None
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            if process.poll() is not None:
                raise GatewayError(self._why_not(process.returncode))
            if self._is_ready():
                return
            time.sleep(_PAUSE_S)
        raise GatewayError(f"Envoy was not ready after {_READY_S:g} s: see {self.log}")

    def _is_ready(self) -> bool:
        try:
            if not self._learn_admin_port() or self.ask("/ready").strip() != "LIVE":
                return False
            return self._learn_port()
        except (OSError, urllib.error.URLError, ValueError):
            return False

    def _learn_admin_port(self) -> bool:
        text = self._admin_file.read_text(encoding="utf-8") if self._admin_file.is_file() else ""
        _, _, port = text.strip().rpartition(":")
        if not port:
            return False
        self._settings = self._settings.model_copy(update={"admin_port": int(port)})
        return True

    def _learn_port(self) -> bool:
        for listener in json.loads(self.ask("/listeners?format=json")).get("listener_statuses", []):
            if listener["name"] == LISTENER:
                port = int(listener["local_address"]["socket_address"]["port_value"])
                self._settings = self._settings.model_copy(update={"port": port})
                return True
        return False

    def _why_not(self, code: int) -> str:
        return why_not(code, self.log.read_text(encoding="utf-8", errors="replace"))
