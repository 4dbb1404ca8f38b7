"""The overlay for a laptop's cluster: the same services, and nothing that an operator or an administrator must give."""

from __future__ import annotations

from pathlib import Path

import pytest

from citybrain.cli.gateway import AtTheGateway
from citybrain.k8s.configurations import GIVEN, PASSWORDS, name_of
from citybrain.mesh.settings.configuration import load
from citybrain.mesh.settings.values import Settings
from citybrain.mesh.startup.serve import addresses
from tests.unit.k8s.conftest import SERVICES, named, overlay
from tests.unit.k8s.test_rendered import unfit

LIGHT = overlay("light")
COMPONENTS = [*(name_of(one) for one in SERVICES), "prepare"]


def configured(name: str) -> str:
    (text,) = [one["data"]["city.yaml"] for one in LIGHT if one["metadata"]["name"].startswith(f"{name}-config-")]
    return str(text)


def test_every_object_fits_its_strict_schema_and_is_of_a_kind_of_kubernetes_itself() -> None:
    assert [f"{one['kind']} {one['metadata']['name']}: {what}" for one in LIGHT for what in unfit(one)] == []


def test_every_service_and_the_gateway_are_there() -> None:
    for name in [*(name_of(one) for one in SERVICES), "gateway"]:
        named(LIGHT, "Deployment", name)
        named(LIGHT, "Service", name)


@pytest.mark.parametrize("name", COMPONENTS)
def test_processes_speak_plain_text_to_engines_of_this_overlay(name: str, tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text(configured(name), encoding="utf-8")
    variables = named(LIGHT, "ConfigMap", "citybrain-environment")["data"]
    settings = load(Settings, file=tmp_path / "city.yaml", environment=variables).settings
    assert (settings.profile, settings.store, settings.kafka.tls) == ("laptop", "distributed", False)
    assert settings.cassandra.user == ""
    for address in (settings.kafka.addresses, settings.cassandra.addresses):
        host, _, port = address.partition(":")
        assert int(port) in [one["port"] for one in named(LIGHT, "Service", host)["spec"]["ports"]]
    calls = {name_of(one): one.calls for one in SERVICES}.get(name, [])
    assert sorted(addresses(settings.peers, SERVICES)) == sorted(calls)


def test_the_gateway_makes_a_certificate_of_its_own_and_leads_to_every_service(tmp_path: Path) -> None:
    (tmp_path / "city.yaml").write_text(configured("gateway"), encoding="utf-8")
    settings = load(AtTheGateway, file=tmp_path / "city.yaml", environment={}).settings
    assert (settings.gateway.certificate, settings.gateway.plain) == (None, True)
    assert settings.peers.keys() == {one.name for one in SERVICES}


def test_pods_use_no_secret_but_those_that_are_made_for_a_city_and_mount_only_what_they_have() -> None:
    for one in LIGHT:
        spec = one.get("spec", {}).get("template", {}).get("spec", {})
        volumes = spec.get("volumes", [])
        for volume in volumes:
            sources = [source["secret"]["name"] for source in volume.get("projected", {}).get("sources", [])]
            sources += [volume["secret"]["secretName"]] if "secret" in volume else []
            assert set(sources) <= GIVEN.keys() - {PASSWORDS}
        for container in [*spec.get("containers", []), *spec.get("initContainers", [])]:
            assert {place["name"] for place in container["volumeMounts"]} <= {volume["name"] for volume in volumes}


def test_cassandra_lets_everybody_in_and_keeps_nothing() -> None:
    (text,) = [one["data"]["cassandra.yaml"] for one in LIGHT if one["metadata"]["name"].startswith("cassandra-config-")]
    assert "PasswordAuthenticator" not in text and "paxos_variant: v2" in text
    spec = named(LIGHT, "StatefulSet", "cassandra")["spec"]
    assert "volumeClaimTemplates" not in spec and spec["replicas"] == 1
    for environment in ("dev", "production"):
        (guarded,) = [
            one["data"]["cassandra.yaml"]
            for one in overlay(environment)
            if one["metadata"]["name"].startswith("cassandra-config-")
        ]
        assert "authenticator: PasswordAuthenticator" in guarded
