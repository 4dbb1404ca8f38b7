"""Channels for tests, with a token of the installation on whose data folder something runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc

from citybrain.local.calling import channel as with_token
from citybrain.local.calling import tls_at
from citybrain.mesh.access.installation import caller_token, open_access, open_ring
from citybrain.mesh.settings.values import Settings


class Process(Protocol):
    """A process of the mesh with a data folder of its own, e.g. a MeshChild."""

    address: str
    log_path: Path


def token(data: Path, subject: str = "test", **claims: Any) -> str:
    """A token of a caller outside of the mesh; without more, one who may do everything."""
    settings = Settings(data=data)
    return caller_token(settings, open_ring(settings), subject=subject, **claims)


def bearer(data: Path, subject: str = "test", **claims: Any) -> tuple[str, str]:
    """The header that carries such a token."""
    return "authorization", f"Bearer {token(data, subject, **claims)}"


def service_bearer(data: Path, service: str, behalf: str = "", scopes: Sequence[str] = ("*",)) -> tuple[str, str]:
    """The header of a service of the mesh that calls, for somebody or for itself."""
    access = open_access(Settings(data=data))
    access.tokens.grant(service, scopes)
    return "authorization", f"Bearer {access.tokens.token(service, behalf)}"


def channel(address: str, data: Path, options: Sequence[tuple[str, Any]] = (), **claims: Any) -> grpc.Channel:
    """A channel to host:port, for the installation in a data folder."""
    return with_token(address, token(data, **claims), options, tls_at(address, Settings(data=data)))


def calling(process: Process, **claims: Any) -> grpc.Channel:
    """A channel to a process of the mesh."""
    return channel(process.address, process.log_path.parent, **claims)
