"""The values that can be set for the mesh, and what each is for. `configuration.py` finds and checks them.

A room above the mesh has a section of its own. It adds the section in a class that inherits from `Settings`.
It is long because all values stand in one place.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from citybrain.mesh.settings.engines import EMBEDDED, features_of, known, names

# Sections of rooms above the mesh: a process of the mesh does not read them.
ELSEWHERE = ("gateway", "remote")

Accepted = Literal["one_host", "no_tls"]


def value(default: Any, description: str, *, also: str = "", **limits: Any) -> Any:
    """A value and what it is for. `also`: more names for it in the environment, the strongest first."""
    if also:
        limits["json_schema_extra"] = {"also": also}
    return Field(default=default, description=description, **limits)


class Section(BaseModel):
    """Values that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


class Log(Section):
    """Log lines: on standard error, or of the processes of `city up` in files of the data folder."""

    level: Literal["debug", "info", "warning", "error"] = value("info", "The lowest level that is written.")
    format: Literal["json", "pretty"] = value("json", "One JSON object a line, or `pretty` for people.")
    file_mb: float = value(10.0, "The size, in MiB, at which a file of log lines is begun anew.", gt=0)
    files_kept: int = value(3, "How many older files of log lines are kept beside the newest one.", ge=1)


def _collector(endpoint: str) -> str:
    """The address of an OTLP receiver, checked."""
    if "@" in endpoint:
        raise ValueError("must hold no password, since it is printed: give OTEL_EXPORTER_OTLP_HEADERS instead")
    scheme, _, rest = endpoint.rpartition("://")
    if endpoint and (scheme not in ("", "http", "https") or not rest.rstrip("/").rpartition(":")[2].isdigit()):
        raise ValueError("must be an address with its port: write http://127.0.0.1:4317")
    return endpoint


class Traces(Section):
    """Where spans go."""

    endpoint: str = value(
        "",
        "Where spans are sent: the address of an OTLP/gRPC collector, e.g. http://127.0.0.1:4317. Empty: `city up` keeps them "
        "in the data folder, and other processes send none.",
        also="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    rate: float = value(
        1.0,
        "How many of the traces without an incident services send, from 0 to 1. What carries an incident is sent always, and "
        "of other calls what fails or takes longer than half a second. The same for all processes, else traces have holes.",
        ge=0,
        le=1,
    )

    _without_credentials = field_validator("endpoint")(_collector)


class Metrics(Section):
    """Where metrics go: numbers of calls, events, consumer groups, sagas, the store and the process."""

    endpoint: str = value(
        "",
        "Where metrics are sent, every ten seconds: the address of an OTLP/gRPC collector, e.g. http://127.0.0.1:4317. Empty: "
        "nowhere.",
        also="OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_EXPORTER_OTLP_ENDPOINT",
    )
    listen: str = value(
        "",
        "Address where Prometheus may read the metrics of a process (/metrics), in plain text: 127.0.0.1:9464, or 127.0.0.1:0 "
        "for any free port, which a file in `prometheus` of the data folder then tells Prometheus. Empty: nowhere.",
    )

    _without_credentials = field_validator("endpoint")(_collector)

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, address: str) -> str:
        host, _, port = address.rpartition(":")
        if address and (not host or not port.isdigit() or int(port) > 65535):
            raise ValueError("must be host:port: write 127.0.0.1:9464, or 127.0.0.1:0 for any free port")
        return address


class Personal(Section):
    """Personal data in events is sealed, under a key for each person."""

    keys: Path | None = value(
        None,
        "Folder of these keys and of the list of erased persons; it must not be copied with the data. None: `keys` in the data "
        "folder. With `store: distributed` the keys are in Cassandra (`cassandra.keys_keyspace`).",
    )
    master_key: Path | None = value(
        None,
        "File with 32 random bytes that wrap these keys. None: one is made beside the keys, for laptops.",
    )
    other_master_keys: tuple[Path, ...] = value(
        (), "Files of other master keys that may have wrapped some keys: the one before, or the next, while it is changed."
    )
    cipher: Literal["aes-256-gcm", "sm4-gcm"] = value(
        "aes-256-gcm", "Cipher that seals the data of new persons; others keep theirs."
    )


