"""A mesh process as a child of this one: started, asked to stop, killed, started again on the same files and port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

_STOP_LIMIT_S = 20.0


class ChildError(Exception):
    """A child process did not start; the message is what it said last."""


class MeshChild:
    """`python -m citybrain.mesh.serve` with some arguments. Its log goes to `<data>/mesh.log`."""

    def __init__(self, data: Path, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self._data = data
        self._arguments = list(arguments)
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> str:
        """Starts it and waits until it answers; returns host:port. The port stays the same from then on."""
        port = self.address.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "citybrain.mesh.serve", "--data", str(self._data), "--port", port]
        command += ["--tethered", *self._arguments]
        self._data.mkdir(parents=True, exist_ok=True)
        self.log_path = self._data / "mesh.log"
        with self.log_path.open("a", encoding="utf-8") as log:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True, env=self._environment)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            last = self.log_path.read_text(encoding="utf-8").strip().splitlines()[-1:]
            raise ChildError(last[0].removeprefix("city: ") if last else "the mesh process ended without a word")
        self.address = str(json.loads(line)["ready"])
        return self.address

    @property
    def pid(self) -> int:
        """Its process id; 0 when it does not run."""
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self._end(signal.SIGKILL)

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
                process.wait(_STOP_LIMIT_S)
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
