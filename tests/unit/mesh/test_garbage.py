"""A process of the mesh does not stand still to look for garbage among what lives as long as it does."""

from __future__ import annotations

import json
import subprocess
import sys

ASK = """
import gc, json
from citybrain.mesh.runtime.garbage import collect_rarely
collect_rarely()
print(json.dumps([gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()]))
"""


def test_what_is_there_at_the_start_is_left_out_and_the_rest_is_looked_at_seldom() -> None:
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, timeout=60)
    enabled, frozen, (new, young, old) = json.loads(done.stdout)
    assert enabled and frozen > 1000
    assert new * young * old >= 100 * 700 * 10 * 10
