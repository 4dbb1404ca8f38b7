"""A Kafka and a Cassandra as a city has them: TLS for everybody, a name and a password for whoever comes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from typing_extensions import override

from citybrain.local.cassandra import Cassandra
from citybrain.local.kafka import Kafka
from citybrain.local.tcp_ports import HOST
from tests.engines.certificates import Authority

# The broker speaks to itself, and the test makes its users, where no password is asked.
_GUARDED = """
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{inner},GUARDED://{host}:{guarded}
advertised.listeners=PLAINTEXT://{host}:{port},GUARDED://{host}:{guarded}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.guarded.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.guarded.ssl.keystore.type=PEM
listener.name.guarded.ssl.keystore.location={both}
listener.name.guarded.ssl.truststore.type=PEM
listener.name.guarded.ssl.truststore.location={trusted}
listener.name.guarded.ssl.client.auth=required
"""

_ENCRYPTED = """
client_encryption_options:
  enabled: true
  optional: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: "{both}"
"""


class GuardedKafka(Kafka):
    """Clients show a certificate that its authority has signed, and a password."""

    inner_ports = ("inner", "guarded")

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self._authority = authority

    @property
    def guarded(self) -> str:
        """host:port for clients that have both."""
        return f"{HOST}:{self._ports()['guarded']}"

    @override
    def configuration(self, ports: Mapping[str, int]) -> str:
        _, _, both = self._authority.vouch("kafka")
        return super().configuration(ports) + _GUARDED.format(host=HOST, both=both, trusted=self._authority.trusted, **ports)


class GuardedCassandra(Cassandra):
    """Clients show a password; what each may do is said of its name."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self._authority = authority
        self._trust = ssl.create_default_context(cafile=authority.trusted)

    @override
    def prepare(self, ports: Mapping[str, int], classes: str) -> list[str]:
        # The first user is made at once, not after ten seconds.
        return ["-Dcassandra.superuser_setup_delay_ms=0", *super().prepare(ports, classes)]

    @override
    def configuration(self, ports: Mapping[str, int]) -> str:
        _, _, both = self._authority.vouch("cassandra")
        text = super().configuration(ports)
        guarded = text.replace("authenticator: AllowAllAuthenticator", "authenticator: PasswordAuthenticator")
        assert guarded != text
        return f"{guarded}authorizer: CassandraAuthorizer\n{_ENCRYPTED.format(both=both)}"

    @override
    def is_ready(self) -> bool:
        """Whether it takes connections that are encrypted."""
        with (
            socket.create_connection((HOST, self.port), timeout=2) as plain,
            self._trust.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            return connection.version() is not None
