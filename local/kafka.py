"""Kafka as one node that is broker and controller, small enough for a laptop."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from typing_extensions import override

from citybrain.local.engine_process import EngineProcess, ask
from citybrain.local.errors import EngineError
from citybrain.local.java import java
from citybrain.local.tcp_ports import HOST

_CLUSTER = "Y2l0eS1icmFpbi1sb2NhbA"
_MEMORY = ("-Xms128m", "-Xmx256m", "-XX:MaxDirectMemorySize=64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{inner}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{inner}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
# Who leads a service, and who has which area, is known again soon after a kill.
group.min.session.timeout.ms=1000
# After a kill it can join again after this time, not after the nine seconds of a cluster.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
"""

_LOG = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log}
appender.file.filePattern = {log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %c{{1}} %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 2MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


class Kafka(EngineProcess):
    """One Kafka."""

    name = "kafka"
    inner_ports: tuple[str, ...] = ("inner",)

    @override
    def prepare(self, ports: Mapping[str, int], classes: str) -> list[str]:
        properties = self.folder / "server.properties"
        properties.write_text(self.configuration(ports), encoding="utf-8")
        log = self.folder / "log4j2.properties"
        log.write_text(_LOG.format(log=self.log), encoding="utf-8")
        options = [*_MEMORY, f"-Dlog4j2.configurationFile={log}", f"-Dkafka.logs.dir={self.folder}", "-cp", classes]
        if not (self.folder / "data" / "meta.properties").is_file():
            self._format(options, properties)
        return [*options, "kafka.Kafka", str(properties)]

    def configuration(self, ports: Mapping[str, int]) -> str:
        """The text of `server.properties`. If a name is there twice, the later line counts."""
        return _PROPERTIES.format(host=HOST, data=self.folder / "data", **ports)

    @override
    def is_ready(self) -> bool:
        """Asks which requests it understands. It answers only when it takes requests."""
        # Length and number of the answer, then its error code.
        return ask(self.port, _API_VERSIONS, 10)[4:] == struct.pack(">ih", 1, 0)

    @staticmethod
    def _format(options: list[str], properties: Path) -> None:
        command = [java(), *options, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(properties)]
        done = subprocess.run([*command, "--ignore-formatted"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise EngineError(f"kafka: its folder could not be made: {(done.stderr or done.stdout).strip()[-500:]}")
