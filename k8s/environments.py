"""What a city says of each environment it runs (environments.yaml): where images are, which tags, how many copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator

# As Kubernetes names things.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


def _one_thing(tag: str) -> str:
    if tag == "latest":
        raise ValueError("latest is not one thing, and nobody could say which release runs: write its version")
    return tag


Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"), AfterValidator(_one_thing)]
Disk = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*(Gi|Ti)$")]
Address = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+:[0-9]{1,5}$")]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Copies(_Said):
    """How many pods of a service, and of the gateway, there are at least and at most."""

    least: int = Field(ge=1)
    most: int = Field(ge=1)


class Engines(_Said):
    """Kafka and Cassandra: nodes of each, and copies of all that they keep (as many as nodes, at most 3)."""

    nodes: int = Field(ge=1, le=99)
    partitions: int = Field(ge=1)
    kafka_disk: Disk
    cassandra_disk: Disk

    @property
    def copies(self) -> int:
        """Of each event."""
        return min(3, self.nodes)


class AtTheEdge(_Said):
    """The gateway: its name for callers, how it is reached, and the ClusterIssuer of its certificate; None: self-signed."""

    host: str
    service: Literal["ClusterIP", "LoadBalancer"]
    issuer: Name | None = None


class Backend(_Said):
    """Where the collector sends spans, or metrics (OTLP/gRPC)."""

    backend: Address
    tls: bool = True


class Environment(_Said):
    """One environment, in a namespace of its own."""

    namespace: Name
    # Without a tag.
    image: str = Field(pattern=r"^[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+$")
    tag: Tag
    tags: dict[str, Tag] = {}
    copies: Copies
    engines: Engines
    gateway: AtTheEdge
    traces: Backend
    metrics: Backend

    def tag_of(self, service: str) -> str:
        """The tag of a service, by its name in its manifest."""
        return self.tags.get(service, self.tag)

    @model_validator(mode="after")
    def _fits(self) -> Environment:
        if self.copies.least > self.copies.most:
            raise ValueError("copies.least is more than copies.most")
        if self.copies.most > self.engines.partitions:
            raise ValueError("copies.most is more than engines.partitions: the copies beyond would get no partition of the log")
        return self


def read(file: Path) -> dict[str, Environment]:
    """The environments by name. ValueError: what is said of one cannot be."""
    return TypeAdapter(dict[Name, Environment]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
