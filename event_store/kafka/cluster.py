"""The address of Kafka, and how to log in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from citybrain.event_store.distributed.passwords import read_password
from citybrain.event_store.store import StoreError

Option = str | int | float | bool


class BrokerError(StoreError):
    """Kafka could not do what was asked; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster, and the form of the city's topics on it."""

    # host:port, more with commas between.
    addresses: str
    prefix: str = "city"
    # The number of partitions of each topic. It never changes.
    partitions: int = 4
    replication: int = 1
    tls: bool = False
    # The authorities that are trusted (PEM); None: those of this machine.
    authorities: Path | None = None
    # The certificate of this process (PEM), if the cluster asks for one.
    certificate: Path | None = None
    certificate_key: Path | None = None
    sasl_mechanism: str = ""
    user: str = ""
    password_file: Path | None = None
    # How long a question about topics may take before Kafka counts as away, in seconds.
    answer_s: float = 10.0

    def options(self, more: Mapping[str, Option] | None = None) -> dict[str, Option]:
        """The options of a client of librdkafka."""
        options: dict[str, Option] = {
            "bootstrap.servers": self.addresses,
            "security.protocol": ("SASL_" if self.sasl_mechanism else "") + ("SSL" if self.tls else "PLAINTEXT"),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,
            # No log lines: errors arrive by callbacks.
            "log_level": 0,
        }
        files = {"ssl.ca.location": self.authorities, "ssl.certificate.location": self.certificate}
        files["ssl.key.location"] = self.certificate_key
        options |= {name: str(path) for name, path in files.items() if path is not None}
        if self.sasl_mechanism:
            password = read_password("Kafka", self.addresses, self.password_file, BrokerError)
            options |= {"sasl.mechanism": self.sasl_mechanism, "sasl.username": self.user, "sasl.password": password}
        return options | dict(more or {})
