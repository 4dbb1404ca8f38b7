"""Makes observability/grafana/: a dashboard for each service.

`make dashboards` writes; `make check` fails where one has drifted.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
FOLDER = ROOT / "observability" / "grafana"


def made() -> dict[str, str]:
    """The files as they should stand, by name."""
    from citybrain.cli.dashboards import texts

    return {f"{name}.json": text for name, text in texts([], []).items()}


def drift() -> list[str]:
    """The names of files that are missing, too many, or other than they should be."""
    wanted = made()
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main() -> int:
    """Writes them, and removes those of services that are gone."""
    wanted = made()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
