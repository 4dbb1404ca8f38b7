"""A node is emptied as far as the disruption budgets let it, and no further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.kubernetes.cluster import NODES, Cluster
from tests.kubernetes.conftest import ENVIRONMENTS, NAME, City
from tests.kubernetes.watching import Watching

SAID = ENVIRONMENTS["production"]
THERE = ("--namespace", SAID.namespace)
DRAIN = ("drain", "--ignore-daemonsets", "--delete-emptydir-data")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def restored(production: City) -> Iterator[Cluster]:
    """The cluster, whose nodes are open again afterwards."""
    yield production.cluster
    production.cluster.kubectl("uncordon", *(f"node-{number}" for number in range(NODES)))
    production.ready("production")


def running(cluster: Cluster, node: str) -> Counter[str]:
    """How many pods of each component, but those of the job, a node has."""
    found = cluster.get("pods", *THERE, f"--field-selector=spec.nodeName={node},status.phase=Running")
    return Counter(one["metadata"]["labels"][NAME] for one in found)


def budgets(cluster: Cluster) -> dict[str, tuple[int, int]]:
    """By component: how many pods must be ready, and how many may be."""
    found = cluster.get("poddisruptionbudgets", *THERE)
    return {one["metadata"]["name"]: (one["status"]["desiredHealthy"], one["status"]["expectedPods"]) for one in found}


def fullest(cluster: Cluster, *but: str) -> str:
    nodes = [f"node-{number}" for number in range(NODES)]
    return max((node for node in nodes if node not in but), key=lambda node: running(cluster, node).total())


def test_every_component_that_always_runs_has_a_budget_of_one_pod(restored: Cluster) -> None:
    kept = budgets(restored)
    engines = {"cassandra": SAID.engines.nodes}
    assert kept == {name: (count - 1, count) for name in kept for count in [engines.get(name, SAID.copies.least)]}
    workloads = restored.get("deployments,statefulsets", *THERE)
    assert kept.keys() == {one["metadata"]["name"] for one in workloads}


def test_a_node_is_emptied_and_of_no_component_is_more_than_one_pod_missing_at_once(restored: Cluster) -> None:
    node = fullest(restored)
    held = running(restored, node)
    assert held.total() > 3
    with Watching(restored, SAID.namespace) as watching:
        restored.kubectl(*DRAIN, node, "--timeout=120s")
    assert running(restored, node) == Counter()
    missed = {name: count - watching.least[name] for name, (_, count) in budgets(restored).items()}
    assert {name for name, number in missed.items() if number > 1} == set()
    assert {name for name, number in missed.items() if number == 1} == held.keys()


def test_where_a_pod_finds_no_other_node_the_next_node_is_not_emptied_of_its_component(restored: Cluster) -> None:
    nodes = [f"node-{number}" for number in range(NODES)]
    first = fullest(restored)
    second = max(
        (node for node in nodes if node != first),
        key=lambda node: len(running(restored, node).keys() & running(restored, first).keys()),
    )
    # No place is left for what leaves the first.
    restored.kubectl("cordon", *nodes)
    evicted, held = running(restored, first), running(restored, second)
    kept = budgets(restored)
    stuck = held.keys() & evicted.keys()
    assert stuck
    with Watching(restored, SAID.namespace) as watching:
        # Of a component that has two pods there, the second one stays too.
        restored.asked(*DRAIN, first, "--timeout=10s")
        refused = restored.asked(*DRAIN, second, "--timeout=10s")
        assert refused.returncode != 0
        assert "Cannot evict pod as it would violate the pod's disruption budget" in refused.stderr
        assert running(restored, second).keys() >= stuck
        # There is place again: what waited goes on, and the node is emptied.
        restored.kubectl("uncordon", *(node for node in nodes if node not in (first, second)))
        # An eviction whose caller went away may count as under way for two minutes.
        restored.kubectl(*DRAIN, first, second, "--timeout=240s")
    assert running(restored, first) == running(restored, second) == Counter()
    assert {name: watching.least[name] for name, (least, _) in kept.items() if watching.least[name] < least} == {}
