"""The `city` command as people meet it: in a process of its own, with what it says."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

CITY = str(Path(sys.executable).parent / "city")
LIMIT_S = 60
FORKS = Path(__file__).with_name("city_forks.py")


def environment() -> dict[str, str]:
    """That of the tests, without what configures a city."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("CITY_", "OTEL_"))}
    return {**kept, "COLUMNS": "160", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}


def run(
    folder: Path, *arguments: str, limit_s: float = LIMIT_S, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end. `more`: variables of its environment.

    The process is forked from one that has loaded the command: to load it takes longer than most of them run.
    """
    return _loaded().run(folder, arguments, {**environment(), **(more or {})}, limit_s)


def refused(folder: Path, *arguments: str, lines: int = 1) -> str:
    """What it says on standard error; fails unless that is one line, and the exit status 2."""
    done = run(folder, *arguments)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == lines, done.stderr
    assert done.stderr.startswith("city: ")
    return done.stderr


class _Loaded:
    """The process that has loaded the command. It ends when this one does."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(FORKS), str(theirs.fileno())]
        self._process = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        theirs.close()
        atexit.register(self._end)

    def _end(self) -> None:
        self._link.close()
        self._process.wait(LIMIT_S)

    def run(
        self, folder: Path, arguments: tuple[str, ...], variables: dict[str, str], limit_s: float
    ) -> subprocess.CompletedProcess[str]:
        request = json.dumps({"arguments": arguments, "folder": str(folder), "environment": variables}).encode()
        heard, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with heard, Path(os.devnull).open() as nothing, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            with told:
                socket.send_fds(self._link, [request], [nothing.fileno(), out.fileno(), errors.fileno(), told.fileno()])
            heard.settimeout(LIMIT_S)
            process = int(heard.recv(64))
            heard.settimeout(limit_s)
            try:
                ended = int(heard.recv(64))
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["city", *arguments], limit_s) from None
            said = []
            for file in (out, errors):
                file.seek(0)
                said.append(file.read().decode())
        return subprocess.CompletedProcess(["city", *arguments], os.waitstatus_to_exitcode(ended), *said)


@cache
def _loaded() -> _Loaded:
    return _Loaded()