class OtherIssuer(Section):
    """A provider of identities (OpenID Connect) whose tokens are believed too."""

    issuer: str = value(..., "What its tokens say in `iss`.", pattern=r"^https://\S+$")
    audience: str = value("", "What they say in `aud`. Empty: `identity.audience`.")
    jwks: str = value(..., "Its public keys (RFC 7517): a file, or an https URL.", min_length=1)


class Identity(Section):
    """Tokens: which ones are believed, and the installation's own."""

    issuer: str = value("https://citybrain.local/identity", "What the installation's own tokens say in `iss`.", min_length=1)
    audience: str = value("citybrain", "What tokens for this installation say in `aud`.", min_length=1)
    keys: Path | None = value(
        None,
        "Folder of the keys that sign the installation's own tokens. Who reads it can act as anybody. None: `identity` in the "
        "data folder.",
    )
    longest_h: float = value(24.0, "The most hours that an own token may last.", gt=0, le=24 * 31)
    rotate_days: float = value(30.0, "After so many days another key signs own tokens.", gt=0)
    others: dict[str, OtherIssuer] = value(
        {},
        "Other issuers, by a name of yours that stands before the subjects of their tokens: {city: {issuer: https://…, jwks: "
        "https://…}}.",
    )

    @field_validator("others")
    @classmethod
    def _named(cls, others: dict[str, OtherIssuer]) -> dict[str, OtherIssuer]:
        for name in others:
            if not name.replace("-", "").isalnum() or name == "service":
                raise ValueError(f"{name} must be letters, digits and hyphens, and not `service`")
        return others


class OwnQuota(Section):
    """What one consumer may use on a day in place of what all may; a class that is left out is as for all."""

    read: int | None = value(None, "Calls that change nothing; 0: no limit.", ge=0)
    command: int | None = value(None, "Calls that may change something; 0: no limit.", ge=0)
    stream: int | None = value(None, "Streams that are opened; 0: no limit.", ge=0)


class Quotas(Section):
    """What one consumer (the subject of a token) may use on a day of Hangzhou (UTC+8). Services of the mesh have no quota."""

    read: int = value(1_000_000, "Calls that change nothing (their scope ends with .read), without streams; 0: no limit.", ge=0)
    command: int = value(200_000, "All other calls, without streams; 0: no limit.", ge=0)
    stream: int = value(20_000, "Streams that are opened, of either kind; 0: no limit.", ge=0)
    subjects: dict[str, OwnQuota] = value(
        {}, "Other quotas for some consumers: {app-hangzhou: {read: 5000000}}. What is left out is as for the team, or all."
    )
    teams: dict[str, OwnQuota] = value({}, "Other quotas for each consumer of some teams: {health: {command: 1000000}}.")


class Restarts(Section):
    """How a process that ended by accident is started again."""

    first_pause_s: float = value(0.2, "Pause before a process that ended is started again; it doubles with each time.", gt=0)
    longest_pause_s: float = value(30.0, "The longest such pause.", gt=0)
    steady_s: float = value(60.0, "After a process was up for so long, the pause is the first one again.", gt=0)
    start_s: float = value(300.0, "A process that has not started after so long is ended, and started again.", gt=0)
    hang_s: float = value(
        30.0, "A process that answers nothing for so long, asked three times, is ended and started again; 0: never.", ge=0
    )


class Processes(Section):
    """Which processes the services of `city up` share."""

    groups: tuple[tuple[str, ...], ...] = value(
        (),
        "Services that share a process, e.g. [[health], [traffic, district_hub]]; those that no group names share one more.",
    )
    copies: dict[str, int] = value(
        {}, "How many processes of a service's group run beside each other, behind one address: service to number."
    )
    restarts: Restarts = Restarts()

    @field_validator("copies")
    @classmethod
    def _some(cls, copies: dict[str, int]) -> dict[str, int]:
        for name, number in copies.items():
            if not 1 <= number <= 64:
                raise ValueError(f"{name} must be 1 to 64 processes")
        return copies


