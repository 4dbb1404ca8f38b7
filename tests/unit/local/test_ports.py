"""Ports for engines: free when they are chosen, and still free when the engine comes to listen."""

from __future__ import annotations

import errno
import socket

import pytest

from citybrain.local.tcp_ports import HOST, is_taken, keep_free_port


def test_a_port_that_is_kept_is_chosen_by_nobody_else_and_the_engine_can_listen_on_it() -> None:
    with keep_free_port() as kept:
        port: int = kept.getsockname()[1]
        assert not is_taken(port)
        with socket.socket() as other, pytest.raises(OSError) as refused:
            other.bind((HOST, port))
        assert refused.value.errno == errno.EADDRINUSE
        with socket.create_server((HOST, port)):
            assert is_taken(port)
