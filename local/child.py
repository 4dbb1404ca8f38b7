"""A mesh process as a child of this one: started, asked to stop, killed, started again on the same files and port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from typing_extensions import override

from citybrain.local.calling import channel, tls_at, token_here
from citybrain.local.supervisor import Kept
from citybrain.mesh.operations.presence import present
from citybrain.mesh.settings import configuration
from citybrain.mesh.settings.values import Settings

_STOP_LIMIT_S = 30.0
"""How long stopping may take, besides the wait for calls."""


class ChildError(Exception):
    """A child process did not start; the message has its last words."""


class MeshChild(Kept):
    """`python -m citybrain.mesh.startup.serve` with some arguments. Its log goes to `<data>/<name>.log`.

    `settings`: it gets these in a file, and no variable of this process's configuration. None: it finds its own.
    """

    def __init__(
        self,
        data: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        name: str = "mesh",
    ) -> None:
        self._data = data
        self._name = name
        self.log_path = data / f"{name}.log"
        self._arguments = list(arguments)
        self._environment = {**os.environ, **(environment or {})}
        self._settings = settings
        if settings is not None:
            self._environment = {
                name: text for name, text in self._environment.items() if not name.startswith(configuration.PREFIX)
            }
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    @override
    def start(self) -> str:
        """Starts it and waits until it answers; returns host:port. The port stays the same from then on."""
        port = self.address.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "citybrain.mesh.startup.serve", "--data", str(self._data), "--port", port]
        command += ["--log", str(self.log_path), "--tethered", *self._arguments]
        self._data.mkdir(parents=True, exist_ok=True)
        if self._settings is not None:
            file = self._data / ("settings.yaml" if self._name == "mesh" else f"settings-{self._name}.yaml")
            configuration.write(self._settings, file)
            command += ["--config", str(file)]
        with self.log_path.open("a", encoding="utf-8") as log:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=self._environment)
        assert self._process.stdout is not None
        limit_s = (self._settings or Settings()).processes.restarts.start_s
        process, was_late = self._process, threading.Event()

        def end() -> None:
            was_late.set()
            process.kill()

        late = threading.Timer(limit_s, end)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            self.stop()
            if was_late.is_set():
                raise ChildError(f"it had not started after {limit_s:g} s, and was ended: {self.log_path} may say why")
            raise ChildError(_last_word(self.log_path.read_text(encoding="utf-8")))
        self.address = str(json.loads(line)["ready"])
        return self.address

    def channel(self) -> grpc.Channel:
        """A channel to it, whose calls carry the installation's own token."""
        settings = self._settings or Settings(data=self._data)
        return channel(self.address, token_here(settings), tls=tls_at(self.address, settings))

    @property
    def pid(self) -> int:
        """Its process id; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @override
    def answers(self, timeout_s: float) -> bool:
        """Asks for its health, at the address where only this process answers. Any status counts as an answer."""
        pid = self.pid
        own = next((one.said["address"] for one in present(self._data) if pid and one.said["pid"] == pid), "")
        if not own:
            return True
        # Health needs no token.
        with channel(own, "", tls=tls_at(own, Settings(data=self._data))) as opened:
            try:
                HealthStub(opened).Check(HealthCheckRequest(), timeout=timeout_s)
            except grpc.RpcError as error:
                return error.code() not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
        return True

    @override
    def wait(self) -> str:
        """Waits for its end; says how it ended, with its last words."""
        process = self._process
        if process is None:
            return "does not run"
        code = process.wait()
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with code {code}: {_last_word(self.log_path.read_text(encoding='utf-8', errors='replace'))}"

    @override
    def kill(self) -> None:
        """Ends it by SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    @override
    def stop(self) -> int:
        """Asks it to stop and waits; returns its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(_STOP_LIMIT_S + (self._settings or Settings()).drain_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None
        return process.returncode

    def __enter__(self) -> MeshChild:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _last_word(log: str) -> str:
    """The last message: an error of several lines is indented from its second line on, so it begins at the last full line."""
    lines = log.rstrip().splitlines()
    start = next((number for number in range(len(lines) - 1, -1, -1) if not lines[number].startswith("  ")), 0)
    return "\n".join(lines[start:]).removeprefix("city: ") or "the mesh process ended, and wrote nothing"