class SourceClock(Section):
    """How far the clock of a kind of source may be from ours."""

    ahead_s: float = value(5.0, "How many seconds it may be ahead of ours.", ge=0, le=86_400)
    behind_s: float = value(60.0, "How many seconds it may be behind ours.", ge=0, le=86_400 * 366)


class Kafka(Section):
    """Where the log is, for the engine `distributed`."""

    addresses: str = value("", "Addresses of Kafka: host:port, more with commas between.")
    prefix: str = value(
        "city", "Beginning of the names of the city's topics and consumer groups.", pattern=r"^[a-z][a-z0-9-]{0,40}$"
    )
    partitions: int = value(4, "Partitions of each new topic; never changed afterwards. 16 for a city.", ge=1, le=1024)
    replication: int = value(
        1, "Copies of each new topic. 3 for a city: with 3 or more, most copies have what is acknowledged.", ge=1, le=9
    )
    tls: bool = value(False, "Speaks TLS to Kafka.")
    authorities: Path | None = value(None, "File of the authorities that are trusted (PEM). None: those of this machine.")
    certificate: Path | None = value(None, "File of this process's own certificate (PEM), if Kafka asks for one.")
    certificate_key: Path | None = value(None, "File of the certificate's key (PEM).")
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = value("", "How the password is shown to Kafka.")
    user: str = value("", "Name with which this process logs in to Kafka.")
    password_file: Path | None = value(None, "File with the password for Kafka.")


