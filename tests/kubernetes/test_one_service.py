"""One service is released, taken back and removed by the commands of docs/deploying.md, and the others do not notice."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.helpers.waiting import until
from tests.kubernetes.cluster import Cluster, Object
from tests.kubernetes.conftest import ENVIRONMENTS, NAME, City, documented
from tests.kubernetes.watching import Watching

SAID = ENVIRONMENTS["production"]
THERE = ("--namespace", SAID.namespace)
pytestmark = pytest.mark.timeout(600)


def pods(cluster: Cluster) -> dict[str, set[str]]:
    """The names of pods, by component."""
    found: dict[str, set[str]] = {}
    for one in cluster.get("pods", *THERE):
        found.setdefault(one["metadata"]["labels"][NAME], set()).add(one["metadata"]["name"])
    return found


def images(cluster: Cluster) -> set[str]:
    """Of the pods of traffic."""
    found = cluster.get("pods", *THERE, f"--selector={NAME}=traffic")
    return {one["image"] for pod in found for one in pod["spec"]["containers"]}


def release(city: City) -> subprocess.CompletedProcess[str]:
    """Runs what the docs say; the result is that of `kubectl diff`."""
    change, make, diff, apply, status = documented("One sector alone")
    city.done(change)
    city.done(make)
    differs = city.run(diff)
    assert differs.returncode == 1, differs.stderr
    city.done(apply)
    city.done(status)
    return differs


def test_a_release_of_one_service_changes_its_pods_and_no_other_and_never_has_fewer_of_them(production: City) -> None:
    cluster = production.cluster
    before = pods(cluster)
    with Watching(cluster, SAID.namespace) as watching:
        differs = release(production)
        until(lambda: len(pods(cluster)["traffic"]) == SAID.copies.least, "the old pods are gone")
    changed = [line for line in differs.stdout.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    assert [line.split() for line in changed if "image:" in line] == [
        ["-", "image:", f"{SAID.image}:{SAID.tag}"],
        ["+", "image:", f"{SAID.image}:0.1.1"],
    ]
    # The generation and nothing else.
    assert {line.split()[1] for line in changed} == {"image:", "generation:"}
    after = pods(cluster)
    assert before.pop("traffic") & after.pop("traffic") == set()
    assert after == before
    assert images(cluster) == {f"{SAID.image}:0.1.1"}
    assert watching.least["traffic"] == SAID.copies.least

    production.done("sed -i 's/tags: {traffic: 0.1.1}/tags: {}/' k8s/environments.yaml && make k8s")
    production.apply("production")
    assert images(cluster) == {f"{SAID.image}:{SAID.tag}"}
    again = pods(cluster)
    del again["traffic"]
    assert again == before


def everything(cluster: Cluster) -> dict[str, set[str]]:
    """The names of all objects of the namespace, by kind, but for what was said of them (events)."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    wanted = [kind for kind in kinds if kind.partition(".")[0] != "events" and not kind.endswith("metrics.k8s.io")]
    found: dict[str, set[str]] = {}
    for one in cluster.get(",".join(wanted), *THERE):
        found.setdefault(one["kind"], set()).add(one["metadata"]["name"])
    return found


def play_cert_manager(cluster: Cluster) -> None:
    """Makes the Secrets of all Certificates, as cert-manager does, which leaves them when a Certificate goes."""
    secrets: list[Object] = []
    for one in cluster.get("certificates", *THERE):
        template = one["spec"].get("secretTemplate", {})
        metadata = {"name": one["spec"]["secretName"], "namespace": SAID.namespace, "labels": template.get("labels", {})}
        secrets.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"})
    cluster.kubectl("apply", "--server-side", "--filename=-", given=secrets)


def test_a_service_that_is_removed_leaves_nothing_behind_and_no_other_is_touched(production: City) -> None:
    cluster, root = production.cluster, production.root
    play_cert_manager(cluster)
    before, others = everything(cluster), pods(cluster)
    others.pop("gateway")
    production.done(".venv/bin/city new service parks --title 'Parks (公园)' --team parks && make k8s")
    production.apply("production")
    # Another configuration is another ConfigMap, and the one before stays.
    manifest = root / "services" / "parks" / "manifest.yaml"
    said = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    said["calls"] = ["citybrain.traffic.v1.TrafficService"]
    manifest.write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    production.done("make k8s")
    production.apply("production")
    play_cert_manager(cluster)
    with_it = everything(cluster)
    assert len([name for name in with_it["ConfigMap"] - before["ConfigMap"] if "parks" in name]) == 2
    assert "parks-mesh-tls" in with_it["Secret"]

    for command in documented("A service that goes"):
        production.done(command)
    production.ready("production")

    left: dict[str, set[str]] = {}

    def is_gone() -> bool:
        left.clear()
        there = everything(cluster)
        left.update({kind: more for kind, names in there.items() if (more := {name for name in names if "parks" in name})})
        return not left

    # Pods and EndpointSlices go with what owned them.
    until(is_gone, left)
    after = everything(cluster)
    new = {name for kind, names in after.items() for name in names - before.get(kind, set())}
    assert {name for name in new if not name.startswith("gateway-")} == set(), "the gateway alone knows of services"
    gone = {name for kind, names in before.items() for name in names - after.get(kind, set())}
    assert {name for name in gone if not name.startswith("gateway-")} == set()
    now = pods(cluster)
    now.pop("gateway")
    assert now == others
