"""Makes what Grafana, Prometheus and the collector read: dashboards, recording rules and alerts, a configuration, ConfigMaps.

`make dashboards` writes; `make check` fails where one has drifted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from tools import made_files

ROOM = Path(__file__).resolve().parent.parent / "observability"
DASHBOARDS, RULES = ROOM / "grafana", ROOM / "prometheus" / "rules"
_HEAD = "# Made by `make dashboards` from {}. A change here is lost.\n"


def dashboards() -> dict[str, str]:
    """The dashboards as they should stand, by the names of their files."""
    from citybrain.cli.dashboards import texts

    return {f"{name}.json": text for name, text in texts([], []).items()}


def rules() -> dict[str, str]:
    """The files of rules as they should stand, by their names."""
    from citybrain.cli.dashboards import rule_texts
    from citybrain.observability import alerts

    of_services = {f"{name}.yaml": _HEAD.format(f"the manifest of {name}") + text for name, text in rule_texts([], []).items()}
    return {"city.yaml": _HEAD.format("observability/alerts.py") + alerts.rules(), **of_services}


def single() -> dict[Path, str]:
    """Files that stand alone."""
    from citybrain.observability import collector

    where = "  TRACES_BACKEND   where spans go (OTLP/gRPC), e.g. 127.0.0.1:4417; TRACES_PLAIN   true: without TLS"
    alone = _HEAD.format("observability/collector.py") + (
        f"# An OpenTelemetry Collector (contrib {collector.VERSION}) for a city on one machine. Its environment says:\n"
        f"# {where}\n# Prometheus reads metrics at 127.0.0.1:{collector.PROMETHEUS_PORT}.\n"
    )
    return {
        ROOM / "collector.yaml": alone + collector.text(collector.on_one_machine()),
        ROOM / "kustomization.yaml": _HEAD.format("the files here") + yaml.safe_dump(_for_a_cluster(), sort_keys=False),
    }


def _for_a_cluster() -> dict[str, Any]:
    """ConfigMaps of the dashboards, each by itself since one has room for 1 MiB, and of the rules."""
    part = {"app.kubernetes.io/part-of": "citybrain"}
    found = {"disableNameSuffixHash": True, "labels": part}
    shown = {"disableNameSuffixHash": True, "labels": {**part, "grafana_dashboard": "1"}}
    maps = [
        {"name": f"dashboard-{name.removesuffix('.json').replace('_', '-')}", "files": [f"grafana/{name}"], "options": shown}
        for name in sorted(dashboards())
    ]
    of_rules = {"name": "rules", "files": [f"prometheus/rules/{name}" for name in sorted(rules())], "options": found}
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return {**head, "configMapGenerator": [*maps, of_rules]}


def drift() -> list[str]:
    """The paths, below observability/, of files that are missing, too many, or other than they should be."""
    found = [f"grafana/{name}" for name in made_files.drift(DASHBOARDS, "*.json", dashboards())]
    found += [f"prometheus/rules/{name}" for name in made_files.drift(RULES, "*.yaml", rules())]
    return found + [path.name for path, text in single().items() if not path.is_file() or path.read_text("utf-8") != text]


def main() -> int:
    """Writes them, and removes those of services that are gone."""
    RULES.parent.mkdir(exist_ok=True)
    made_files.write(DASHBOARDS, "*.json", dashboards())
    made_files.write(RULES, "*.yaml", rules())
    for path, text in single().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
