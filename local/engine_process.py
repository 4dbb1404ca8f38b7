"""An engine as a process: started and waited for, stopped, killed, paused. Any process can find it by its folder.

The engine itself locks the file `engine.pid` as long as it lives, and the kernel frees the lock at its end. So the file never
names another program, and two engines never share a folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from citybrain.local.errors import EngineError
from citybrain.local.jars import class_path
from citybrain.local.java import java
from citybrain.local.spawn import detached, tethered
from citybrain.local.tcp_ports import HOST, is_taken, keep_free_port

READY_LIMIT_S = 120.0
_STOP_LIMIT_S = 60.0
_PAUSE_S = 0.05
_TAIL_LINES = 12
_MIN_FREE_BYTES = 300_000_000


def silent(_line: str) -> None:
    """For `say`: tells nobody."""


class EngineProcess:
    """One engine in a folder of its own. Port 0: the port it had there before, or a free one."""

    name = ""
    # Names of more ports that it listens on, besides the port for clients.
    inner_ports: tuple[str, ...] = ()

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder.absolute()
        self._asked = port
        self._process: subprocess.Popen[bytes] | None = None
        # Sockets bound to the chosen ports, until the engine listens there itself.
        self._kept: list[socket.socket] = []

    # -- what each engine implements --------------------------------------------------------------------------------------

    def prepare(self, ports: Mapping[str, int], classes: str) -> list[str]:
        """Writes its files; returns the words after `java`: options, class, arguments."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether it answers its clients. OSError: nobody listens."""
        raise NotImplementedError

    # -- where it is --------------------------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port for clients; 0: none was given, and it was never started."""
        return self._ports().get("port", 0)

    @property
    def address(self) -> str:
        """host:port for clients."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """Its log file. Older lines are in files beside it."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The id of its process, whoever started it; 0: it does not run."""
        try:
            with self._pid_file.open(encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return int(file.read() or 0)
        except FileNotFoundError:
            pass
        return 0

    @property
    def running(self) -> bool:
        """Whether it runs, whoever started it."""
        return self.pid != 0

    @property
    def healthy(self) -> bool:
        """Whether it runs and answers."""
        try:
            return self.running and self.is_ready()
        except OSError:
            return False

    @property
    def memory_bytes(self) -> int:
        """The memory it uses; 0: it does not run."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except OSError:
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    # -- life ---------------------------------------------------------------------------------------------------------------

    def start(self, *, stays: bool = False, say: Callable[[str], None] = silent) -> None:
        """Starts it and waits until it answers. It ends when this process ends, however that ends, unless it `stays`."""
        self.launch(stays=stays, say=say)
        self.wait()

    def launch(self, *, stays: bool = False, say: Callable[[str], None] = silent) -> None:
        """Starts it, if it does not run. `wait()` waits until it answers. EngineError: it cannot be started."""
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < _MIN_FREE_BYTES:
            needs = f"{self.name} needs {_MIN_FREE_BYTES >> 20} MB to begin with"
            raise EngineError(f"{needs}, and {free >> 20} MB are free in {self.folder}: make room, or give another folder")
        classes = class_path(self.name, say)
        crashes = [f"-XX:ErrorFile={self._crash_report}", "-XX:-CreateCoredumpOnCrash"]
        command = [java(), *crashes, *self.prepare(self._choose_ports(), classes)]
        with self._pid_file.open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EngineError(f"{self.name} is being started in {self.folder} by somebody else: wait for it") from None
            file.truncate(0)
            with self._output.open("wb") as output:
                start = (
                    detached(command, output.fileno(), file.fileno())
                    if stays
                    else tethered(command, output.fileno(), signal.SIGKILL, file.fileno())
                )
        self._process = start

    def wait(self) -> None:
        """Waits until it answers. EngineError, with its last words: it ended first, or took too long."""
        try:
            self._until_healthy()
        finally:
            self._release()

    def _until_healthy(self) -> None:
        until = time.monotonic() + READY_LIMIT_S
        while not self.healthy:
            if self._process is not None and self._process.poll() is not None:
                raise EngineError(f"{self.name} ended while it started, with code {self._process.returncode}: {self._reason()}")
            if time.monotonic() > until:
                self.kill()
                raise EngineError(f"{self.name} did not answer within {READY_LIMIT_S:g} s: {self._reason()}")
            time.sleep(_PAUSE_S)

    def stop(self) -> None:
        """Asks it to end and waits; kills it if it does not end in time."""
        # A paused process does not react, so it must go on first.
        self.resume()
        if not self._end(signal.SIGTERM, _STOP_LIMIT_S):
            self.kill()

    def kill(self) -> None:
        """Ends it at once by SIGKILL, as a crash would."""
        self._end(signal.SIGKILL, _STOP_LIMIT_S)

    def restart(self) -> None:
        """Stops it, and starts it again with the same data and ports."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Stops it in its work (SIGSTOP) until `resume()`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self._signal(signal.SIGCONT)

    def tail(self, lines: int = _TAIL_LINES) -> list[str]:
        """The last lines that it has written."""
        said: deque[str] = deque(maxlen=lines)
        for path in (self.log, self._output):
            if path.is_file():
                with path.open(encoding="utf-8", errors="replace") as file:
                    said.extend(line.rstrip() for line in file if line.strip())
        return list(said)

    # -- within ---------------------------------------------------------------------------------------------------------------

    @property
    def _pid_file(self) -> Path:
        return self.folder / "engine.pid"

    @property
    def _output(self) -> Path:
        return self.folder / f"{self.name}.out"

    @property
    def _crash_report(self) -> Path:
        """The file that Java writes if it crashes; without this option it would be in the working folder.

        E.g. Cassandra's Java crashes if the disk has no room for a mapped file.
        """
        return self.folder / f"{self.name}-crash.log"

    def _fresh(self, name: str) -> Path:
        """An empty folder: files that a killed engine left there are removed."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _signal(self, number: signal.Signals) -> int:
        pid = self.pid
        if pid:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return 0
        return pid

    def _end(self, number: signal.Signals, limit_s: float) -> bool:
        pid = self.pid
        if not pid:
            return True
        try:
            # A handle on exactly this process: it may end, and its id be given to another process, before the signal.
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            if self.pid == pid:
                signal.pidfd_send_signal(handle, number)
            ended, _, _ = select.select([handle], [], [], limit_s)
        finally:
            os.close(handle)
        if ended and self._process is not None:
            self._process.wait()
        return bool(ended)

    def _ports(self) -> dict[str, int]:
        try:
            ports: dict[str, int] = json.loads((self.folder / "ports.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            ports = {}
        return {**ports, **({"port": self._asked} if self._asked else {})}

    def _choose_ports(self) -> dict[str, int]:
        known = self._ports()
        ports: dict[str, int] = {}
        for name in ("port", *self.inner_ports):
            if name in known and not (name != "port" and is_taken(known[name])):
                ports[name] = known[name]
            else:
                kept = keep_free_port()
                ports[name] = kept.getsockname()[1]
                self._kept.append(kept)
                if sys.platform != "linux":
                    # On other systems nobody can listen on a port to which another socket is bound.
                    self._release()
        if is_taken(ports["port"]):
            raise EngineError(
                f"{self.name}: port {ports['port']} on {HOST} is in use: stop what uses it, or choose another port"
            )
        (self.folder / "ports.json").write_text(json.dumps(ports), encoding="utf-8")
        return ports

    def _release(self) -> None:
        while self._kept:
            self._kept.pop().close()

    def _reason(self) -> str:
        said = self.tail()
        return "\n  ".join([f"see {self.log}; its last lines are", *said]) if said else "it said nothing"


def ask(port: int, request: bytes, length: int) -> bytes:
    """The first `length` bytes of a server's answer to a request. OSError: there is no answer."""
    with socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(request)
        answer = b""
        while len(answer) < length:
            part = connection.recv(length - len(answer))
            if not part:
                raise ConnectionResetError(f"port {port} closed the connection")
            answer += part
        return answer
