"""Makes observability/grafana/: a dashboard for each service.

`make dashboards` writes; `make check` fails where one has drifted.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools import made_files

FOLDER = Path(__file__).resolve().parent.parent / "observability" / "grafana"


def made() -> dict[str, str]:
    """The files as they should stand, by name."""
    from citybrain.cli.dashboards import texts

    return {f"{name}.json": text for name, text in texts([], []).items()}


def drift() -> list[str]:
    """The names of files that are missing, too many, or other than they should be."""
    return made_files.drift(FOLDER, "*.json", made())


def main() -> int:
    """Writes them, and removes those of services that are gone."""
    made_files.write(FOLDER, "*.json", made())
    return 0


if __name__ == "__main__":
    sys.exit(main())
