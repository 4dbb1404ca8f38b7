"""How a gateway runs: where it listens, where the services answer, what it limits."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

_ADDRESS = r"^[A-Za-z0-9._-]+:[0-9]{1,5}$"


class GatewaySettings(BaseModel):
    """Settings of one gateway. Ports that are 0 are chosen by the system when Envoy starts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Where each service answers, by its manifest's name: host:port.
    upstreams: dict[str, str]
    # Where gRPC health and reflection answer, and the clock: host:port. None: the first of the upstreams.
    system_upstream: str | None = Field(default=None, pattern=_ADDRESS)
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    # Only ever on 127.0.0.1: who reaches it can stop the gateway.
    admin_port: int = Field(default=0, ge=0, le=65535)
    # City time is driven from outside: the clock can be called.
    driven: bool = False
    # Callers may ask which services there are.
    reflection: bool = True
    # OTLP/gRPC receiver of Envoy's spans, http://host:port or host:port. None: no spans.
    otlp_endpoint: str | None = None
    # One JSON object a call. None: no access log.
    access_log: Path | None = None
    # The longest a unary call may take; a caller may ask for less.
    deadline_s: float = Field(default=30.0, gt=0, le=3600)
    connect_timeout_s: float = Field(default=1.0, gt=0, le=60)
    # Ask each upstream by grpc.health.v1 whether it serves.
    health_checks: bool = False
    # Largest body of a JSON call, and of its answer.
    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    max_response_bytes: int = Field(default=16 * 1024 * 1024, ge=1024)
    max_connections: int = Field(default=4096, ge=1)
    # Calls that one HTTP/2 connection may have open.
    max_streams_per_connection: int = Field(default=100, ge=1)
    max_heap_bytes: int = Field(default=512 * 1024 * 1024, ge=64 * 1024 * 1024)
    # Origins whose pages may call from a browser, e.g. https://city.example.
    cors_origins: tuple[str, ...] = ()

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
    """host:port in its parts; ValueError that says what is wrong with it."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{what}: {address!r} must be host:port, e.g. 127.0.0.1:7100")
    return host, int(port)
