"""Makes observability/grafana/ and observability/prometheus/rules/: dashboards, recording rules and alerts.

`make dashboards` writes; `make check` fails where one has drifted.
"""

from __future__ import annotations

import sys
from pathlib import Path

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


def drift() -> list[str]:
    """The paths, below observability/, of files that are missing, too many, or other than they should be."""
    found = [f"grafana/{name}" for name in made_files.drift(DASHBOARDS, "*.json", dashboards())]
    return found + [f"prometheus/rules/{name}" for name in made_files.drift(RULES, "*.yaml", rules())]


def main() -> int:
    """Writes them, and removes those of services that are gone."""
    RULES.parent.mkdir(exist_ok=True)
    made_files.write(DASHBOARDS, "*.json", dashboards())
    made_files.write(RULES, "*.yaml", rules())
    return 0


if __name__ == "__main__":
    sys.exit(main())
