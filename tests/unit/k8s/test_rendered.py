"""What is made for a cluster: every service is there, fits the schemas, and may be reached by whom the manifests say."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from citybrain.cli.gateway import AtTheGateway
from citybrain.k8s import generator
from citybrain.k8s.configurations import GIVEN, PROBE_PORT, name_of
from citybrain.k8s.environments import Environment, read
from citybrain.k8s.generator import ROOM, drift, made, write
from citybrain.mesh.access.certificates import MESH_NAME
from citybrain.mesh.settings.configuration import load
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.startup.serve import addresses
from tests.unit.k8s.conftest import ENVIRONMENTS, SERVICES, Object, named, overlay, rendered
from tools.kubernetes import SCHEMAS

# Kinds of operators, of which there is no schema here.
OF_OPERATORS = {"cert-manager.io", "kafka.strimzi.io"}
NAME = "app.kubernetes.io/name"
environments = pytest.mark.parametrize("environment", ENVIRONMENTS)


def test_what_is_committed_is_what_is_made() -> None:
    assert drift() == []


def test_what_was_changed_by_hand_and_what_is_no_more_made_has_drifted(tmp_path: Path) -> None:
    write(made(SERVICES, ENVIRONMENTS), tmp_path)
    assert drift(tmp_path) == []
    (tmp_path / "base" / "traffic" / "objects.yaml").write_text("", encoding="utf-8")
    (tmp_path / "base" / "parks").mkdir()
    (tmp_path / "base" / "parks" / "objects.yaml").touch()
    assert drift(tmp_path) == ["base/parks/objects.yaml", "base/traffic/objects.yaml"]
    write(made(SERVICES, ENVIRONMENTS), tmp_path)
    assert drift(tmp_path) == []


# -- schemas ----------------------------------------------------------------------------------------------------------------


@cache
def validator(kind: str, version: str) -> Any:
    """The strict schema of a kind, which refuses a field that it does not know."""
    group, slash, number = version.rpartition("/")
    name = f"{kind.lower()}-{group.split('.')[0]}{'-' if slash else ''}{number}.json"
    definitions = Resource.from_contents(json.loads((SCHEMAS / "_definitions.json").read_text(encoding="utf-8")))
    return Draft202012Validator(json.loads((SCHEMAS / name).read_text(encoding="utf-8")), registry=definitions @ Registry())


def unfit(one: Object) -> list[str]:
    return [error.message for error in validator(one["kind"], one["apiVersion"]).iter_errors(one)]


@environments
def test_every_object_of_a_kind_of_kubernetes_fits_its_strict_schema(environment: str) -> None:
    checked = [one for one in overlay(environment) if one["apiVersion"].split("/")[0] not in OF_OPERATORS]
    assert len(checked) > 60
    assert [f"{one['kind']} {one['metadata']['name']}: {what}" for one in checked for what in unfit(one)] == []


def test_a_misspelt_field_does_not_fit_its_schema() -> None:
    one = json.loads(json.dumps(named(overlay("production"), "Deployment", "traffic")))
    assert unfit(one) == []
    one["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert any("readynessProbe" in what for what in unfit(one))


# -- services ---------------------------------------------------------------------------------------------------------------

KINDS = {
    "ServiceAccount", "Service", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Certificate", "NetworkPolicy",
    "ConfigMap",
}  # fmt: skip


@environments
@pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)
def test_every_service_is_there_with_all_that_it_needs_and_can_be_applied_alone(environment: str, service: Any) -> None:
    alone = overlay(environment, name_of(service))
    assert {one["kind"] for one in alone} == KINDS and len(alone) == len(KINDS)
    assert {one["metadata"]["namespace"] for one in alone} == {ENVIRONMENTS[environment].namespace}
    everything = overlay(environment)
    assert [one for one in alone if one not in everything] == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda one: one.name)
def test_a_pod_is_asked_for_its_own_service_and_started_anew_only_if_its_process_does_not_answer(service: Any) -> None:
    (one,) = named(overlay("production"), "Deployment", name_of(service))["spec"]["template"]["spec"]["containers"]
    asked = {probe: one[f"{probe}Probe"]["grpc"] for probe in ("startup", "readiness", "liveness")}
    assert {probe["port"] for probe in asked.values()} == {PROBE_PORT}
    assert asked["readiness"]["service"] == service.grpc
    assert asked["liveness"]["service"] == asked["startup"]["service"] == "citybrain.mesh.v1.MeshService"


def test_a_pod_has_longer_to_end_than_its_process_waits_for_calls() -> None:
    spec = named(overlay("production"), "Deployment", "traffic")["spec"]["template"]["spec"]
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pause + Settings.model_fields["drain_s"].default


def test_the_certificates_of_the_mesh_are_for_the_name_that_processes_compare() -> None:
    certificates = [one["spec"] for one in overlay("production") if one["kind"] == "Certificate"]
    found = [one for one in certificates if one["issuerRef"]["name"] == "mesh"]
    assert len(found) == len(SERVICES) + 1
    for one in found:
        assert one["dnsNames"] == [MESH_NAME] and {"server auth", "client auth"} <= set(one["usages"])


@environments
def test_every_secret_that_a_pod_names_is_given_or_made_by_an_operator(environment: str) -> None:
    objects = overlay(environment)
    made_here = {one["spec"]["secretName"] for one in objects if one["kind"] == "Certificate"}
    of_kafka = {one["metadata"]["name"] for one in objects if one["kind"] == "KafkaUser"} | {"city-cluster-ca-cert"}
    used: dict[str, set[str]] = {}
    for one in objects:
        for volume in one.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", []):
            sources = [{"name": volume["secret"]["secretName"], **volume["secret"]}] if "secret" in volume else []
            sources += [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
            for source in sources:
                used.setdefault(source["name"], set()).update(item["key"] for item in source.get("items", []))
    assert used.keys() == GIVEN.keys() | of_kafka | (made_here - {"mesh-authority"})
    assert all(keys <= set(GIVEN[name]) for name, keys in used.items() if name in GIVEN)


def test_only_processes_that_sign_have_the_private_keys_and_only_those_that_seal_the_master_key() -> None:
    workloads = [one for one in overlay("production") if one["kind"] in ("Deployment", "Job")]

    def given(secret: str, key: str) -> set[str]:
        """The pods that have a key of a secret."""
        found = set()
        for one in workloads:
            for volume in one["spec"]["template"]["spec"]["volumes"]:
                sources = [source["secret"] for source in volume.get("projected", {}).get("sources", [])]
                sources += [{"name": volume["secret"]["secretName"], **volume["secret"]}] if "secret" in volume else []
                if any(one["name"] == secret and key in str(one.get("items", key)) for one in sources):
                    found.add(one["spec"]["template"]["metadata"]["labels"][NAME])
        return found

    services = {name_of(one) for one in SERVICES}
    assert given("citybrain-identity", "ring.json") == services
    assert given("citybrain-identity", "jwks.json") == {*services, "gateway"}
    assert given("citybrain-master-key", "master.key") == {*services, "prepare"}
    assert given("citybrain-cassandra", "keeper") == services
    assert given("citybrain-cassandra", "prepare") == {"prepare"}


# -- configuration ----------------------------------------------------------------------------------------------------------


def configuration(environment: str, name: str) -> tuple[str, dict[str, str]]:
    objects = overlay(environment)
    (text,) = [
        one["data"]["city.yaml"]
        for one in objects
        if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith(f"{name}-config-")
    ]
    return text, named(objects, "ConfigMap", "citybrain-environment")["data"]


@environments
@pytest.mark.parametrize("name", [*(name_of(one) for one in SERVICES), "prepare"])
def test_production_takes_the_configuration_of_every_process(environment: str, name: str, tmp_path: Path) -> None:
    text, variables = configuration(environment, name)
    (tmp_path / "city.yaml").write_text(text, encoding="utf-8")
    settings = load(Settings, file=tmp_path / "city.yaml", environment=variables).settings
    copies = ENVIRONMENTS[environment].engines.copies
    assert (settings.profile, settings.store) == ("production", "distributed")
    assert (settings.kafka.replication, settings.cassandra.replication) == (copies, {"hangzhou": copies})
    calls = {name_of(one): one.calls for one in SERVICES}.get(name, [])
    assert sorted(addresses(settings.peers, SERVICES)) == sorted(calls)


def test_production_takes_the_configuration_of_the_gateway_and_it_leads_to_every_service(tmp_path: Path) -> None:
    text, _ = configuration("production", "gateway")
    (tmp_path / "city.yaml").write_text(text, encoding="utf-8")
    settings = load(AtTheGateway, file=tmp_path / "city.yaml", environment={}).settings
    assert settings.peers == {one.name: f"{name_of(one)}:{one.port}" for one in SERVICES}


# -- who reaches whom -------------------------------------------------------------------------------------------------------


def selects(selector: Object, labels: dict[str, str]) -> bool:
    # Operators: only the one that is used.
    absent = [one["key"] for one in selector.get("matchExpressions", []) if one["operator"] == "DoesNotExist"]
    return selector.get("matchLabels", {}).items() <= labels.items() and not set(absent) & set(labels)


def pods() -> dict[str, dict[str, str]]:
    found = {}
    for one in overlay("production"):
        if one["kind"] in ("Deployment", "StatefulSet", "Job"):
            labels = one["spec"]["template"]["metadata"]["labels"]
            found[labels[NAME]] = labels
    return {**found, "kafka": {"strimzi.io/cluster": "city"}}


def reach(source: str, target: str, port: int) -> bool:
    """Whether the policies let a connection through, at both of its ends."""
    known = pods()
    policies = [one["spec"] for one in overlay("production") if one["kind"] == "NetworkPolicy"]

    def peers(rules: list[Object], side: str, pod: str) -> bool:
        here = [rule for rule in rules if any(one["port"] == port for one in rule["ports"])]
        # A rule without peers is for everybody. Other namespaces have none of our pods.
        return any(
            side not in rule
            or any("namespaceSelector" not in peer and selects(peer["podSelector"], known[pod]) for peer in rule[side])
            for rule in here
        )

    def allows(pod: str, other: str, way: str, side: str) -> bool:
        here = [one for one in policies if selects(one["podSelector"], known[pod]) and way.title() in one["policyTypes"]]
        return not here or peers([rule for one in here for rule in one.get(way, [])], side, other)

    return allows(source, target, "egress", "to") and allows(target, source, "ingress", "from")


def test_services_are_reached_by_the_gateway_and_by_those_whose_manifests_call_them_and_by_nobody_else() -> None:
    for target in SERVICES:
        wanted = {"gateway", *(name_of(one) for one in SERVICES if target.grpc in one.calls)}
        found = {source for source in pods() if source != name_of(target) and reach(source, name_of(target), target.port)}
        assert found == wanted, target.name
        assert not any(reach(source, name_of(target), PROBE_PORT) for source in pods()), "kubelet alone asks there"


def test_engines_are_reached_by_processes_that_keep_events_and_the_collector_by_all_that_send_spans() -> None:
    def reaching(target: str, port: int) -> set[str]:
        return {source for source in pods() if source not in (target, "kafka") and reach(source, target, port)}

    services = {name_of(one) for one in SERVICES}
    assert reaching("kafka", 9093) == reaching("cassandra", 9042) == {*services, "prepare"}
    assert reach("cassandra", "cassandra", 7000) and reaching("cassandra", 7000) == set()
    assert reaching("collector", 4317) == {*services, "gateway"}


# -- one sector alone -------------------------------------------------------------------------------------------------------


def test_with_the_tag_of_one_service_only_its_deployment_changes(rendering: Callable[..., tuple[Object, ...]]) -> None:
    said = ENVIRONMENTS["production"]
    before = overlay("production")
    after = rendering(said.model_copy(update={"tags": {"traffic": "0.1.1"}}))
    changed = [(one, other) for one, other in zip(before, after, strict=True) if one != other]
    ((old, new),) = changed
    assert (old["kind"], old["metadata"]["name"]) == ("Deployment", "traffic")
    (image,) = [one["image"] for one in new["spec"]["template"]["spec"]["containers"]]
    assert image == f"{said.image}:0.1.1"
    assert json.loads(json.dumps(new).replace(image, f"{said.image}:{said.tag}")) == old


def test_a_new_service_is_there_with_its_manifest_and_changes_of_the_others_only_the_gateway(
    rendering: Callable[..., tuple[Object, ...]],
) -> None:
    parks = SERVICES[0].model_copy(
        update={"name": "city_parks", "grpc": "citybrain.parks.v1.ParksService", "port": 7990, "calls": [SERVICES[1].grpc]}
    )
    before, after = overlay("production"), rendering(ENVIRONMENTS["production"], [*SERVICES, parks])
    new = {(one["kind"], one["metadata"]["labels"][NAME]) for one in after if one not in before and "labels" in one["metadata"]}
    own = {(kind, "city-parks") for kind in KINDS}
    called = ("NetworkPolicy", name_of(SERVICES[1]))
    assert new == own | {("ConfigMap", "gateway"), ("Deployment", "gateway"), ("NetworkPolicy", "gateway"), called}


@environments
def test_what_is_left_when_a_component_goes_is_found_by_its_label(environment: str) -> None:
    # Configurations of before, and Secrets of cert-manager, are in no file.
    for one in overlay(environment):
        if one["kind"] == "ConfigMap":
            assert one["metadata"]["labels"][NAME] in one["metadata"]["name"]
        if one["kind"] == "Certificate":
            assert one["spec"]["secretTemplate"]["labels"][NAME] == one["metadata"]["labels"][NAME]


def test_the_base_gathers_every_component() -> None:
    objects = rendered(ROOM / "base")
    named(objects, "Deployment", "gateway")
    for one in SERVICES:
        named(objects, "Deployment", name_of(one))


# -- environments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tag": "latest"}, "latest is not one thing"),
        ({"tags": {"traffic": "latest"}}, "latest is not one thing"),
        ({"copies": {"least": 3, "most": 2}}, "copies.least is more than copies.most"),
        ({"copies": {"least": 3, "most": 17}}, "would get no partition"),
        ({"image": "registry.example/citybrain:0.1"}, "image"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_said_of_an_environment_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    whole = yaml.safe_load((ROOM / "environments.yaml").read_text(encoding="utf-8"))
    whole["production"] |= change
    (tmp_path / "environments.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "environments.yaml")


def test_a_tag_of_a_service_that_is_not_there_is_refused() -> None:
    wrong: Environment = ENVIRONMENTS["production"].model_copy(update={"tags": {"trafic": "0.1.1"}})
    with pytest.raises(ValueError, match=r"production\.tags names trafic"):
        generator.made(SERVICES, {"production": wrong})
