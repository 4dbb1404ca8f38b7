"""Starts a program that ends when this process ends, or one that outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from citybrain.mesh.personal.secret_files import OWN_FILES

_TETHER = Path(__file__).with_name("tether.py")


def tethered(command: Sequence[str], log: int, end: signal.Signals, pid_file: int = -1) -> subprocess.Popen[bytes]:
    """Starts a program that gets the signal `end` when this process ends.

    `log`: descriptor of the file for its output. `pid_file`: descriptor of a file that gets the program's id, and stays open
    in the program; -1: none.
    """
    started: list[subprocess.Popen[bytes] | OSError] = []
    is_started = threading.Event()

    # Started in a thread that lives as long as the program: for Linux this thread is the parent whose end sends the signal.
    def run() -> None:
        try:
            process = _start(os.getpid(), end, command, log, pid_file, session=False)
        except OSError as error:
            started.append(error)
            is_started.set()
            return
        started.append(process)
        is_started.set()
        process.wait()

    threading.Thread(target=run, name="tether", daemon=True).start()
    is_started.wait()
    first = started[0]
    if isinstance(first, OSError):
        raise first
    return first


def detached(command: Sequence[str], log: int, pid_file: int) -> subprocess.Popen[bytes]:
    """Starts a program that outlives this process. `pid_file`: see tethered."""
    return _start(0, signal.SIGTERM, command, log, pid_file, session=True)


def _start(
    parent: int, end: signal.Signals, command: Sequence[str], log: int, pid_file: int, *, session: bool
) -> subprocess.Popen[bytes]:
    tether = [sys.executable, "-I", "-S", str(_TETHER), str(parent), str(int(end)), str(pid_file)]
    return subprocess.Popen(
        [*tether, *command],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=session, umask=OWN_FILES,
        pass_fds=() if pid_file < 0 else (pid_file,),
    )  # fmt: skip
