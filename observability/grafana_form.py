"""The form of a dashboard of Grafana: panels side by side, each with its expressions for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from citybrain.observability.numbers import BY_NAME

Json = dict[str, Any]

# The version of the form of dashboards that Grafana 10 and later read.
_SCHEMA = 39
_WIDTH, _HEIGHT = 12, 8
_SOURCE = {"type": "prometheus", "uid": "${source}"}
PARTS = (0.5, 0.95, 0.99)
"""The parts of calls of which it is shown how long they take at most."""


@dataclass(slots=True)
class Panel:
    """A panel: its title, what it shows, its unit, and pairs of an expression and what a line of it is called.

    `leads`: a dot on a line leads to a trace (its histogram has exemplars).
    """

    title: str
    description: str
    unit: str
    queries: list[tuple[str, str]] = field(default_factory=list)
    leads: bool = False


def dashboard(uid: str, title: str, description: str, tags: Sequence[str], panels: Iterable[Panel]) -> Json:
    """The dashboard, as Grafana imports it. From each the others of the city can be reached."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": list(tags),
        "schemaVersion": _SCHEMA,
        "timezone": "Asia/Shanghai",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "links": [{"title": "City", "type": "dashboards", "tags": ["city"], "asDropdown": True, "keepTime": True}],
        "templating": {"list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "panels": [_drawn(number, panel) for number, panel in enumerate(panels)],
    }


def named(name: str) -> str:
    """How Prometheus names a metric of ours."""
    return BY_NAME[name].prometheus


def per_second(series: str, by: str = "") -> str:
    """How often a second, by labels."""
    return f"sum{_by(by)} (rate({series}[$__rate_interval]))"


def quantile(part: float, buckets: str, by: str = "") -> str:
    """What `part` of the values is at most."""
    return f"histogram_quantile({part:g}, sum{_by(', '.join(filter(None, ('le', by))))} (rate({buckets}[$__rate_interval])))"


def quantiles(buckets: str) -> list[tuple[str, str]]:
    """Half, nineteen of twenty, and 99 of a hundred."""
    return [(quantile(part, buckets), f"p{part * 100:g}") for part in PARTS]


def line(*labels: str) -> str:
    """A line that is called by the values of labels."""
    return " ".join(f"{{{{{one}}}}}" for one in labels)


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def _drawn(number: int, panel: Panel) -> Json:
    place = {"h": _HEIGHT, "w": _WIDTH, "x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "gridPos": place,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _SOURCE,
                "expr": expression,
                "legendFormat": legend,
                **({"exemplar": True} if panel.leads else {}),
            }
            for at, (expression, legend) in enumerate(panel.queries)
        ],
    }
