"""The configuration made from our real manifests and contracts, without a running Envoy."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from citybrain.options.v1 import options_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from pydantic import ValidationError

from citybrain.gateway import configuration as made
from citybrain.gateway import pages
from citybrain.gateway.comments import without_comments
from citybrain.gateway.configuration import as_yaml
from citybrain.gateway.edge import access_log
from citybrain.gateway.errors import GatewayError
from citybrain.gateway.filters import FILTER_ORDER
from citybrain.gateway.methods import CLOCK, HEALTH, REFLECTION, routes
from citybrain.gateway.reload import apart
from citybrain.gateway.settings import GatewaySettings, Issuer
from citybrain.gateway.tls import MESH, MESH_AUTHORITIES
from citybrain.local.envoy import Envoy
from citybrain.mesh.manifest import Manifest, find_manifests
from citybrain.mesh.operations.mesh_service import SERVICE as MESH_SERVICE
from citybrain.mesh.settings.values import Tls

ROOT = Path(__file__).parents[3]
MANIFESTS = find_manifests([ROOT / "services", ROOT / "sagas"])
DESCRIPTORS = (ROOT / "build" / "descriptors.binpb").read_bytes()
UPSTREAMS = {manifest.name: f"127.0.0.1:{manifest.port}" for manifest in MANIFESTS}
ISSUER = Issuer(issuer="https://city.example", audiences=("citybrain",), jwks="jwks.json")
OTHER = Issuer(issuer="https://id.example", audiences=("partners",), jwks="https://id.example/keys")
# The key in an example of RFC 7517.
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
KEYS = json.dumps({"keys": [KEY]})


def settings(**changes: Any) -> GatewaySettings:
    return GatewaySettings(**{"upstreams": UPSTREAMS, "identity": ISSUER, **changes})


def bootstrap(manifests: Sequence[Manifest], descriptors: bytes, chosen: GatewaySettings) -> dict[str, Any]:
    return made.bootstrap(manifests, descriptors, chosen, {one.issuer: KEYS for one in chosen.all_issuers})


def manager(configuration: dict[str, Any]) -> dict[str, Any]:
    (listener,) = configuration["static_resources"]["listeners"]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def routes_of(configuration: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = manager(configuration)["route_config"]["virtual_hosts"][0]["routes"]
    return found


def by_path(configuration: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["match"]["path"]: entry["route"] for entry in routes_of(configuration) if "route" in entry}


def contract_methods(contracts: bytes = DESCRIPTORS) -> list[tuple[str, Any]]:
    return [
        (f"{file.package}.{service.name}", method)
        for file in FileDescriptorSet.FromString(contracts).file
        for service in file.service
        for method in service.method
    ]


def without_scope(name: str) -> bytes:
    contracts = FileDescriptorSet.FromString(DESCRIPTORS)
    for file in contracts.file:
        for service in file.service:
            for method in service.method:
                if method.name == name:
                    method.options.ClearExtension(options_pb2.scope)  # type: ignore[arg-type]
    return contracts.SerializeToString()


def test_every_method_with_a_scope_has_a_route_and_a_json_form() -> None:
    paths = by_path(bootstrap(MANIFESTS, DESCRIPTORS, settings(driven=True)))
    open_methods = {route.path: route for route in routes(MANIFESTS, DESCRIPTORS, driven=True)}
    for service, method in contract_methods():
        path = f"/{service}/{method.name}"
        if service == MESH_SERVICE:
            assert path not in paths, f"{path} is for those who run the mesh"
            continue
        assert method.options.Extensions[options_pb2.scope], f"{path} has no scope"
        assert path in paths
        assert open_methods[path].http, f"{path} has no google.api.http mapping"
        assert open_methods[path].streaming == method.server_streaming


def test_closed_by_default() -> None:
    paths = by_path(bootstrap(MANIFESTS, without_scope("CancelIncident"), settings()))
    assert "/citybrain.emergency_command.v1.EmergencyCommandService/GetIncident" in paths
    assert "/citybrain.emergency_command.v1.EmergencyCommandService/CancelIncident" not in paths


def test_what_has_no_route_is_answered_by_the_gateway() -> None:
    *others, last = routes_of(bootstrap(MANIFESTS, DESCRIPTORS, settings()))
    assert last["match"] == {"prefix": "/"}
    assert last["direct_response"]["status"] == 404
    assert all("path" in other["match"] for other in others)


def test_only_what_has_a_manifest_is_open() -> None:
    only = [manifest for manifest in MANIFESTS if manifest.name == "health"]
    paths = by_path(bootstrap(only, DESCRIPTORS, settings()))
    assert {path.split("/")[1] for path in paths} == {"citybrain.health.v1.HealthService", HEALTH, *REFLECTION}


def test_the_clock_is_open_only_when_driven() -> None:
    assert not any(CLOCK in path for path in by_path(bootstrap(MANIFESTS, DESCRIPTORS, settings())))
    driven = by_path(bootstrap(MANIFESTS, DESCRIPTORS, settings(driven=True)))
    assert {path for path in driven if CLOCK in path} == {f"/{CLOCK}/Rest", f"/{CLOCK}/Advance"}


def test_reflection_can_be_closed() -> None:
    assert not any(REFLECTION[0] in path for path in by_path(bootstrap(MANIFESTS, DESCRIPTORS, settings(reflection=False))))


def test_the_order_of_filters() -> None:
    names = [one["name"].rpartition(".")[2] for one in manager(bootstrap(MANIFESTS, DESCRIPTORS, settings()))["http_filters"]]
    assert names == [name for name in FILTER_ORDER if name in names]
    own = {"outermost", "buffer", "lua", "errors"}
    access = {"jwt_authn", "local_ratelimit"}
    assert {"cors", "grpc_web", "grpc_json_transcoder", "grpc_stats", "router"} | own | access == set(names)
    assert FILTER_ORDER.index("grpc_json_transcoder") < FILTER_ORDER.index("jwt_authn") < FILTER_ORDER.index("ext_authz")
    assert FILTER_ORDER[-1] == "router"


@pytest.mark.parametrize("given", [{}, {"identity": None}, {"issuers": ()}], ids=str)
def test_there_is_no_gateway_without_an_issuer(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"must be at least one issuer .*: give `identity` or `issuers`"):
        GatewaySettings(upstreams=UPSTREAMS, **given)


@pytest.mark.parametrize(
    "given",
    [{}, {"identity": None, "issuers": (OTHER,)}, {"issuers": (OTHER,)}, {"driven": True, "pages": False, "reflection": False}],
    ids=["own", "another", "both", "little else"],
)
def test_every_gateway_asks_for_tokens_and_keeps_limits(given: dict[str, Any]) -> None:
    filters = manager(bootstrap(MANIFESTS, DESCRIPTORS, settings(**given)))["http_filters"]
    found = {one["name"].rpartition(".")[2]: one["typed_config"] for one in filters}
    assert "local_ratelimit" in found
    *_, rest = found["jwt_authn"]["rules"]
    assert rest["match"] == {"prefix": "/"} and rest["requires"]
    assert found["jwt_authn"]["providers"]


def test_deadlines() -> None:
    paths = by_path(bootstrap(MANIFESTS, DESCRIPTORS, settings(deadline_s=12.5, read_deadline_s=2.5)))
    for route in routes(MANIFESTS, DESCRIPTORS):
        action = paths[route.path]
        # Envoy's own timeout is not told to the service.
        assert action["timeout"] == "0s"
        if route.streaming:
            assert action["max_stream_duration"] == {"max_stream_duration": "0s"}
            assert action["idle_timeout"] == "0s"
        else:
            limit = "2.5s" if route.scope.endswith(".read") else "12.5s"
            assert action["max_stream_duration"] == {"max_stream_duration": limit, "grpc_timeout_header_max": limit}
    assert any(route.streaming for route in routes(MANIFESTS, DESCRIPTORS))


def test_the_request_id_is_the_callers() -> None:
    found = manager(bootstrap(MANIFESTS, DESCRIPTORS, settings()))
    assert found["preserve_external_request_id"]
    assert found["request_id_extension"]["typed_config"]["pack_trace_reason"] is False


def test_only_what_was_not_carried_out_is_tried_again() -> None:
    policy = manager(bootstrap(MANIFESTS, DESCRIPTORS, settings()))["route_config"]["virtual_hosts"][0]["retry_policy"]
    assert set(policy["retry_on"].split(",")) == {"connect-failure", "refused-stream", "reset-before-request", "cancelled"}


def test_only_what_may_be_repeated_is_tried_again_where_it_may_have_been_begun() -> None:
    paths = by_path(bootstrap(MANIFESTS, DESCRIPTORS, settings()))
    again = {path for path, action in paths.items() if "unavailable" in action.get("retry_policy", {}).get("retry_on", "")}
    marked = {
        f"/{file.package}.{service.name}/{method.name}"
        for file in FileDescriptorSet.FromString(DESCRIPTORS).file
        for service in file.service
        for method in service.method
        if method.options.idempotency_level in (MethodOptions.IDEMPOTENT, MethodOptions.NO_SIDE_EFFECTS)
    }
    assert "/citybrain.health.v1.HealthService/RegisterHospital" in marked
    open_ones = {route.path: route for route in routes(MANIFESTS, DESCRIPTORS)}
    reads = {path for path, route in open_ones.items() if route.scope.endswith(".read")}
    assert again == (marked & open_ones.keys()) | reads


def test_a_service_is_asked_for_its_own_health_and_what_belongs_to_none_for_the_whole_process() -> None:
    def asked(**chosen: object) -> dict[str, str]:
        clusters = bootstrap(MANIFESTS, DESCRIPTORS, settings(**chosen))["static_resources"]["clusters"]
        checks = {cluster["name"]: cluster.get("health_checks", []) for cluster in clusters}
        return {name: one["grpc_health_check"].get("service_name", "") for name, found in checks.items() for one in found}

    assert asked(health_checks=True) == {manifest.name: manifest.grpc for manifest in MANIFESTS} | {"system": ""}
    assert asked(health_checks=False) == {}


def test_admin_is_never_reachable_from_outside() -> None:
    configuration = bootstrap(MANIFESTS, DESCRIPTORS, settings(host="0.0.0.0"))  # noqa: S104
    assert configuration["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_names_and_addresses_of_upstreams() -> None:
    upstreams = {**UPSTREAMS, "health": "health.city.svc:7102, 127.0.0.1:7103"}
    configuration = bootstrap(MANIFESTS, DESCRIPTORS, settings(upstreams=upstreams))
    clusters = {cluster["name"]: cluster for cluster in configuration["static_resources"]["clusters"]}
    assert clusters["health"]["type"] == "STRICT_DNS"
    assert clusters["traffic"]["type"] == "STATIC"
    hosts = clusters["health"]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    addresses = [one["endpoint"]["address"]["socket_address"] for one in hosts]
    assert addresses == [
        {"address": "health.city.svc", "port_value": 7102}, {"address": "127.0.0.1", "port_value": 7103}
    ]  # fmt: skip


def test_the_yaml_says_the_same() -> None:
    configuration = bootstrap(MANIFESTS, DESCRIPTORS, settings())
    assert yaml.load(as_yaml(configuration), Loader=yaml.CSafeLoader) == configuration
    assert bootstrap(MANIFESTS, DESCRIPTORS, settings()) == configuration


@pytest.mark.parametrize("address", ["nowhere", "host:", ":80", "host:99999", "http://host:80", "host:80,", "host:80 other:80"])
def test_a_wrong_address_is_named(address: str) -> None:
    with pytest.raises(ValidationError, match=r"upstream of health: .* must be host:port"):
        settings(upstreams={"health": address})


def test_a_service_without_upstream_is_named() -> None:
    with pytest.raises(GatewayError, match=f"service {MANIFESTS[0].name} has no upstream"):
        bootstrap(MANIFESTS, DESCRIPTORS, settings(upstreams={}))


def test_a_service_without_contract_is_named() -> None:
    unknown = MANIFESTS[0].model_copy(update={"grpc": "citybrain.nothing.v1.NothingService"})
    with pytest.raises(
        GatewayError, match=rf"service {MANIFESTS[0].name}: citybrain\.nothing\.v1\.NothingService is not in the descriptor"
    ):
        bootstrap([unknown], DESCRIPTORS, settings())


def test_a_descriptor_set_that_is_none() -> None:
    with pytest.raises(GatewayError, match="make stubs"):
        bootstrap(MANIFESTS, b"\xff\xff", settings())
    with pytest.raises(GatewayError, match="error_details"):
        bootstrap(MANIFESTS, b"", settings())


@pytest.mark.envoy
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "driven": True,
            "health_checks": True,
            "otlp_endpoint": "http://127.0.0.1:4317",
            "cors_origins": ("https://a.example",),
        },
    ],
    ids=["plain", "everything"],
)
def test_envoy_accepts_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    keys = tmp_path / ISSUER.jwks
    keys.write_text(KEYS, encoding="utf-8")
    own = ISSUER.model_copy(update={"jwks": str(keys)})
    chosen = settings(identity=own, access_log=tmp_path / "access.log", **changes)
    Envoy(MANIFESTS, DESCRIPTORS, chosen, tmp_path).validate()


def test_of_the_headers_of_a_call_the_access_log_has_what_the_threat_model_says(tmp_path: Path) -> None:
    said = json.dumps(access_log(tmp_path / "access.log"))
    assert set(re.findall(r"%REQUEST_HEADER\(([^)]+)\)%", said)) == {"X-REQUEST-ID", ":METHOD"}
    assert "QUERY" not in said and "%PATH(WQ" not in said


# -- what a running Envoy takes up -------------------------------------------------------------------------------------------


def test_what_a_service_or_a_limit_changes_needs_no_restart(tmp_path: Path) -> None:
    before = apart(bootstrap(MANIFESTS, DESCRIPTORS, settings()), tmp_path)
    for manifests, chosen, changed in (
        (MANIFESTS[1:], settings(), {"clusters.json", "filter-grpc_json_transcoder.json", "filter-lua.json", "routes.json"}),
        (MANIFESTS, settings(upstreams={**UPSTREAMS, "health": "127.0.0.1:1"}), {"clusters.json"}),
        (MANIFESTS, settings(deadline_s=3), {"routes.json"}),
        (MANIFESTS, settings(calls_per_service=3), {"clusters.json"}),
    ):
        after = apart(bootstrap(manifests, DESCRIPTORS, chosen), tmp_path)
        assert after.bootstrap == before.bootstrap
        differ = {name for name, file in after.watched.items() if file.version != before.watched[name].version}
        assert differ - {"filter-grpc_stats.json"} == changed


def test_a_configuration_that_is_taken_apart_keeps_its_order_and_the_cluster_of_spans(tmp_path: Path) -> None:
    whole = bootstrap(MANIFESTS, DESCRIPTORS, settings(otlp_endpoint="127.0.0.1:4317"))
    parts = apart(whole, tmp_path)
    assert [one["name"] for one in parts.bootstrap["static_resources"]["clusters"]] == ["otlp"]
    first, *_, last = parts.watched
    assert (first, last) == ("clusters.json", "routes.json")
    assert [one["name"] for one in manager(parts.bootstrap)["http_filters"]] == [
        one["name"] for one in manager(whole)["http_filters"]
    ]


def test_services_are_called_with_a_certificate_that_is_taken_up_when_it_is_renewed_and_others_are_not(tmp_path: Path) -> None:
    files = Tls(authorities=tmp_path / "a.pem", certificate=tmp_path / "c.pem", certificate_key=tmp_path / "k.pem")
    whole = bootstrap(MANIFESTS, DESCRIPTORS, settings(mesh_tls=files, otlp_endpoint="http://127.0.0.1:4317", driven=True))
    parts = apart(whole, tmp_path)
    clusters = json.loads(parts.watched["clusters.json"].text)["resources"]
    assert {one["name"] for one in clusters} == {*UPSTREAMS, "system", "clock"}
    for one in clusters:
        context = one["transport_socket"]["typed_config"]
        common = context["common_tls_context"]
        trusted = common["combined_validation_context"]
        assert context["sni"] == "mesh.citybrain.local"
        assert [given["name"] for given in common["tls_certificate_sds_secret_configs"]] == [MESH]
        assert trusted["validation_context_sds_secret_config"]["name"] == MESH_AUTHORITIES
        (name,) = trusted["default_validation_context"]["match_typed_subject_alt_names"]
        assert name["matcher"] == {"exact": "mesh.citybrain.local"}
    (own,) = json.loads(parts.watched["mesh.json"].text)["resources"]
    assert own["tls_certificate"]["watched_directory"] == {"path": str(tmp_path)}
    (spans,) = parts.bootstrap["static_resources"]["clusters"]
    assert "transport_socket" not in spans
    plain = apart(bootstrap(MANIFESTS, DESCRIPTORS, settings()), tmp_path).watched["clusters.json"].text
    assert "transport_socket" not in plain


def test_documents_are_kept_and_follow_the_manifests_the_contracts_and_the_clock() -> None:
    plain = pages._documents(MANIFESTS, DESCRIPTORS, driven=False)
    other = [MANIFESTS[0].model_copy(update={"title": "Another title"}), *MANIFESTS[1:]]
    for changed in (
        pages._documents(MANIFESTS, DESCRIPTORS, driven=True),
        pages._documents(MANIFESTS[1:], DESCRIPTORS, driven=False),
        pages._documents(other, DESCRIPTORS, driven=False),
        pages._documents(MANIFESTS, without_comments(DESCRIPTORS), driven=False),
    ):
        assert changed != plain
    assert pages._documents(list(MANIFESTS), DESCRIPTORS, driven=False) == plain
    assert len(pages._made) <= pages._KEPT
