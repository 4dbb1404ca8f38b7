"""What an OpenTelemetry Collector (contrib) does for a city: which spans it keeps, what it masks, how much memory it may use.

Two configurations are made of the same parts: for one machine (`collector.yaml` beside this file), and for a cluster, where
several collectors share the work (`k8s/base/collector`).
"""

from __future__ import annotations

from typing import Any

import yaml

from citybrain.observability import names
from citybrain.observability.sampling import SLOW_MS
from citybrain.observability.span_kinds import LEFT_OUT

Json = dict[str, Any]
VERSION = "0.161.0"
"""The release that the configurations are written for."""
OTLP_PORT, MEMBERS_PORT, HEALTH_PORT, PROMETHEUS_PORT = 4317, 4319, 13133, 9464
MASKED = {
    "the number of a mobile phone": r"\b1[3-9][0-9]{9}\b",
    "the number of an identity card": r"\b[1-9][0-9]{16}[0-9Xx]\b",
    "a token": r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",
}
"""What no attribute of a span should hold, as RE2 reads it. Services write none of it; it is masked all the same."""
KEPT_PERCENT = 5
"""Of the other traces so many are kept."""

_SAMPLING: Json = {
    # A step of a workflow may come later; then what was decided of its trace counts.
    "decision_wait": "10s",
    "num_traces": 50_000,
    "decision_cache": {"sampled_cache_size": 200_000, "non_sampled_cache_size": 200_000},
    "policies": [
        {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {"name": "slow", "type": "latency", "latency": {"threshold_ms": SLOW_MS}},
        {
            "name": "incidents",
            "type": "string_attribute",
            "string_attribute": {"key": names.INCIDENT_ID, "values": [".+"], "enabled_regex_matching": True},
        },
        {"name": "rest", "type": "probabilistic", "probabilistic": {"sampling_percentage": KEPT_PERCENT}},
    ],
}
_MEMORY = {"check_interval": "1s", "limit_percentage": 80, "spike_limit_percentage": 20}
_REDACTION = {"allow_all_keys": True, "blocked_values": list(MASKED.values()), "summary": "silent"}
_LEFT_OUT: Json = {"actions": [{"key": name, "action": "delete"} for name in LEFT_OUT]}
_PROCESSORS: Json = {
    "memory_limiter": _MEMORY, "attributes": _LEFT_OUT, "redaction": _REDACTION, "tail_sampling": _SAMPLING, "batch": {},
}  # fmt: skip
_FIRST = ("memory_limiter", "attributes", "redaction")


def on_one_machine() -> Json:
    """For a city on one machine: spans go to a backend, metrics are read by a Prometheus of the machine."""
    return {
        "extensions": {"health_check": {"endpoint": f"127.0.0.1:{HEALTH_PORT}"}},
        "receivers": {"otlp": _otlp(f"127.0.0.1:{OTLP_PORT}")},
        "processors": _PROCESSORS,
        "exporters": {
            "otlp/traces": _backend("TRACES"),
            "prometheus": {"endpoint": f"127.0.0.1:{PROMETHEUS_PORT}", "enable_open_metrics": True},
        },
        "service": _service(
            traces=_pipeline(["otlp"], [*_FIRST, "tail_sampling", "batch"], ["otlp/traces"]),
            metrics=_pipeline(["otlp"], ["memory_limiter", "batch"], ["prometheus"]),
        ),
    }


def in_a_cluster(members: str) -> Json:
    """For several collectors: all spans of a trace go to the same one of them, which decides. `members`: the name of all."""
    balancing = {
        "routing_key": "traceID",
        "protocol": {"otlp": {"tls": {"insecure": True}}},
        "resolver": {"dns": {"hostname": members, "port": str(MEMBERS_PORT)}},
    }
    return {
        "extensions": {"health_check": {"endpoint": f"0.0.0.0:{HEALTH_PORT}"}},
        "receivers": {"otlp": _otlp(f"0.0.0.0:{OTLP_PORT}"), "otlp/members": _otlp(f"0.0.0.0:{MEMBERS_PORT}")},
        "processors": _PROCESSORS,
        "exporters": {
            "loadbalancing": balancing,
            **{f"otlp/{kind.lower()}": _backend(kind) for kind in ("TRACES", "METRICS")},
        },
        "service": _service(**{
            "traces/in": _pipeline(["otlp"], list(_FIRST), ["loadbalancing"]),
            "traces": _pipeline(["otlp/members"], ["memory_limiter", "tail_sampling", "batch"], ["otlp/traces"]),
            "metrics": _pipeline(["otlp"], ["memory_limiter", "batch"], ["otlp/metrics"]),
        }),
    }  # fmt: skip


def text(configuration: Json) -> str:
    """A configuration as its file has it."""
    return yaml.safe_dump(configuration, sort_keys=False, width=1_000_000)


def _otlp(endpoint: str) -> Json:
    return {"protocols": {"grpc": {"endpoint": endpoint}}}


def _backend(kind: str) -> Json:
    return {"endpoint": f"${{env:{kind}_BACKEND}}", "tls": {"insecure": f"${{env:{kind}_PLAIN}}"}}


def _pipeline(receivers: list[str], processors: list[str], exporters: list[str]) -> Json:
    return {"receivers": receivers, "processors": processors, "exporters": exporters}


def _service(**pipelines: Json) -> Json:
    return {"extensions": ["health_check"], "pipelines": pipelines}
