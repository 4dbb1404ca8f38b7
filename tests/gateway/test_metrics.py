"""What the dashboard of the gateway shows is what Envoy really tells after an answer, a mistake, and a call without a token."""

from __future__ import annotations

import json
import re
from pathlib import Path

import promql_parser
import pytest

from citybrain.local.envoy import Envoy
from tests.gateway.conftest import call_json
from tests.helpers.promql import selectors

pytestmark = pytest.mark.envoy
FILE = Path(__file__).parents[2] / "observability" / "grafana" / "city-gateway.json"
LINE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.M)
LABEL = re.compile(r'(\w+)="([^"]*)"')
PANELS = json.loads(FILE.read_text(encoding="utf-8"))["panels"]


def test_every_panel_of_the_gateway_finds_numbers_of_envoy(gateway: Envoy) -> None:
    assert call_json(gateway.address, "GET", "/v1/incidents/inc-000000000001").status == 200
    assert call_json(gateway.address, "POST", "/v1/incidents", {}).status == 400
    assert call_json(gateway.address, "GET", "/v1/incidents/inc-000000000001", token=False).status == 401
    series: dict[str, list[dict[str, str]]] = {}
    values: dict[str, dict[str, float]] = {}
    for name, labels, value in LINE.findall(gateway.ask("/stats/prometheus", 30)):
        series.setdefault(name, []).append(dict(LABEL.findall(labels)))
        values.setdefault(name, {})[labels] = float(value)
    for expression in (target["expr"] for panel in PANELS for target in panel["targets"]):
        for name, wanted, used in selectors(promql_parser.parse(expression.replace("$__rate_interval", "5m"))):
            # Which classes of answers a service gives is told when it has given one.
            asked = dict(wanted)
            if name == "envoy_cluster_upstream_rq_xx":
                del asked["envoy_response_code_class"]
            fitting = [labels for labels in series.get(name, []) if asked.items() <= labels.items()]
            assert fitting, f"Envoy tells nothing of {name} with {wanted}"
            assert all(used <= labels.keys() for labels in fitting), name
    # And the numbers are those of the calls.
    told = {labels: value for labels, value in values["envoy_http_downstream_rq_xx"].items() if '"gateway"' in labels}
    assert sorted(told.values()) == [0, 0, 0, 1, 2]
    assert list(values["envoy_http_jwt_authn_denied"].values()) == [1]
