"""Runs the `city` command for tests: loads it once, and is forked for each command that comes.

`python city_forks.py DESCRIPTOR`: of a socket. A request is JSON (`arguments`, `folder`, `environment`) with four descriptors.
Three are for standard input, output and error. The last is of a socket that is told the id of the command's process, and how
that ended (as `waitpid` has it).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

# What commands load when they begin.
PRELOADED = (
    "cli.asking", "cli.catalogue", "cli.doctor", "cli.groups", "cli.main", "cli.personal", "cli.recording", "cli.status",
    "local.city", "local.reflection", "mesh.audit.reading", "mesh.audit.verifying", "mesh.startup.serve", "mesh.storage.backup",
    "observability.trace_tree",
)  # fmt: skip
LARGEST = 1 << 17


def commands(link: socket.socket) -> list[str] | None:
    """In a fork: the arguments of the command that it is to run. In the first process: None, when nobody asks any more."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, LARGEST, 4)
        if not message:
            return None
        # Between this process and the command is one that waits for its end: several may run at a time.
        if os.fork() == 0:
            link.close()
            *streams, told = descriptors
            command = os.fork()
            if command:
                with socket.socket(fileno=told) as teller:
                    teller.send(str(command).encode())
                    teller.send(str(os.waitpid(command, 0)[1]).encode())
                os._exit(0)
            os.close(told)
            return _begun(json.loads(message), streams)
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _begun(asked: Any, streams: list[int]) -> list[str]:
    """Makes this process what the command finds; returns its arguments."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    # As Python does when it begins: a test may bring a package there.
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return list(asked["arguments"])


def serve() -> None:
    """Answers until the other side is gone."""
    # As it is for the command that is installed.
    sys.path[0] = os.path.dirname(sys.executable)  # noqa: PTH120
    for name in PRELOADED:
        importlib.import_module(f"citybrain.{name}")
    # What is loaded stays: a fork that looked through it for garbage would copy it.
    gc.freeze()
    link = socket.socket(fileno=int(sys.argv[1]))
    # Ctrl-C is for the tests, and for the command that runs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = commands(link)
    if arguments is not None:
        from citybrain.cli.main import main

        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["city", *arguments]
        sys.exit(main())  # type: ignore[func-returns-value]


if __name__ == "__main__":
    serve()
