"""Every environment is taken by a real API server, becomes ready, and is not changed by being applied again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from citybrain.k8s.light import NAMESPACE
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import ENVIRONMENTS, City
from tests.unit.test_tiltfile import Tilt

Object = dict[str, Any]
pytestmark = pytest.mark.timeout(600)
environments = pytest.mark.parametrize("environment", ENVIRONMENTS)


def rendered(city: City, environment: str) -> list[Object]:
    return list(yaml.safe_load_all(city.done(f"kubectl kustomize k8s/overlays/{environment}")))


def there(cluster: Cluster, objects: list[Object]) -> dict[tuple[str, str], Object]:
    """The objects as the cluster has them, without what its controllers write into their status."""
    found: list[Object] = []
    for namespace in {one["metadata"].get("namespace", "") for one in objects}:
        kinds = {
            f"{one['kind']}.{one['apiVersion'].partition('/')[0]}" if "/" in one["apiVersion"] else one["kind"]
            for one in objects
            if one["metadata"].get("namespace", "") == namespace
        }
        words = ["--namespace", namespace] if namespace else []
        found += cluster.get(",".join(sorted(kinds)).lower(), *words)
    wanted = {(one["kind"], one["metadata"]["name"]) for one in objects}
    kept = {}
    for one in found:
        key = one["kind"], one["metadata"]["name"]
        if key in wanted:
            has_status = one.pop("status", None) is not None
            fields = one["metadata"].get("managedFields", [])
            one["metadata"]["managedFields"] = [by for by in fields if by.get("subresource") != "status"]
            if has_status:
                del one["metadata"]["resourceVersion"]
            kept[key] = one
    assert kept.keys() == wanted
    return kept


@environments
def test_an_environment_is_applied_without_a_warning_and_all_of_it_becomes_ready(city: City, environment: str) -> None:
    assert "Warning" not in city.apply(environment)


@environments
def test_an_environment_that_is_applied_again_is_not_changed(city: City, environment: str) -> None:
    city.apply(environment)
    objects = rendered(city, environment)
    namespace = ENVIRONMENTS[environment].namespace
    before, pods = there(city.cluster, objects), city.cluster.get("pods", "--namespace", namespace)
    assert len(before) > 60
    city.apply(environment)
    after = there(city.cluster, objects)
    assert [json.dumps([before[key], after[key]]) for key in before if before[key] != after[key]] == []
    again = city.cluster.get("pods", "--namespace", namespace)
    assert {one["metadata"]["uid"] for one in again} == {one["metadata"]["uid"] for one in pods}
    assert city.run(f"kubectl diff --server-side -k k8s/overlays/{environment}").returncode == 0


def test_the_city_of_a_laptop_is_applied_without_a_warning_and_becomes_ready(city: City) -> None:
    assert "Warning" not in city.done("kubectl apply --server-side -k k8s/overlays/light")
    workloads = city.cluster.get("deployments,statefulsets", "--namespace", NAMESPACE)
    assert len(workloads) > 9
    for one in workloads:
        name = f"{one['kind']}/{one['metadata']['name']}"
        city.cluster.kubectl("rollout", "status", name, "--namespace", NAMESPACE, "--timeout=120s")
    city.cluster.wait("Complete", "jobs", "--all", "--namespace", NAMESPACE)


@pytest.mark.parametrize("engines", ["light", "real"])
def test_the_cluster_takes_what_the_tiltfile_makes_of_them(city: City, engines: str) -> None:
    objects = Tilt(engines=engines).objects
    (namespace,) = [one for one in objects if one["kind"] == "Namespace"]
    city.cluster.kubectl("apply", "--server-side", "--filename=-", given=namespace)
    # Jobs that are there cannot be changed: theirs is not compared with the one of the overlay.
    compared = [one for one in objects if one["kind"] != "Job"]
    tried = ["apply", "--server-side", "--dry-run=server", "--force-conflicts", "--filename=-"]
    assert len(city.cluster.kubectl(*tried, given=compared).splitlines()) == len(compared)


def test_the_cluster_refuses_a_field_that_no_kind_of_an_operator_has(city: City) -> None:
    (pool,) = [one for one in rendered(city, "production") if one["kind"] == "KafkaNodePool"]
    pool["spec"]["replica"] = 3
    refused = city.cluster.asked("apply", "--server-side", "--dry-run=server", "--filename=-", given=pool)
    assert refused.returncode != 0 and ".spec.replica: field not declared in schema" in refused.stderr


def test_the_cluster_refuses_a_pod_that_may_do_more_than_ours(production: City) -> None:
    words = ["run", "intruder", "--image=citybrain:0.1.0", "--privileged", "--namespace", ENVIRONMENTS["production"].namespace]
    refused = production.cluster.asked(*words)
    assert refused.returncode != 0 and "violates PodSecurity" in refused.stderr
