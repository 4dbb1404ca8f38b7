"""The collector's configurations fit together: what is kept, what is masked, in which order. So do the files for Grafana."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from citybrain.k8s.components import MEMBERS, collector_yaml
from citybrain.observability import names
from citybrain.observability.collector import MASKED, MEMBERS_PORT, in_a_cluster, on_one_machine
from tests.unit.k8s.conftest import rendered

ROOT = Path(__file__).parents[3]
ROOM = ROOT / "observability"
CONFIGURATIONS = {"one machine": on_one_machine(), "a cluster": in_a_cluster(MEMBERS)}


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_every_part_that_a_pipeline_names_is_there_and_every_part_is_used(configuration: dict[str, Any]) -> None:
    pipelines = configuration["service"]["pipelines"].values()
    for kind in ("receivers", "processors", "exporters"):
        assert {one for pipeline in pipelines for one in pipeline[kind]} == configuration[kind].keys()
    assert set(configuration["service"]["extensions"]) == configuration["extensions"].keys()


@pytest.mark.parametrize("configuration", CONFIGURATIONS.values(), ids=CONFIGURATIONS.keys())
def test_memory_is_looked_at_first_and_nothing_leaves_before_it_is_masked(configuration: dict[str, Any]) -> None:
    pipelines = configuration["service"]["pipelines"]
    assert {pipeline["processors"][0] for pipeline in pipelines.values()} == {"memory_limiter"}
    for name, pipeline in pipelines.items():
        if "otlp" in pipeline["receivers"] and name.startswith("traces"):
            assert "redaction" in pipeline["processors"]
            assert "attributes" in pipeline["processors"]
            assert {"key": "grpc.message", "action": "delete"} in configuration["processors"]["attributes"]["actions"]
        if "tail_sampling" in pipeline["processors"]:
            # Batches that were made before would be taken apart again.
            assert pipeline["processors"][-2:] == ["tail_sampling", "batch"]


def test_in_a_cluster_one_collector_decides_on_all_spans_of_a_trace() -> None:
    configuration = yaml.safe_load(collector_yaml())
    balancing = configuration["exporters"]["loadbalancing"]
    assert balancing["routing_key"] == "traceID"
    assert balancing["resolver"]["dns"] == {"hostname": MEMBERS, "port": str(MEMBERS_PORT)}
    receiver = configuration["receivers"]["otlp/members"]["protocols"]["grpc"]["endpoint"]
    assert receiver.endswith(f":{MEMBERS_PORT}")
    deciding = [one for one in configuration["service"]["pipelines"].values() if "tail_sampling" in one["processors"]]
    assert [one["receivers"] for one in deciding] == [["otlp/members"]]


def test_errors_slow_calls_and_everything_of_an_incident_are_kept() -> None:
    policies = {one["name"]: one for one in on_one_machine()["processors"]["tail_sampling"]["policies"]}
    assert policies["errors"]["status_code"] == {"status_codes": ["ERROR"]}
    assert policies["slow"]["latency"]["threshold_ms"] == 500
    incidents = policies["incidents"]["string_attribute"]
    assert incidents["key"] == names.INCIDENT_ID and re.fullmatch(incidents["values"][0], "inc-3f9a0c21b7de")
    assert 0 < policies["rest"]["probabilistic"]["sampling_percentage"] < 100


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("call 13800138000 back", "the number of a mobile phone"),
        ("33010619900307441X", "the number of an identity card"),
        ("Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.abc_-1", "a token"),
    ],
)
def test_what_belongs_to_a_person_is_masked(text: str, masked: str) -> None:
    assert [name for name, pattern in MASKED.items() if re.search(pattern, text, re.ASCII)] == [masked]


@pytest.mark.parametrize(
    "text", ["inc-3f9a0c21b7de", "0f6d3f0e-7a0b-5f57-8a52-138001380001", "0af7651916cd43dd8448eb211c80319c", "1767600000000000"]
)
def test_ids_and_moments_stay_as_they_are(text: str) -> None:
    assert [name for name, pattern in MASKED.items() if re.search(pattern, text, re.ASCII)] == []


def test_grafana_finds_the_dashboards_and_the_traces_of_exemplars() -> None:
    sources = yaml.safe_load((ROOM / "provisioning" / "datasources" / "city.yaml").read_text(encoding="utf-8"))["datasources"]
    prometheus, traces = sources
    (leads,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert leads == {"name": "trace_id", "datasourceUid": traces["uid"]}
    (provider,) = yaml.safe_load((ROOM / "provisioning" / "dashboards" / "city.yaml").read_text(encoding="utf-8"))["providers"]
    assert provider["options"]["path"].endswith("observability/grafana")
    uids = [json.loads(path.read_text(encoding="utf-8"))["uid"] for path in (ROOM / "grafana").glob("*.json")]
    assert len(set(uids)) == len(uids) > 10


def test_a_cluster_gets_every_dashboard_and_every_rule() -> None:
    maps = rendered(ROOM)
    shown = {name for one in maps if one["metadata"]["labels"].get("grafana_dashboard") for name in one["data"]}
    assert shown == {path.name for path in (ROOM / "grafana").glob("*.json")}
    (rules,) = [one for one in maps if one["metadata"]["name"] == "rules"]
    assert rules["data"].keys() == {path.name for path in (ROOM / "prometheus" / "rules").glob("*.yaml")}
    # What a ConfigMap may hold.
    assert max(len(json.dumps(one)) for one in maps) < 1_000_000
