"""Cassandra as one node, small enough for a laptop. What it has acknowledged is on the disk."""

from __future__ import annotations

from collections.abc import Mapping

from typing_extensions import override

from citybrain.local.engine_process import EngineProcess, ask
from citybrain.local.tcp_ports import HOST

_MEMORY = ("-Xms384m", "-Xmx384m", "-XX:MaxDirectMemorySize=128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k")
# The modules of Java 17 that Cassandra's own start script opens.
_EXPORTS = (
    "java.base/jdk.internal.misc", "java.management.rmi/com.sun.jmx.remote.internal.rmi", "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server", "java.sql/java.sql", "java.base/java.lang.ref", "jdk.unsupported/sun.misc",
    "java.base/jdk.internal.ref", "java.base/jdk.internal.perf", "java.base/sun.nio.ch",
)  # fmt: skip
_OPENS = (
    *(
        f"java.base/{package}"
        for package in (
            "java.lang", "java.lang.module", "java.lang.reflect", "java.io", "java.nio", "java.net", "java.util",
            "java.util.concurrent", "java.util.concurrent.atomic", "sun.nio.ch", "jdk.internal.loader", "jdk.internal.ref",
            "jdk.internal.reflect", "jdk.internal.math", "jdk.internal.module", "jdk.internal.util.jar",
        )
    ),
    "jdk.management/com.sun.management.internal",
)  # fmt: skip
_OPTIONS = b"\x04\x00\x00\x00\x05\x00\x00\x00\x00"
_SUPPORTED = 6

_YAML = """\
cluster_name: city
num_tokens: 16
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "{host}:{inner}"
listen_address: {host}
rpc_address: {host}
native_transport_port: {port}
storage_port: {inner}
data_file_directories: ["{data}/data"]
commitlog_directory: "{data}/commitlog"
saved_caches_directory: "{data}/saved_caches"
hints_directory: "{data}/hints"
cdc_raw_directory: "{data}/cdc_raw"
commitlog_sync: batch
commitlog_segment_size: 16MiB
commitlog_total_space: 256MiB
disk_failure_policy: die
commit_failure_policy: die
auto_snapshot: false
paxos_variant: v2
file_cache_size: 32MiB
networking_cache_size: 16MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
key_cache_size: 8MiB
counter_cache_size: 0MiB
concurrent_reads: 8
concurrent_writes: 16
authenticator: AllowAllAuthenticator
"""

_LOG = """\
<configuration>
  <appender name="file" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{log}</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{log}.%i</fileNamePattern><minIndex>1</minIndex><maxIndex>2</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>2MB</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%d{{ISO8601}} %level %logger{{0}} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="file"/></root>
</configuration>
"""


class Cassandra(EngineProcess):
    """One Cassandra."""

    name = "cassandra"
    inner_ports = ("inner",)

    @override
    def prepare(self, ports: Mapping[str, int], classes: str) -> list[str]:
        configuration = self.folder / "cassandra.yaml"
        configuration.write_text(self.configuration(ports), encoding="utf-8")
        log = self.folder / "logback.xml"
        log.write_text(_LOG.format(log=self.log), encoding="utf-8")
        opened = [f"--add-exports={one}=ALL-UNNAMED" for one in _EXPORTS] + [f"--add-opens={one}=ALL-UNNAMED" for one in _OPENS]
        defined = {
            "cassandra.config": configuration.as_uri(),
            "cassandra.storagedir": str(self.folder),
            "cassandra.ring_delay_ms": "0",
            "cassandra.skip_wait_for_gossip_to_settle": "0",
            "cassandra-foreground": "true",
            "jdk.attach.allowAttachSelf": "true",
            "java.io.tmpdir": str(self._fresh("tmp")),
            "logback.configurationFile": str(log),
        }
        options = [*_MEMORY, *opened, *(f"-D{name}={value}" for name, value in defined.items()), "-cp", classes]
        return [*options, "org.apache.cassandra.service.CassandraDaemon"]

    def configuration(self, ports: Mapping[str, int]) -> str:
        """The text of `cassandra.yaml`."""
        return _YAML.format(host=HOST, data=self.folder, **ports)

    @override
    def is_ready(self) -> bool:
        """Asks for its options. It answers clients only after it has joined and read its commit log."""
        return ask(self.port, _OPTIONS, 9)[4] == _SUPPORTED
