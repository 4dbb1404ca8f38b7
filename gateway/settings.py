"""The settings of a gateway: where it listens, where the services answer, and its limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator

from citybrain.mesh.settings.values import Section, Settings, value

_ADDRESS = r"^[A-Za-z0-9._-]+:[0-9]{1,5}$"


class Gateway(Section):
    """The section of the configuration for a gateway."""

    host: str = value("127.0.0.1", "Address that the gateway listens on.")
    port: int = value(8080, "Port that the gateway listens on; 0 takes any free one.", ge=0, le=65535)
    admin_port: int = value(0, "Port of Envoy's own pages, only ever on 127.0.0.1; 0 takes any free one.", ge=0, le=65535)
    reflection: bool = value(True, "Callers may ask which services there are; `city call` needs it.")
    pages: bool = value(True, "The pages of the API at /docs/, which need no token; they show what is open, and no data.")
    deadline_s: float = value(30.0, "The longest a unary call may take; a caller may ask for less.", gt=0, le=3600)
    arrival_s: float = value(30.0, "The longest a request may take to arrive, from its first byte to its last.", ge=0.1, le=600)
    headers_s: float = value(10.0, "The longest its headers may take.", ge=0.1, le=600)
    connect_timeout_s: float = value(1.0, "How long a connection to a service may take to open.", gt=0, le=60)
    health_checks: bool = value(False, "Ask each service by grpc.health.v1 whether it serves.")
    max_request_bytes: int = value(4 * 1024 * 1024, "Largest body of a request, in every protocol, in bytes.", ge=1024)
    max_response_bytes: int = value(16 * 1024 * 1024, "Largest body of the answer to a JSON call.", ge=1024)
    max_connections: int = value(4096, "Connections that may be open at once.", ge=1)
    max_streams_per_connection: int = value(100, "Calls that one HTTP/2 connection may have open.", ge=1)
    max_heap_bytes: int = value(512 * 1024 * 1024, "Memory from which on Envoy refuses calls.", ge=64 * 1024 * 1024)
    cors_origins: tuple[str, ...] = value((), "Origins whose pages may call from a browser, e.g. https://city.example.")

    def refusals(self, settings: Settings) -> Iterator[tuple[str, str]]:
        """What production refuses, as pairs (key, reason and what to do)."""
        yield from settings.without_tls("gateway.host", self.host)


class GatewaySettings(Gateway):
    """Settings of one gateway: its section, and what its city adds. Ports that are 0 are chosen when Envoy starts."""

    # The address of each service, by its manifest's name: host:port.
    upstreams: dict[str, str]
    # The address of gRPC health, reflection and the clock: host:port. None: the first of the upstreams.
    system_upstream: str | None = Field(default=None, pattern=_ADDRESS)
    port: int = Field(default=0, ge=0, le=65535)
    # Several processes listen at one address: then there are many connections, so that each process gets its share.
    spread: bool = False
    # City time is driven from outside: then the clock can be called.
    driven: bool = False
    # OTLP/gRPC receiver of Envoy's spans, http://host:port or host:port. None: no spans.
    otlp_endpoint: str | None = None
    # The file of the access log. None: no access log.
    access_log: Path | None = None

    @field_validator("upstreams")
    @classmethod
    def _addresses(cls, upstreams: dict[str, str]) -> dict[str, str]:
        for name, address in upstreams.items():
            split(address, f"upstream of {name}")
        return upstreams

    @field_validator("otlp_endpoint")
    @classmethod
    def _endpoint(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        address = endpoint.removeprefix("http://").rstrip("/")
        split(address, "otlp_endpoint")
        return address


def split(address: str, what: str = "address") -> tuple[str, int]:
    """The parts of host:port. ValueError says what is wrong with the address."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{what}: {address!r} must be host:port, e.g. 127.0.0.1:7100")
    return host, int(port)
