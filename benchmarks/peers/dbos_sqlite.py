"""DBOS on SQLite: workflows of trivial steps, one after the other, and many at once."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig


@DBOS.step()  # type: ignore[untyped-decorator]
def trivial(number: int) -> int:
    """A step that does nothing; that it was done is recorded."""
    return number + 1


@DBOS.workflow()  # type: ignore[untyped-decorator]
def run(steps: int) -> int:
    """Its steps, one after the other."""
    done = 0
    for number in range(steps):
        done = trivial(number)
    return done


def main(options: dict[str, Any]) -> dict[str, float]:
    """`one_by_one` workflows alone (p50 in ms), then `at_once` together (workflows a second); each of `steps` steps."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{Path(options['folder']) / 'dbos.sqlite'}",
        "run_admin_server": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    taken = []
    for _ in range(options["one_by_one"]):
        began = time.perf_counter()
        run(options["steps"])
        taken.append(time.perf_counter() - began)
    began = time.perf_counter()
    handles = [DBOS.start_workflow(run, options["steps"]) for _ in range(options["at_once"])]
    for handle in handles:
        handle.get_result()
    together = options["at_once"] / (time.perf_counter() - began)
    DBOS.destroy()
    return {"p50_ms": statistics.median(taken) * 1000, "workflows_per_s": together}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
