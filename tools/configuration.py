"""Puts every value that can be set into docs/configuration.md, as the settings themselves say it.

`make configuration` writes; `make check` fails where it has drifted.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "configuration.md"


def made() -> str:
    """The page as it should stand."""
    from citybrain.cli.configuration import City
    from citybrain.mesh.configuration import keys
    from tools.readme import between

    rows = ["| key | default | in the environment | what it is for |", "|---|---|---|---|"]
    for key in keys(City):
        default = key.field.default
        shown = f"`{default}`" if default or isinstance(default, (int, float)) else "–"
        rows.append(f"| `{key.name}` | {shown} | {'<br>'.join(f'`{name}`' for name in key.variables)} | {key.description} |")
    return between(PAGE.read_text(encoding="utf-8"), "values", "\n".join(rows))


def main() -> int:
    """Writes it."""
    PAGE.write_text(made(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
