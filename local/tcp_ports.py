"""Free ports, and how one is kept for an engine until the engine listens there itself."""

from __future__ import annotations

import errno
import random
import socket

from citybrain.local.errors import EngineError

HOST = "127.0.0.1"
"""The address on which engines listen: other machines cannot reach them."""

# Below the ports that Linux gives to outgoing connections: so none of them is given away between our choice and its use.
_FREE_PORTS = range(15_000, 32_000)


def is_taken(port: int) -> bool:
    """Whether a program listens on a port."""
    with socket.socket() as tried:
        # As servers do: a connection that has just ended does not matter.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def keep_free_port() -> socket.socket:
    """A socket bound to a free port. An engine can still listen there, and no other call of this function gets the port."""
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
