"""The settings of a gateway: where it listens, where the services answer, and its limits."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator, model_validator

from citybrain.mesh.settings.values import Section, Settings, Tls, is_loopback, value

_ADDRESS = r"^[A-Za-z0-9._-]+:[0-9]{1,5}$"


class Issuer(Section):
    """Somebody whose tokens the gateway takes."""

    issuer: str = value(..., "The `iss` of its tokens.", min_length=1)
    audiences: tuple[str, ...] = value(..., "What `aud` of its tokens may be.", min_length=1)
    jwks: str = value(..., "Its keys (JWKS): a file, or a URL that begins with https.", min_length=1)

    @property
    def remote(self) -> bool:
        """Whether its keys are at a URL."""
        return "://" in self.jwks

    @field_validator("jwks")
    @classmethod
    def _https(cls, jwks: str) -> str:
        if "://" in jwks and not jwks.startswith("https://"):
            raise ValueError("must be a file or a URL that begins with https, so that nobody else can give other keys")
        return jwks


class Gateway(Section):
    """The section of the configuration for a gateway."""

    host: str = value("127.0.0.1", "Address that the gateway listens on.")
    port: int = value(8080, "Port that the gateway listens on; 0 takes any free one.", ge=0, le=65535)
    plain: bool | None = value(
        None,
        "Takes plain text too, on the same port as TLS. None: only at an address that no other machine reaches. `production` "
        "refuses it.",
    )
    continues_traces: bool | None = value(
        None,
        "Continues the trace of a caller who brings a `traceparent`; else the call begins a trace with a link to theirs. None: "
        "only at an address that no other machine reaches. True is for a gateway that departments alone reach.",
    )
    certificate: Path | None = value(
        None,
        "File of the gateway's certificate and those that vouch for it (PEM). When it is replaced by rename it is taken up. "
        "None: one is made in the data folder (`tls`), for laptops.",
    )
    certificate_key: Path | None = value(
        None, "File of the certificate's key (PEM). None: it is in the file of the certificate."
    )
    admin_port: int = value(0, "Port of Envoy's own pages, only ever on 127.0.0.1; 0 takes any free one.", ge=0, le=65535)
    reflection: bool = value(True, "Callers may ask which services there are; `city call` needs it.")
    pages: bool = value(True, "The pages of the API at /docs/, which need no token; they show what is open, and no data.")
    deadline_s: float = value(30.0, "The longest a unary call may take; a caller may ask for less.", gt=0, le=3600)
    read_deadline_s: float = value(10.0, "The same for a call that only reads.", gt=0, le=3600)
    arrival_s: float = value(30.0, "The longest a request may take to arrive, from its first byte to its last.", ge=0.1, le=600)
    headers_s: float = value(10.0, "The longest its headers may take.", ge=0.1, le=600)
    connect_timeout_s: float = value(1.0, "How long a connection to a service may take to open.", gt=0, le=60)
    health_checks: bool = value(False, "Ask each service by grpc.health.v1 whether it serves.")
    max_request_bytes: int = value(4 * 1024 * 1024, "Largest body of a request, in every protocol, in bytes.", ge=1024)
    max_response_bytes: int = value(16 * 1024 * 1024, "Largest body of the answer to a JSON call.", ge=1024)
    reads_per_s: int = value(1000, "Calls a second of one caller, by the subject of its token, that only read.", ge=1)
    commands_per_s: int = value(500, "Calls a second of one caller that command.", ge=1)
    streams_per_s: int = value(50, "Streams that one caller may open a second.", ge=1)
    burst_s: float = value(2.0, "So many seconds' worth of calls may come at once.", gt=0, le=3600)
    consumers: int = value(
        100_000, "Callers whose limits are remembered at a time; whoever called longest ago is forgotten first.", ge=1
    )
    calls_per_service: int = value(
        1000, "Calls that may be under way to one service at once, without streams; above that the gateway refuses them.", ge=1
    )
    streams_per_service: int = value(4000, "Streams that may be open to one service at once.", ge=1)
    retries: int = value(
        500, "Calls to one service that may be tried again at once; or a fifth of those under way, if that is more.", ge=0
    )
    drain_s: float = value(
        5.0, "How long a gateway that stops waits for the calls that are under way; streams end at once.", ge=0, le=3600
    )
    max_connections: int = value(4096, "Connections that may be open at once.", ge=1)
    max_streams_per_connection: int = value(100, "Calls that one HTTP/2 connection may have open.", ge=1)
    max_heap_bytes: int = value(512 * 1024 * 1024, "Memory from which on Envoy refuses calls.", ge=64 * 1024 * 1024)
    cors_origins: tuple[str, ...] = value((), "Origins whose pages may call from a browser, e.g. https://city.example.")
    authorities: Path | None = value(
        None, "File of the authorities that are trusted where keys of issuers are fetched (PEM). None: those of this machine."
    )

    @property
    def continues(self) -> bool:
        """Whether traces of callers are continued."""
        return is_loopback(self.host) if self.continues_traces is None else self.continues_traces

    def refusals(self, settings: Settings) -> Iterator[tuple[str, str]]:
        """What production refuses, as pairs (key, reason and what to do)."""
        if "no_tls" in settings.accepts:
            return
        if self.certificate is None:
            why = "is not given, and nobody trusts a certificate that the gateway makes for itself"
            yield "gateway.certificate", f"{why}: write the paths of a real one, and of its key as `gateway.certificate_key`"
        if self.plain is not False:
            yield "gateway.plain", "must be said, since tokens in plain text can be read on their way: write `plain: false`"

    @field_validator("certificate_key")
    @classmethod
    def _of_a_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key is not None and info.data.get("certificate") is None:
            raise ValueError("is the key of no certificate: give `certificate` too")
        return key


class GatewaySettings(Gateway):
    """Settings of one gateway: its section, and what its city adds. Ports that are 0 are chosen when Envoy starts."""

    # The addresses of each service, by its manifest's name: host:port, more with commas between.
    upstreams: dict[str, str]
    # The address of gRPC health, reflection and the clock: host:port. None: the first of the upstreams.
    system_upstream: str | None = Field(default=None, pattern=_ADDRESS)
    port: int = Field(default=0, ge=0, le=65535)
    # Several processes listen at one address: then there are many connections, so that each process gets its share.
    spread: bool = False
    # The city's own issuer. Its services have no limits here, and its keys are at /.well-known/jwks.json.
    identity: Issuer | None = None
    # Others whose tokens are taken.
    issuers: tuple[Issuer, ...] = ()
    # The folder in which the gateway makes a certificate if none is configured. None: then it speaks no TLS.
    own_tls: Path | None = None
    # The certificate with which the gateway calls services, and the authorities of theirs. Not given: plain text.
    mesh_tls: Tls = Tls()
    # City time is driven from outside: then the clock can be called.
    driven: bool = False
    # OTLP/gRPC receiver of Envoy's spans, http://host:port or host:port. None: no spans.
    otlp_endpoint: str | None = None
    # The file of the access log. None: no access log.
    access_log: Path | None = None

    @property
    def all_issuers(self) -> tuple[Issuer, ...]:
        """The city's own issuer, then the others."""
        return (*((self.identity,) if self.identity else ()), *self.issuers)

    @property
    def takes_plain(self) -> bool:
        """Whether plain text is taken too."""
        return is_loopback(self.host) if self.plain is None else self.plain

    @property
    def trusted(self) -> Path:
        """The file of authorities that are trusted."""
        machine = ssl.get_default_verify_paths()
        return self.authorities or Path(machine.cafile or machine.openssl_cafile)

    @model_validator(mode="after")
    def _at_least_one_and_each_once(self) -> GatewaySettings:
        names = [one.issuer for one in self.all_issuers]
        if not names:
            raise ValueError("there must be at least one issuer whose tokens are taken: give `identity` or `issuers`")
        if len(set(names)) < len(names):
            raise ValueError(f"each issuer must stand once, and there are {', '.join(names)}")
        return self

    @field_validator("upstreams")
    @classmethod
    def _addresses(cls, upstreams: dict[str, str]) -> dict[str, str]:
        for name, address in upstreams.items():
            addresses_of(address, f"upstream of {name}")
        return upstreams

    @field_validator("otlp_endpoint")
    @classmethod
    def _endpoint(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        address = endpoint.removeprefix("http://").rstrip("/")
        split(address, "otlp_endpoint")
        return address


def addresses_of(addresses: str, what: str = "address") -> list[tuple[str, int]]:
    """The parts of each host:port of a list with commas. ValueError says what is wrong with an address."""
    return [split(one.strip(), what) for one in addresses.split(",")]


def split(address: str, what: str = "address") -> tuple[str, int]:
    """The parts of host:port. ValueError says what is wrong with the address."""
    host, _, port = address.rpartition(":")
    if host.split() != [host] or "/" in host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{what}: {address!r} must be host:port, e.g. 127.0.0.1:7100")
    return host, int(port)
