"""Channels whose calls carry a token, and where the token of this machine's operator comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import grpc
from typing_extensions import override

from citybrain.local.problems import Problem
from citybrain.mesh.access.certificates import CHANNEL_OPTIONS, CertificateError, OwnCertificate
from citybrain.mesh.access.installation import caller_token, keys_folder, open_ring
from citybrain.mesh.operations.presence import present
from citybrain.mesh.settings.values import Settings, Tls

TOKEN_VARIABLE = "CITY_TOKEN"  # noqa: S105
"""A token for the commands of `city`, in place of one they would make themselves."""


def token_here(settings: Settings) -> str:
    """The token with which commands on this machine call: the one in CITY_TOKEN, or else the installation's own.

    Problem: there is neither.
    """
    if given := os.environ.get(TOKEN_VARIABLE, "").strip():
        return given
    if not keys_folder(settings).is_dir():
        raise Problem(
            f"there is no token: {keys_folder(settings)} is missing, which `city up` makes. Name the --data of the city, or "
            f"put a token into {TOKEN_VARIABLE}"
        )
    return caller_token(settings, open_ring(settings))


PLAIN = Tls()
"""No certificate: calls in plain text."""


def tls_at(address: str, settings: Settings, otherwise: Tls = PLAIN) -> Tls:
    """The files with which to call what answers at host:port.

    A process on the data folder has told them, and a gateway that it has none. Peers have those of the settings. `otherwise`:
    those for an address that neither knows.
    """
    for one in present(settings.data):
        if one.runs and address in (one.said["address"], one.said.get("serves")):
            return Tls(**one.said.get("tls", {}))
    return settings.tls if address in settings.peers.values() else otherwise


def channel(
    address: str, token: str | Callable[[], str], options: Sequence[tuple[str, Any]] = (), tls: Tls = PLAIN
) -> grpc.Channel:
    """A channel to host:port. `token`: goes with every call; a function is asked anew for each; empty: none.

    Problem: `tls` names files that cannot be used.
    """
    ask = token if callable(token) else lambda: token
    if not tls.given:
        return grpc.intercept_channel(grpc.insecure_channel(address, options=list(options)), _Bearer(ask))
    try:
        files = OwnCertificate(tls, serves=False).current()
    except CertificateError as error:
        raise Problem(str(error)) from None
    opened = grpc.secure_channel(address, files.for_channels(), options=[*options, *CHANNEL_OPTIONS])
    return grpc.intercept_channel(opened, _Bearer(ask))


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Adds the token to every call of a channel."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    def _go_on(self, continuation: Any, details: Any, request: Any) -> Any:
        token = self._token()
        metadata = [*(details.metadata or ()), *([("authorization", f"Bearer {token}")] if token else [])]
        changed = SimpleNamespace(
            method=details.method, timeout=details.timeout, metadata=metadata, credentials=details.credentials,
            wait_for_ready=details.wait_for_ready, compression=details.compression,
        )  # fmt: skip
        return continuation(changed, request)

    @override
    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._go_on(continuation, client_call_details, request)

    @override
    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return self._go_on(continuation, client_call_details, request)

    @override
    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._go_on(continuation, client_call_details, request_iterator)

    @override
    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return self._go_on(continuation, client_call_details, request_iterator)
