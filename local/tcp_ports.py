"""Ports that nobody uses, and how one is kept for an engine until it listens there itself."""

from __future__ import annotations

import errno
import random
import socket

from citybrain.local.errors import EngineError

HOST = "127.0.0.1"
"""Where engines listen: nobody else can ask them."""

# Below those that Linux gives to outgoing connections, so that nobody is given one between our choice and its use.
_FREE_PORTS = range(15_000, 32_000)


def is_taken(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as tried:
        # As servers do: a connection that just ended is in nobody's way.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def keep_free_port() -> socket.socket:
    """Bound to a free port, for an engine that listens there as servers do; nobody who chooses like this chooses it too."""
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        kept = socket.socket()
        try:
            kept.bind((HOST, port))
        except OSError:
            kept.close()
            continue
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return kept
    raise EngineError("no port is free on this machine: stop what uses them")
