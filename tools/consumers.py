"""Makes protos/consumers.yaml: which events each service of this repository hears, and which fields of them its code reads.

`make consumers` writes it. With it `make check` says whom a change of a contract breaks (tools/compatible.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from citybrain.cli.compatibility.consumers import consumers, text_of
from tools.contracts import CONSUMERS, PLACES


def made(places: Iterable[Path] = PLACES) -> str:
    """The file as it must be. ManifestError: a service cannot be loaded."""
    return text_of(consumers(places), "make consumers")


if __name__ == "__main__":
    CONSUMERS.write_text(made(), encoding="utf-8")
    sys.exit(0)
