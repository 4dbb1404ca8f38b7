"""Simulations as processes: each prints what happens as JSON lines, and ends when this process ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from citybrain.local.problems import Problem

Said = Callable[[dict[str, Any]], None]


class SimulationError(Problem):
    """A simulation ended with an error; the message is its own one line."""


class Crashed(SimulationError):
    """SUMO crashed: it refused nothing, and nobody stopped it."""


_FAULTS = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


class Simulation:
    """One run of `python -m citybrain.simulation`."""

    def __init__(self, arguments: list[str], log: Path, said: Said, environment: Mapping[str, str] | None = None) -> None:
        self.variant = arguments[0]
        self._said = said
        self._log = log
        self.result: dict[str, Any] | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "citybrain.simulation", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w", encoding="utf-8"),
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True, name=f"read-{arguments[0]}")
        self._reader.start()

    def tell(self, line: dict[str, Any]) -> None:
        """Writes one JSON line to its standard input. Nothing happens where it has ended already."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def no_more(self) -> None:
        """Closes its input."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def wait(self) -> dict[str, Any]:
        """Its result; SimulationError where it ended without one."""
        self._process.wait()
        self._reader.join()
        if self.result is None:
            lines = self._log.read_text(encoding="utf-8").strip().splitlines()
            code = self._process.returncode
            if -code in _FAULTS:
                raise Crashed(f"SUMO itself crashed (signal {-code}) in the {self.variant} drive: another --seed may avoid it")
            if code < 0:
                raise SimulationError(
                    f"the {self.variant} drive was ended from outside (signal {-code}): see what else runs here"
                )
            raise SimulationError(lines[-1] if lines else f"the {self.variant} drive ended with code {code}")
        return self.result

    def stop(self) -> None:
        """Ends it."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            if line.get("kind") == "result":
                self.result = line
            self._said(line)
