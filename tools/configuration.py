"""Puts every value that can be set into docs/configuration.md, and the keys of a manifest into docs/kit.md, as the code says.

`make configuration` writes; `make check` fails where it has drifted.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
KIT = ROOT / "docs" / "kit.md"


def made() -> dict[Path, str]:
    """The pages as they should stand."""
    return {PAGE: _values(), KIT: _manifest()}


def _manifest() -> str:
    from citybrain.mesh.manifest import Manifest
    from tools.readme import between

    rows = ["| key | what to write |", "|---|---|"]
    for name, field in Manifest.model_fields.items():
        rows.append(f"| `{name}` | {field.description}{'' if field.is_required() else '; may be left out'} |")
    return between(KIT.read_text(encoding="utf-8"), "manifest", "\n".join(rows))


def _values() -> str:
    from citybrain.cli.configuration import City
    from citybrain.mesh.settings.configuration import keys
    from tools.readme import between

    rows = ["| key | default | in the environment | what it is for |", "|---|---|---|---|"]
    for key in keys(City):
        default = key.field.default
        shown = f"`{default}`" if default or isinstance(default, (int, float)) else "–"
        rows.append(f"| `{key.name}` | {shown} | {'<br>'.join(f'`{name}`' for name in key.variables)} | {key.description} |")
    return between(PAGE.read_text(encoding="utf-8"), "values", "\n".join(rows))


def main() -> int:
    """Writes them."""
    for page, text in made().items():
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
