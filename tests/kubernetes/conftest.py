"""One cluster for a whole run, with the kinds of both operators in it, and a copy of the tree whose commands ask it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from citybrain.k8s import generator
from citybrain.k8s.environments import read
from tests.helpers.waiting import until
from tests.kubernetes.cluster import Cluster
from tools.copying import ROOT, copy_tree
from tools.kubernetes_server import TARGET

ENVIRONMENTS = read(generator.ENVIRONMENTS)
NAME = "app.kubernetes.io/name"
DEPLOYING = generator.ROOM.parent / "docs" / "deploying.md"


class City:
    """A copy of the tree in which commands of the docs are run against the cluster."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self.cluster = cluster
        self.root = root
        copy_tree(root)
        # Nothing is to be installed or built in the copy.
        shutil.copytree(ROOT / "build" / "python", root / "build" / "python")
        (root / "build" / ".ready").touch()
        city = root / ".venv" / "bin" / "city"
        city.write_text(f"#!{root}/.venv/bin/python\nfrom citybrain.cli.main import main\n\nmain()\n", encoding="utf-8")
        city.chmod(0o755)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """A line of a shell, in the copy."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.root, env=self.cluster.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def done(self, command: str) -> str:
        """As `run`; AssertionError, with what it said: it fails."""
        one = self.run(command)
        assert one.returncode == 0, f"{command}\n{one.stdout}{one.stderr}"
        return one.stdout + one.stderr

    def apply(self, environment: str) -> str:
        """What the docs do, and everything of it is ready then."""
        said = self.done(f"kubectl apply --server-side -k k8s/overlays/{environment}")
        self.ready(environment)
        return said

    def ready(self, environment: str) -> None:
        """Until each Deployment has the pods that its autoscaler wants at least, and the engines and the job are done."""
        said, there = ENVIRONMENTS[environment], ("--namespace", ENVIRONMENTS[environment].namespace)

        def short() -> list[str]:
            return [
                f"{one['metadata']['name']}: {one.get('status')}"
                for one in self.cluster.get("deployments", *there)
                if one.get("status", {}).get("observedGeneration") != one["metadata"]["generation"]
                or not said.copies.least
                == one["spec"]["replicas"]
                == one["status"].get("readyReplicas")
                == one["status"].get("updatedReplicas")
                == one["status"].get("replicas")
            ]

        until(lambda: not short(), f"ready Deployments in {environment}", 120)
        self.cluster.kubectl("rollout", "status", "statefulset/cassandra", *there, "--timeout=60s")
        self.cluster.wait("Complete", "jobs", "--all", *there)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    assert (TARGET / "kubernetes" / ".pins").is_file(), "the servers are missing: `make test-k8s` builds them first"
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        for kinds in ("cert-manager", "strimzi"):
            files = [f"--filename={file}" for file in sorted((TARGET / kinds).glob("*.y*ml"))]
            running.kubectl("apply", "--server-side", *files)
        running.wait("Established", "customresourcedefinitions", "--all")
        for said in ENVIRONMENTS.values():
            running.disks(said.engines.nodes, said.engines.cassandra_disk)
        yield running
    finally:
        running.close()


@pytest.fixture(scope="session")
def city(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> City:
    return City(cluster, tmp_path_factory.mktemp("copy") / "city")


@pytest.fixture(scope="session")
def production(city: City) -> City:
    """With production applied, and everything of it ready."""
    city.apply("production")
    return city


@cache
def documented(heading: str) -> tuple[str, ...]:
    """The commands below a heading of docs/deploying.md."""
    text = DEPLOYING.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    found = [line for block in re.findall(r"```console\n(.*?)```", section, re.S) for line in block.splitlines()]
    return tuple(line.removeprefix("$ ").partition("   #")[0] for line in found)
