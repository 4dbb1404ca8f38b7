"""Other event stores doing the same work, each in a process and an environment of its own (`make build/.peers`).

A peer is a script that is given a JSON object as its argument and prints one; it imports nothing of this project.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_PYTHON = _HERE.parent.parent / "build" / "peers" / "bin" / "python"
_LIMIT_S = 600.0


def peer(script: str, **options: Any) -> dict[str, float]:
    """Runs a peer's script; RuntimeError with what it wrote where it fails or is not installed."""
    if not _PYTHON.is_file():
        raise RuntimeError("the peers are not installed: run `make bench`, which installs them")
    command = [str(_PYTHON), str(_HERE / f"{script}.py"), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stderr[-2000:]}")
    result: dict[str, float] = json.loads(done.stdout)
    return result