class Cassandra(Section):
    """Where the streams are, for the engine `distributed`."""

    addresses: str = value("", "Addresses of Cassandra: host:port, more with commas between.")
    keyspace: str = value("city", "Keyspace of the city. It is made if it is missing, and brought up to date.")
    data_centre: str = value("", "The one data centre whose nodes are asked. Empty: any.")
    consistency: Literal["LOCAL_QUORUM", "QUORUM"] = value(
        "LOCAL_QUORUM",
        "Which copies decide by majority. LOCAL_QUORUM: those in `data_centre` (LOCAL_SERIAL for conditional writes). QUORUM: "
        "those of all data centres together (SERIAL for conditional writes). It must be the same for every process of a city.",
    )
    replication: dict[str, int] = value({}, "Copies by data centre, for a new keyspace. Empty: one copy, for one node.")
    tls: bool = value(False, "Speaks TLS to Cassandra.")
    authorities: Path | None = value(None, "File of the authorities that are trusted (PEM). None: those of this machine.")
    user: str = value("", "Name with which this process logs in to Cassandra.")
    password_file: Path | None = value(None, "File with the password for Cassandra.")
    keys_keyspace: str = value(
        "", "Keyspace of the keys of persons; it must not be copied with the other. Empty: the name of the other, and _keys."
    )
    keys_user: str = value("", "Name with which this process logs in to the keyspace of keys. Empty: the same as for the rest.")
    keys_password_file: Path | None = value(None, "File with the password of that name.")
    answer_s: float = value(5.0, "How many seconds one request may take before its outcome counts as unknown.", gt=0, le=60)

    @field_validator("replication")
    @classmethod
    def _one_decides(cls, replication: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        home = info.data.get("data_centre", "")
        if replication and home and home not in replication:
            raise ValueError(
                f"has no copies in {home}, and that is the data centre that is asked: give it some, or ask another"
            )
        if len(replication) > 1 and not home and info.data.get("consistency") == "LOCAL_QUORUM":
            raise ValueError(
                "has several data centres, and with LOCAL_QUORUM whichever is asked decides: write `data_centre` with one of "
                "them, the same for every process, or `consistency: QUORUM`, which lets all decide"
            )
        return replication


class Sagas(Section):
    """How long workflows that have ended stand in lists. Their events are kept for ever, and an id still finds each."""

    completed_days: int = value(
        90, "Those that did all of their work, for so many days after their end; 0: for ever.", ge=0, le=7_000
    )
    undone_days: int = value(365, "Those of which everything was taken back; 0: for ever.", ge=0, le=7_000)
    terminated_days: int = value(730, "Those that a person ended where they stood; 0: for ever.", ge=0, le=7_000)


class Tls(Section):
    """TLS between processes of the mesh. With it they take no connection in plain text, and make none."""

    authorities: Path | None = value(
        None,
        "File of the authorities (PEM) whose certificates make a process, or a caller past the gateway, one of the mesh: they "
        "must sign for nobody else. None: processes of the mesh speak plain text.",
    )
    certificate: Path | None = value(
        None,
        "File of this process's certificate (PEM), for the DNS name mesh.citybrain.local, and to be used as server and client. "
        "When it is renewed in its file it is taken up.",
    )
    certificate_key: Path | None = value(
        None, "File of the certificate's key (PEM), readable by this process alone.", validate_default=True
    )

    @property
    def given(self) -> bool:
        """Whether there are such files."""
        return self.certificate is not None

    @field_validator("certificate_key")
    @classmethod
    def _all_or_none(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        named = {**info.data, "certificate_key": key}
        missing = [f"tls.{name}" for name, path in named.items() if path is None]
        if missing and len(missing) < len(named):
            raise ValueError(f"is used only together with the others: give {' and '.join(missing)} too, or none of the three")
        return key


class Settings(Section):
    """How processes of the mesh run."""

    profile: Literal["laptop", "production"] = value(
        "laptop", "What the mesh is for. `production` refuses what is only for laptops, all of it at once."
    )
    data: Path = value(Path("data"), "Folder of events, views and traces; below the working folder unless it begins with /.")
    time: Literal["wall", "driven"] = value(
        "wall", "City time: the wall clock, or `driven` by a simulation (Advance): then it stands until it is moved."
    )
    host: str = value("127.0.0.1", "Address that a process of the mesh listens on.")
    port: int = value(
        0,
        "Port that a process of the mesh listens on; 0 takes any free one. Not set: one service alone has its manifest's.",
        ge=0,
        le=65535,
    )
    share_port: bool = value(
        False, "Other processes of the same services may listen on the same port: the kernel spreads connections over them."
    )
    probe_port: int = value(
        0,
        "Port that answers health checks (grpc.health.v1, Check) in plain text and nothing else, for orchestrators whose "
        "probes show no certificate. 0: none.",
        ge=0,
        le=65535,
    )
    drain_s: float = value(
        10.0, "How long a process that stops waits for the calls it has begun; it takes no new ones meanwhile.", ge=0, le=3600
    )
    contracts: Path | None = value(
        None,
        "File with contracts of services that answer elsewhere: reflection tells of them too. None: only of what runs here.",
    )
    peers: dict[str, str] = value(
        {}, "Addresses of services that run in no process of this configuration: service to host:port."
    )
    stalled_s: float = value(
        30.0,
        "A subscription or read model that has work, and does nothing for so long, is stalled and begun again.",
        gt=0,
    )
    max_workers: int = value(
        32,
        "Calls of one service that may run at once in a process; as many more may wait. Calls from outside to one method may "
        "take three quarters of all these places, and so may all calls from outside that only read.",
        ge=1,
        le=10_000,
    )
    max_streams: int = value(
        256,
        "Streams that may be open at once in a process. One caller may have a quarter of them, one method half, and all "
        "streams that only read three quarters.",
        ge=1,
        le=100_000,
    )
    request_ids_kept_days: int = value(
        30,
        "For how many days a request id is bound to the caller, method and content it was first used with; 0: for ever.",
        ge=0,
        le=7_000,
    )
    token_key: Path | None = value(
        None, "File with 32 random bytes that sign resume and page tokens. None: one is made in the data folder."
    )
    resume_days: int = value(
        90, "How long a resume token is good, in days. Who was away longer begins at a moment it chooses.", ge=1, le=3650
    )
    accepts: tuple[Accepted, ...] = value(
        (),
        "What `production` would refuse and you accept: `one_host` (all events are on one disk of one machine), `no_tls` "
        "(this program makes no connection safe: tokens and data cross the network in plain text, unless something beside "
        "each process, e.g. a service mesh, brings TLS and lets nobody else in).",
    )
    store: Annotated[str, AfterValidator(known)] = value(
        EMBEDDED,
        "The engine that keeps events: `embedded`, in files of this machine; `distributed`, on Cassandra and Kafka; or one "
        "that another package brings.",
        # Editors complete it.
        json_schema_extra=lambda schema: schema.update(enum=names()),
    )
    kafka: Kafka = Kafka()
    cassandra: Cassandra = Cassandra()
    log: Log = Log()
    traces: Traces = Traces()
    metrics: Metrics = Metrics()
    processes: Processes = Processes()
    tls: Tls = Tls()
    personal: Personal = Personal()
    identity: Identity = Identity()
    quotas: Quotas = Quotas()
    sagas: Sagas = Sagas()
    sources: dict[str, SourceClock] = value(
        {},
        "How far clocks of sources may be from ours before their messages are refused, if not as the service says: "
        "{traffic.street: {ahead_s: 5, behind_s: 60}}.",
    )

    @field_validator("peers")
    @classmethod
    def _addresses(cls, peers: dict[str, str]) -> dict[str, str]:
        for name, address in peers.items():
            host, _, port = address.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"{name} must be host:port, e.g. {name}=127.0.0.1:7100")
        return peers

    @property
    def request_ids_kept_s(self) -> int:
        """The same in seconds."""
        return self.request_ids_kept_days * 86_400

    def refusals(self) -> Iterator[tuple[str, str]]:
        """What production refuses, as pairs (key, reason and what to do)."""
        if self.time == "driven":
            yield "time", "is driven, and whoever may call Advance moves the city's clock: write `time: wall`"
        if self.token_key is None:
            why = "is not given, and a key that one machine makes for itself ends every stream on the next"
            yield "token_key", f"{why}: make one (head -c 32 /dev/urandom > FILE), keep it secret, and write `token_key: FILE`"
        if self.personal.master_key is None:
            why = "is not given, and a key that lies beside what it wraps protects nothing"
            yield "personal.master_key", f"{why}: make one elsewhere (head -c 32 /dev/urandom > FILE) and write its path"
        features = features_of(self.store)
        if not features.store.durable:
            yield "store", f"is {self.store}, which keeps nothing when its process ends: choose an engine that does"
        elif not features.many_machines and "one_host" not in self.accepts:
            why = f"has no one_host, and the engine {self.store} keeps all events on one disk of one machine"
            yield "accepts", f"{why}: back that disk up and write `accepts: [one_host]`"
        if not self.traces.endpoint:
            yield "traces.endpoint", "is not given, so nobody could follow an incident: write the address of a collector"
        if self.log.format == "pretty":
            yield "log.format", "is pretty, which no collector reads: write `format: json`"
        if self.metrics.listen and not is_loopback(self.metrics.listen.rpartition(":")[0]) and "no_tls" not in self.accepts:
            yield (
                "metrics.listen",
                f"is {self.metrics.listen}, which other machines reach, in plain text and without a token: write "
                "127.0.0.1:9464 and let a Prometheus or a collector of this machine read it; or send them (`metrics.endpoint`)",
            )
        if not self.tls.given and "no_tls" not in self.accepts:
            yield from self._in_plain_text()

    def _in_plain_text(self) -> Iterator[tuple[str, str]]:
        instead = (
            "give `tls.authorities`, `tls.certificate` and `tls.certificate_key`; or, if something beside every process brings "
            "TLS and lets nobody else in, `accepts: [no_tls]`"
        )
        if not is_loopback(self.host):
            yield "host", f"is {self.host}, which other machines reach, in plain text and without a certificate: {instead}"
        far = [name for name, address in self.peers.items() if not is_loopback(address.rpartition(":")[0])]
        if far:
            yield "peers", f"are on other machines ({', '.join(far)}), and would get tokens in plain text: {instead}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
